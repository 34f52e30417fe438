"""avg@k, maj@k and pass@k: by hand, and the columns of many questions against the plain functions."""

from __future__ import annotations

import random
from itertools import combinations
from statistics import mean

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_assets.scoring.repeated import avg_at_k, maj_at_k, pass_at_k, powers_of_two, repeated_frame


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


def test_pass_at_k_stays_exact_with_many_rollouts():
    # n = 64, c = 1: the chance that 32 of 64 hold the right one is a half, to the bit.
    assert pass_at_k(64, 1, 32) == 0.5
    assert pass_at_k(64, 0, 64) == 0.0 and pass_at_k(64, 1, 64) == 1.0


def test_an_empty_prediction_votes_like_any_other():
    assert maj_at_k(["", "", "paris"], [0.0, 0.0, 1.0], 3) == 0.0


def test_a_later_vote_does_not_break_a_tie_against_the_one_seen_first():
    assert maj_at_k(["paris", "rome", "rome", "paris"], [1.0, 0.0, 0.0, 1.0], 4) == 1.0


@pytest.mark.parametrize("k", [0, 3])
def test_k_must_fit(k):
    for call in (lambda: avg_at_k([1.0, 0.0], k), lambda: maj_at_k("xy", [1.0, 0.0], k), lambda: pass_at_k(2, 1, k)):
        with pytest.raises(ValueError, match=f"between 1 and the 2 rollouts, got {k}"):
            call()
    with pytest.raises(ValueError, match="between 0 and 4"):
        pass_at_k(4, 5, 1)


def test_k_goes_up_in_powers_of_two_to_the_number_of_rollouts():
    assert [powers_of_two(n) for n in (0, 1, 3, 8, 64)] == [[], [1], [1, 2], [1, 2, 4, 8], [1, 2, 4, 8, 16, 32, 64]]


# --- The columns of many questions ---


def framed(rows):
    schema = {"question_id": pl.String, "rollout_id": pl.Int64, "prediction": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def plainly(rows):
    """What the plain functions say of (question, rollout, prediction, score) rows, by k and question."""
    found = {}
    for question in sorted({row[0] for row in rows}):
        own = sorted((row for row in rows if row[0] == question), key=lambda row: row[1])
        predictions, scores = [row[2] for row in own], [row[3] for row in own]
        n, c = len(own), scores.count(1.0)
        for k in powers_of_two(n):
            at_k = avg_at_k(scores, k), maj_at_k(predictions, scores, k), pass_at_k(n, c, k)
            found[k, question] = (question, k, *at_k)
    return [found[key] for key in sorted(found)]


def test_the_frame_by_hand():
    found = repeated_frame(framed([("q", 2, "paris", 1.0), ("q", 1, "rome", 0.0), ("p", 1, "x", 1.0)]))
    assert found.columns == ["question_id", "k", "avg_at_k", "maj_at_k", "pass_at_k"]
    assert found.rows() == [("p", 1, 1.0, 1.0, 1.0), ("q", 1, 0.0, 0.0, 0.5), ("q", 2, 0.5, 0.0, 1.0)]


votes = st.lists(st.lists(st.sampled_from(["", "paris", "rome", "oslo"]), min_size=1, max_size=17), max_size=6)


@settings(max_examples=200, deadline=None)
@given(votes, st.randoms(use_true_random=False))
def test_the_frame_equals_the_plain_functions_to_the_bit(questions, rng):
    rows = [
        (f"q{number}", rollout, prediction, float(prediction == "paris"))
        for number, predictions in enumerate(questions)
        for rollout, prediction in enumerate(predictions, start=1)
    ]
    rng.shuffle(rows)
    assert repeated_frame(framed(rows)).rows() == plainly(rows)


def test_the_frame_with_64_rollouts_and_scores_between_0_and_1():
    rng = random.Random(3)
    share = {"rome": 0.3, "oslo": 0.1, "paris": 1.0}
    drawn = [(f"q{q}", r, rng.choice(list(share))) for q in range(40) for r in range(1, 65)]
    rows = [(*row, share[row[2]]) for row in drawn]
    found = repeated_frame(framed(rows))
    assert sorted(set(found["k"])) == [1, 2, 4, 8, 16, 32, 64]
    for mine, plain in zip(found.rows(), plainly(rows), strict=True):
        assert (mine[:2], mine[3:]) == (plain[:2], plain[3:])
        assert mine[2] == pytest.approx(plain[2], rel=1e-14)  # sums of such scores depend on their order


def test_no_rollouts_give_no_rows():
    assert repeated_frame(framed([])).is_empty()
