"""The bootstrap: against an independent one, against theory, and its fixed seed."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from mbt_assets.scoring.aes import aes
from mbt_assets.scoring.stats import Bootstrap, Interval


def test_it_agrees_with_a_plain_bootstrap():
    rng = np.random.default_rng(7)
    values = rng.exponential(100, size=200)
    plain = [values[rng.integers(0, 200, 200)].mean() for _ in range(10_000)]
    found = Bootstrap().mean(values)
    width = found.hi - found.lo
    assert found.lo == pytest.approx(np.quantile(plain, 0.025), abs=width / 25)
    assert found.hi == pytest.approx(np.quantile(plain, 0.975), abs=width / 25)


def test_it_agrees_with_theory_on_a_rate():
    values = np.repeat([1.0, 0.0], [300, 700])
    found = Bootstrap().mean(values)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert found == pytest.approx((0.3 - half, 0.3 + half), abs=0.002)


def test_the_same_seed_gives_the_same_interval_alone_or_in_company():
    values = np.random.default_rng(1).random(50)
    alone = Bootstrap(2000, 42).mean(values)
    groups = [np.ones(50), values, np.arange(30.0), values[:30]]
    together = Bootstrap(2000, 42).mean_of_each(groups)
    assert together[1] == alone
    assert together[0] == (1.0, 1.0)
    assert Bootstrap(2000, 43).mean(values) != alone


def test_edges():
    bootstrap = Bootstrap(100)
    assert bootstrap.mean([]) is None
    assert bootstrap.mean([np.nan]) is None
    assert bootstrap.mean([0.25]) == Interval(0.25, 0.25)
    assert bootstrap.mean([1.0, np.nan, 1.0]) == (1.0, 1.0)
    with pytest.raises(ValueError, match="at least 1"):
        Bootstrap(0)


def test_pairs_are_resampled_together():
    base = np.random.default_rng(3).normal(500, 200, 300)
    found = Bootstrap().paired(base - 10, base)  # every question gains exactly 10
    assert found == pytest.approx((-10, -10))
    with pytest.raises(ValueError, match="got 2 and 1"):
        Bootstrap(10).paired([1.0, 2.0], [1.0])


def test_a_statistic_of_means_keeps_questions_together():
    level, tokens = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0])
    assert Bootstrap(500).statistic([level, tokens], lambda a, b: a / b) == pytest.approx((0.1, 0.1))


def test_a_statistic_that_some_resample_leaves_undefined_has_no_interval():
    # The base is right on 1 question of 3: some resamples leave it out, and AES is undefined there.
    columns = [[1.0, 1.0, 0.0], [5.0, 5.0, 5.0], [1.0, 0.0, 0.0], [9.0, 9.0, 9.0]]
    assert Bootstrap(500).statistic(columns, aes) is None
    assert Bootstrap(500).statistic([[np.nan], [1.0]], np.add) is None


def test_more_draws_than_the_cache_may_hold_change_nothing(monkeypatch):
    values = np.random.default_rng(5).random(400)
    kept = Bootstrap(1000).mean(values)
    monkeypatch.setattr("mbt_assets.scoring.stats.CACHE_BYTES", 0)
    assert Bootstrap(1000).mean(values) == kept


def test_memory_is_bounded_for_a_large_dataset():
    values = np.random.default_rng(5).random(50_000)
    tracemalloc.start()
    Bootstrap(400).mean(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6  # 400 resamples of 50 000 indices at once would be 160 MB, and as much again to gather


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_intervals_hold_the_truth_about_as_often_as_they_say(share):
    rng = np.random.default_rng(11)
    samples = (rng.random((1000, 400)) < share).astype(float)
    found = Bootstrap(1000).mean_of_each(list(samples))
    held = np.mean([lo <= share <= hi for lo, hi in found])
    assert 0.93 <= held <= 0.97
