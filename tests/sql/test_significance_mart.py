"""significance by hand."""

from __future__ import annotations

from math import nan

import pytest

from mbt_assets.scoring.stats import Bootstrap

BASE, TUNED = "small__base", "small__mbt-r"


def by_metric(lake):
    return lake.mart("significance").filter(variant=TUNED).rows_by_key("metric", named=True, unique=True)


def test_rates_are_paired_by_question(lake, cell):
    own, base = [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    lonely = [{"variant": TUNED, "question_id": "q99", "exact_match": 1.0}]
    lake.answers(cell(BASE, exact_match=base), cell(TUNED, exact_match=own), lonely)
    row = by_metric(lake)["exact_match"]
    # 5 gained, 1 lost of 8 paired questions; q99 has no pair
    assert (row["n_questions"], row["b"], row["c"], row["difference"]) == (8, 1, 5, 0.5)
    assert row["mcnemar_p"] == 14 / 64
    expected = Bootstrap(200, 42).paired([*own, 1.0], [*base, nan])
    assert (row["difference_lo"], row["difference_hi"]) == expected


def test_rollouts_of_a_question_stay_together(lake):
    def rollouts(variant, scores):
        return [
            {"variant": variant, "question_id": "q1", "rollout_id": i, "exact_match": s}
            for i, s in enumerate(scores, 1)
        ]

    lake.answers(rollouts(BASE, [0.0, 0.0, 1.0]), rollouts(TUNED, [1.0, 1.0, 0.0]))
    row = by_metric(lake)["exact_match"]
    # means 1/3 and 2/3: one question, which the base is mostly wrong on and the variant mostly right
    assert (row["n_questions"], row["b"], row["c"]) == (1, 0, 1)
    assert row["difference"] == pytest.approx(1 / 3)


def test_other_metrics_have_differences_and_no_mcnemar(lake, cell):
    lake.answers(
        cell(BASE, exact_match=[1.0, 1.0, 0.0, 0.0], completion_tokens=[1000] * 4),
        cell(TUNED, exact_match=[1.0, 1.0, 1.0, 0.0], completion_tokens=[250] * 4),
    )
    lake.judged("judge_verdicts", cell(BASE, judge_correct=[1.0, 0.0]), cell(TUNED, judge_correct=[1.0, 1.0]))
    lake.judged("rrp_scores", cell(BASE, regulation=[0.2, 0.4]), cell(TUNED, regulation=[0.6, 0.6]))
    lake.judged("mqi_scores", cell(BASE, l_obs=[1, 2, 3]), cell(TUNED, l_obs=[4, 2, 3]))
    rows = by_metric(lake)
    assert (rows["mean_tokens"]["difference"], rows["mean_tokens"]["b"], rows["mean_tokens"]["mcnemar_p"]) == (
        -750,
        None,
        None,
    )
    assert rows["mean_tokens"]["difference_lo"] == -750
    assert (rows["regulation"]["difference"], rows["regulation"]["n_questions"]) == (pytest.approx(0.3), 2)
    assert rows["l_obs"]["difference"] == 1.0
    assert (rows["judge_accuracy"]["difference"], rows["judge_accuracy"]["b"], rows["judge_accuracy"]["c"]) == (
        0.5,
        0,
        1,
    )
    # AES: dL .75, dA .5 -> 2.25. MQI: mean(4, 2, 3) * 1000/250 - 2 = 10
    assert rows["aes"]["difference"] == pytest.approx(2.25)
    assert (rows["mqi"]["difference"], rows["mqi"]["n_questions"]) == (pytest.approx(10), 3)
    assert rows["mqi"]["difference_lo"] < 10 < rows["mqi"]["difference_hi"]


def test_aes_of_significance_is_that_of_the_aes_mart(lake, cell):
    lake.answers(
        cell(BASE, exact_match=[1.0] * 20 + [0.0] * 30, completion_tokens=[1000] * 50),
        cell(TUNED, exact_match=[1.0] * 18 + [0.0] * 32, completion_tokens=[250] * 50),
    )
    row = by_metric(lake)["aes"]
    assert row["difference"] == pytest.approx(0.25) == lake.row("aes", variant=TUNED)["aes"]
    assert row["difference_lo"] < 0.25 < row["difference_hi"]


def test_cells_without_pairs_have_rows_of_nulls_and_the_base_none(lake, cell):
    lake.answers(cell(TUNED, exact_match=[1.0]), cell("big__base", exact_match=[1.0]))
    table = lake.mart("significance")
    assert set(table["variant"]) == {TUNED}
    assert table["metric"].to_list() == [
        "aes",
        "exact_match",
        "judge_accuracy",
        "l_obs",
        "mean_tokens",
        "mqi",
        "regulation",
    ]
    assert table["n_questions"].to_list() == [0] * 7
    for name in ("difference", "difference_lo", "b", "c", "mcnemar_p"):
        assert table[name].null_count() == 7


def test_what_has_no_difference_says_why(lake, cell):
    lake.answers(
        [{"variant": BASE, "question_id": "q1", "exact_match": 1.0}],
        [{"variant": TUNED, "question_id": "q2", "exact_match": 1.0, "completion_tokens": None}],
    )
    lake.judged("judge_verdicts", [{"variant": TUNED, "question_id": "q2", "judge_correct": 1.0}])
    rows = by_metric(lake)
    reasons = {
        "exact_match": "no question has a value of both",
        "judge_accuracy": "there are no scores of the base variant",
        "mean_tokens": "no response tokens are known",
        "aes": "no response tokens are known",
        "regulation": "there are no scores",
    }
    assert {metric: rows[metric]["reason"] for metric in reasons} == reasons
    for metric in reasons:
        assert (rows[metric]["n_questions"], rows[metric]["difference"], rows[metric]["b"]) == (0, None, None)


def test_a_cell_whose_base_was_never_run_says_so(lake, cell):
    lake.answers(cell(TUNED, exact_match=[1.0]))
    assert by_metric(lake)["exact_match"]["reason"] == "the base variant has no cell on this dataset"
