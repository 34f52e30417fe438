"""MQI and AES by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mbt_assets.scoring.aes import aes
from mbt_assets.scoring.mqi import mqi, mqi_per_sample


def test_the_worked_mqi_example():
    assert mqi([4, 2, 3], 500, 1000) == 6.0


def test_mqi_per_sample_is_a_mean_of_ratios():
    # 4 * 1000/500 = 8, 2 * 1000/1000 = 2 -> 5; a rollout without tokens is left out
    assert mqi_per_sample([4, 2, 5], [500, 1000, 0], 1000) == 5.0


def test_no_trace_no_index():
    assert mqi([], 500, 1000) is None
    assert mqi([1], 0, 1000) is None
    assert mqi_per_sample([], [], 1000) is None


def test_the_worked_aes_examples():
    assert aes(0.50, 250, 0.40, 1000) == pytest.approx(1.5)  # .75 + 3 * .25
    assert aes(0.36, 250, 0.40, 1000) == pytest.approx(0.25)  # .75 - 5 * .1
    assert aes(0.40, 1000, 0.40, 1000) == 0.0  # the base itself


def test_aes_takes_weights_and_arrays():
    assert aes(0.5, 500, 0.4, 1000, alpha=2, beta=4, gamma=1) == pytest.approx(2.0)
    np.testing.assert_allclose(aes([0.5, 0.36], 250, 0.4, 1000), [1.5, 0.25])


def test_aes_is_undefined_against_nothing():
    assert math.isnan(aes(0.5, 100, 0.0, 100))
    assert math.isnan(aes(0.5, 100, 0.5, 0))
