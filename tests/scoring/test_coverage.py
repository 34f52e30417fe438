"""The 95 % intervals on simulated studies with a known truth; `bench/coverage.py` has the full count."""

from __future__ import annotations

import numpy as np
import pytest

from bench.coverage import Setting, ability, coverage, right, settings
from mbt_assets.scoring.stats import Bootstrap

N, REPETITIONS = 200, 300
BOOTSTRAP = Bootstrap(1000)


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)
def test_intervals_hold_the_truth_about_as_often_as_they_say(setting):
    # Three standard errors of 300 repetitions around 95 %.
    assert 0.91 <= coverage(setting, N, REPETITIONS, BOOTSTRAP, seed=0) <= 0.99


def test_rollouts_taken_for_questions_would_hold_the_truth_too_rarely():
    def draw(rng, n):  # 25 questions of 8 rollouts, passed off as 200 questions
        return [right(rng, np.repeat(ability(rng, n // 8, 0.5), 8), 1)]

    assert coverage(Setting("", 0.5, draw, lambda share: share), N, REPETITIONS, BOOTSTRAP, seed=0) < 0.85


def test_an_interval_that_is_not_there_holds_nothing():
    nothing = Setting("", 0.5, lambda rng, n: [np.full(n, np.nan)], lambda share: share)
    assert coverage(nothing, N, 10, BOOTSTRAP, seed=0) == 0.0
