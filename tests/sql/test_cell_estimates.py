"""cell_estimates by hand."""

from __future__ import annotations

from hashlib import sha256

import pytest

BASE = "small__base"


@pytest.fixture
def asked(lake):
    """Four questions, one of them hard."""
    tiers = {"q1": "easy", "q2": "easy", "q3": "easy", "q4": "hard"}
    lake.put("validation_questions", [{"question_id": key, "tier": tier} for key, tier in tiers.items()])


def of(lake, measure, tier="all"):
    rows = lake.mart("cell_estimates").filter(variant=BASE, measure=measure, tier=tier)
    assert rows.height == 1, rows
    return rows.row(0, named=True)


def test_a_measure_over_the_cell_and_each_tier(lake, cell, asked):
    lake.answers(cell(BASE, exact_match=[1.0, 0.0, 1.0, 0.0]))
    row = of(lake, "exact_match")
    assert (row["n_questions"], row["estimate"], row["judge"], row["source"]) == (4, 0.5, "", "answer_scores")
    assert row["estimate_lo"] < 0.5 < row["estimate_hi"]
    easy, hard = of(lake, "exact_match", "easy"), of(lake, "exact_match", "hard")
    assert (easy["n_questions"], easy["estimate"]) == (3, pytest.approx(2 / 3))
    assert (hard["estimate"], hard["estimate_lo"], hard["estimate_hi"]) == (0.0, 0.0, 0.0)


def test_values_stand_in_the_order_of_the_questions_with_gaps_for_what_is_missing(lake, asked):
    rows = [
        {"variant": BASE, "question_id": "q4", "exact_match": 1.0},
        {"variant": BASE, "question_id": "q2", "exact_match": 1.0},
        {"variant": BASE, "question_id": "q2", "rollout_id": 2, "exact_match": 0.0},
        {"variant": BASE, "question_id": "q3", "failed": True},
    ]
    lake.answers(rows)
    row = of(lake, "exact_match")
    assert row["by_question"] == [None, 0.5, None, 1.0]
    assert (row["n_questions"], row["n_scored"], row["n_failed"]) == (2, 3, 1)
    assert row["questions_digest"] == sha256(b"q1\nq2\nq3\nq4").hexdigest()


def test_what_was_not_scored_has_its_row_without_a_figure(lake, cell, asked):
    lake.answers(cell(BASE, exact_match=[1.0]))
    refused = {"variant": BASE, "question_id": "q1", "status": "unparseable"}
    lake.judged("mqi_scores", [refused])
    row = of(lake, "l_obs")
    assert (row["estimate"], row["n_questions"], row["n_scored"], row["n_unparseable"]) == (None, 0, 0, 1)
    assert row["by_question"] is None


def test_levels_per_token_are_a_ratio_of_means(lake, cell, asked):
    lake.answers(cell(BASE, completion_tokens=[100, 300, 200, 400]))
    lake.judged("mqi_scores", cell(BASE, l_obs=[4, 2]))
    # The mean level 3 over the mean 250 tokens of all; by rollout 4/100 and 2/300.
    assert of(lake, "l_obs_per_mean_token")["estimate"] == pytest.approx(0.012)
    assert of(lake, "l_obs_per_token")["estimate"] == pytest.approx((4 / 100 + 2 / 300) / 2)


def test_a_trace_of_unknown_length_is_counted_as_what_it_is(lake, cell, asked):
    lake.answers(cell(BASE, exact_match=[1.0, 1.0]))
    statuses = cell(BASE, status=["unparseable", "failed"])
    lake.judged("rrp_scores", statuses)
    row = of(lake, "sentences")
    assert (row["estimate"], row["n_scored"], row["n_unparseable"], row["n_failed"]) == (None, 0, 1, 1)


@pytest.mark.parametrize("n", [16, 40])
def test_as_many_rollouts_as_there_are(lake, n):
    lake.answers(
        [
            {
                "variant": BASE,
                "question_id": "q1",
                "rollout_id": k,
                "exact_match": float(k == 16),
                "normalized_prediction": f"p{k}",
            }
            for k in range(1, n + 1)
        ]
    )
    found = set(lake.mart("cell_estimates").filter(tier="all")["measure"])
    assert {f"avg_{k}" for k in (1, 2, 4, 8, 16, 32) if k <= n} == {name for name in found if name.startswith("avg_")}
    assert of(lake, "avg_16")["estimate"] == 1 / 16
    # One right answer among n: a draw of 16 holds it in 16 of n cases.
    assert of(lake, "pass_16")["estimate"] == pytest.approx(16 / n)
