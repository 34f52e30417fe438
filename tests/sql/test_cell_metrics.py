"""cell_metrics by hand."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from mbt_assets.scoring.repeated import avg_at_k, maj_at_k, pass_at_k

FAILED = {"failed": True, "completion_tokens": None, "normalized_prediction": "", "answer_found": False}


def rollouts(question, *rows):
    return [
        {"variant": "small__base", "question_id": question, "rollout_id": number, **row}
        for number, row in enumerate(rows, start=1)
    ]


def test_one_rollout_per_question(lake, cell):
    lake.answers(
        cell(
            "small__base",
            exact_match=[1.0, 0.0, 0.0, 1.0],
            substring_match=[1.0, 1.0, 0.0, 1.0],
            f1=[1.0, 0.5, 0.0, 1.0],
            f1_plain=[1.0, 0.5, 0.5, 1.0],
            completion_tokens=[100, 200, 300, 1000],
            truncated=[False, False, False, True],
            looping=[False, True, False, True],
            degenerate=[False, True, False, True],
            empty_reasoning=[False, False, True, False],
            answer_found=[True, True, False, True],
            unscorable_gold=[False, False, True, False],
        )
    )
    row = lake.row("cell_metrics", variant="small__base")
    assert (row["n_questions"], row["n_rollouts"], row["n_failed"], row["unscorable_gold"]) == (4, 4, 0, 1)
    assert (row["exact_match"], row["substring_match"], row["f1"], row["f1_plain"]) == (0.5, 0.75, 0.625, 0.75)
    assert (row["mean_tokens"], row["median_tokens"]) == (400, 250)
    assert row["p95_tokens"] == pytest.approx(300 + 0.85 * 700)  # position .95 * 3 = 2.85 between 300 and 1000
    counts = ("n_truncated", "n_looping", "n_degenerate", "n_empty_reasoning", "n_no_answer")
    assert [row[name] for name in counts] == [1, 2, 2, 1, 1]
    assert row["degenerate_rate"] == 0.5
    assert 0 <= row["exact_match_lo"] < 0.5 < row["exact_match_hi"] <= 1
    assert (row["avg_1"], row["maj_1"], row["pass_1"]) == (0.5, 0.5, 0.5)
    assert row["avg_2"] is row["maj_4"] is row["pass_8"] is row["pass_8_lo"] is None


def test_repeated_rollouts(lake):
    right, wrong = {"exact_match": 1.0, "normalized_prediction": "paris"}, {"normalized_prediction": "rome"}
    lake.answers(rollouts("q1", wrong, right, right, wrong), rollouts("q2", right, right, wrong, wrong))
    row = lake.row("cell_metrics")
    # q1: avg 0, .5, .5; maj 0, 0 (1:1, rome first), 0 (2:2, rome first)
    # q2: avg 1, 1, .5; maj 1, 1, 1 (2:2, paris first)
    assert [row[f"avg_{k}"] for k in (1, 2, 4)] == [0.5, 0.75, 0.5]
    assert [row[f"maj_{k}"] for k in (1, 2, 4)] == [0.5, 0.5, 0.5]
    # both: n = 4, c = 2: .5, 5/6, 1
    assert [row[f"pass_{k}"] for k in (1, 2, 4)] == pytest.approx([0.5, 5 / 6, 1.0])
    assert row["avg_8"] is None and row["n_rollouts"] == 8 and row["n_questions"] == 2
    assert row["pass_4_lo"] == row["pass_4_hi"] == 1.0


def test_repeated_rollouts_as_the_plain_functions_say(lake):
    rng = random.Random(5)
    rows, scores, predictions = [], [], []
    for question in range(40):
        said = [rng.choice(["paris", "paris ii", "rome", ""]) for _ in range(8)]
        right = [float(text == "paris") for text in said]
        predictions.append(said)
        scores.append(right)
        pairs = zip(said, right, strict=True)
        rows.append(
            rollouts(f"q{question}", *({"normalized_prediction": text, "exact_match": score} for text, score in pairs))
        )
    lake.answers(*rows)
    row = lake.row("cell_metrics")
    for k in (1, 2, 4, 8):
        assert row[f"avg_{k}"] == pytest.approx(mean(avg_at_k(right, k) for right in scores))
        votes = zip(predictions, scores, strict=True)
        assert row[f"maj_{k}"] == pytest.approx(mean(maj_at_k(said, right, k) for said, right in votes))
        assert row[f"pass_{k}"] == pytest.approx(mean(pass_at_k(8, int(sum(right)), k) for right in scores))


def test_a_cells_figure_is_the_mean_over_questions(lake):
    # q1 has three responses of 10 tokens, q2 one of 90: the questions weigh alike -> 50 tokens, EM .5
    right = {"exact_match": 1.0, "completion_tokens": 10}
    lake.answers(rollouts("q1", right, right, right), rollouts("q2", {"completion_tokens": 90}))
    row = lake.row("cell_metrics")
    assert (row["exact_match"], row["mean_tokens"]) == (0.5, 50)


def test_failed_requests_are_counted_and_no_score(lake):
    right = {"exact_match": 1.0, "completion_tokens": 10}
    lake.answers(rollouts("q1", FAILED, right), rollouts("q2", FAILED, FAILED))
    row = lake.row("cell_metrics")
    assert (row["n_questions"], row["n_rollouts"], row["n_failed"], row["n_no_answer"]) == (2, 4, 3, 0)
    assert (row["exact_match"], row["mean_tokens"], row["avg_1"]) == (1.0, 10, 1.0)
    assert row["avg_2"] is None  # no question has two responses


def test_a_cell_where_everything_failed_has_a_row_of_nulls(lake):
    lake.answers(rollouts("q1", FAILED))
    row = lake.row("cell_metrics")
    assert (row["n_questions"], row["n_rollouts"], row["n_failed"]) == (1, 1, 1)
    assert (
        row["exact_match"] is row["exact_match_lo"] is row["mean_tokens"] is row["p95_tokens"] is row["avg_1"] is None
    )


def test_judged_figures_are_the_primary_judges_and_of_scored_replies(lake, cell):
    base = "small__base"
    lake.answers(cell(base, exact_match=[1.0, 0.0, 0.0]))
    unscored = {"variant": base, "question_id": "q3", "status": "unparseable"}
    failed = {"variant": base, "question_id": "q3", "status": "failed"}
    lake.judged("judge_verdicts", cell(base, judge_correct=[1.0, 1.0]), [unscored], [{**unscored, "judge": "bob"}])
    lake.judged("answer_hits", cell(base, answer_hit=[1.0, 0.0, 1.0]))
    lake.judged(
        "rrp_scores", cell(base, arrival=[0.5, 1.0], redundant_fraction=[0.5, 0.0], regulation=[0.5, 0.0]), [failed]
    )
    lake.judged("mqi_scores", cell(base, l_obs=[4, 2, 3]), [{**cell(base, l_obs=[0])[0], "judge": "bob"}])
    row = lake.row("cell_metrics")
    assert (row["judge_accuracy"], row["n_verdicts"]) == (1.0, 2)
    assert (row["answer_hit_rate"], row["n_hits"]) == (pytest.approx(2 / 3), 3)
    assert (row["arrival"], row["redundancy"], row["regulation"], row["n_rrp"]) == (0.75, 0.25, 0.25, 2)
    assert (row["l_obs"], row["n_mqi"]) == (3.0, 3)
    assert (row["n_unparseable"], row["n_judge_failed"]) == (1, 1)


def test_an_unjudged_cell_shows_missing_scores_as_missing(lake, cell):
    lake.answers(cell("small__base", exact_match=[1.0]))
    row = lake.row("cell_metrics")
    for name in ("judge_accuracy", "answer_hit_rate", "arrival", "redundancy", "regulation", "l_obs", "l_obs_lo"):
        assert row[name] is None
    assert (row["n_verdicts"], row["n_hits"], row["n_rrp"], row["n_mqi"], row["n_unparseable"]) == (0, 0, 0, 0, 0)


def test_cells_are_kept_apart_and_give_the_same_alone(lake, cell):
    first, second = cell("small__base", exact_match=[1.0, 0.0, 1.0]), cell("small__mbt-r", exact_match=[0.0, 0.0, 1.0])
    elsewhere = [{**row, "dataset": "other", "exact_match": 1.0} for row in first]
    lake.answers(first, second, elsewhere)
    together = lake.mart("cell_metrics")
    assert together.height == 3
    lake.answers(second)
    alone = lake.mart("cell_metrics")
    assert alone.equals(together.filter(dataset="toy", variant="small__mbt-r"))


def test_tokens_that_the_server_did_not_count_are_missing_from_their_mean(lake, cell):
    lake.answers(cell("small__base", exact_match=[1.0, 1.0, 0.0], completion_tokens=[100, None, 300]))
    row = lake.row("main_results", variant="small__base")
    assert (row["mean_tokens"], row["n_tokens"], row["n_rollouts"]) == (200.0, 2, 3)
