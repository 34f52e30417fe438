"""avg@k, maj@k and pass@k by hand."""

from __future__ import annotations

from itertools import combinations
from statistics import mean

import pytest

from mbt_assets.scoring.repeated import avg_at_k, maj_at_k, pass_at_k


def test_by_hand():
    scores, predictions = [0.0, 1.0, 1.0, 0.0], ["rome", "paris", "paris", "rome"]
    assert [avg_at_k(scores, k) for k in (1, 2, 4)] == [0.0, 0.5, 0.5]
    # k = 2: one vote each, rome was first; k = 3: paris leads; k = 4: a tie again, rome was first
    assert [maj_at_k(predictions, scores, k) for k in (1, 2, 3, 4)] == [0.0, 0.0, 1.0, 0.0]
    # n = 4, c = 2: 1 - 2/4, 1 - 1/6, 1 - 0
    assert [pass_at_k(4, 2, k) for k in (1, 2, 4)] == pytest.approx([0.5, 5 / 6, 1.0])


@pytest.mark.parametrize(("n", "c", "k"), [(8, 0, 4), (8, 8, 1), (8, 3, 4), (5, 1, 2), (1, 1, 1), (8, 5, 4)])
def test_pass_at_k_counts_the_draws_that_hold_a_right_one(n, c, k):
    rollouts = [1] * c + [0] * (n - c)
    assert pass_at_k(n, c, k) == pytest.approx(mean(max(draw) for draw in combinations(rollouts, k)))


def test_an_empty_prediction_votes_like_any_other():
    assert maj_at_k(["", "", "paris"], [0.0, 0.0, 1.0], 3) == 0.0


def test_k_must_fit():
    with pytest.raises(ValueError, match="between 1 and the 2 rollouts"):
        avg_at_k([1.0, 0.0], 3)
    with pytest.raises(ValueError, match="between 0 and 4"):
        pass_at_k(4, 5, 1)
