"""main_results, aes and degeneration by hand."""

from __future__ import annotations

import pytest

BASE, TUNED = "small__base", "small__mbt-r"


def em(right, questions):
    return [1.0] * right + [0.0] * (questions - right)


@pytest.mark.parametrize(("right", "expected"), [(25, 1.5), (18, 0.25)])
def test_the_worked_aes_examples(lake, cell, right, expected):
    # A_b = 20/50 = .40, L_b = 1000; A = 25/50 = .50 or 18/50 = .36, L = 250
    lake.answers(
        cell(BASE, exact_match=em(20, 50), completion_tokens=[1000] * 50),
        cell(TUNED, exact_match=em(right, 50), completion_tokens=[250] * 50),
    )
    row = lake.row("aes", variant=TUNED)
    assert (row["model"], row["mode"], row["base_variant"]) == ("small", "mbt-r", BASE)
    assert row["delta_tokens"] == 0.75
    assert row["delta_accuracy"] == pytest.approx(0.25 if right == 25 else -0.1)
    assert row["aes"] == pytest.approx(expected)
    assert row["reason"] is None
    assert (row["aes_judge"], row["reason_judge"]) == (None, "no scored verdicts")
    base = lake.row("aes", variant=BASE)
    assert (base["aes"], base["delta_tokens"], base["delta_accuracy"]) == (0, 0, 0)


def test_aes_by_judged_accuracy(lake, cell):
    lake.answers(cell(BASE, completion_tokens=[100, 100]), cell(TUNED, completion_tokens=[50, 50]))
    lake.judged("judge_verdicts", cell(BASE, judge_correct=[1.0, 0.0]), cell(TUNED, judge_correct=[1.0, 1.0]))
    row = lake.row("aes", variant=TUNED)
    # dL = .5, dA = (1 - .5) / .5 = 1 -> .5 + 3; exact match of the base is 0
    assert (row["aes_judge"], row["delta_judge_accuracy"], row["reason_judge"]) == (3.5, 1.0, None)
    assert (row["aes"], row["reason"]) == (None, "the base variant has an exact match of 0")


def test_aes_says_why_it_is_missing(lake, cell):
    lake.answers(cell(TUNED, exact_match=[1.0]))
    assert lake.row("aes", variant=TUNED)["reason"] == "the base variant has no cell on this dataset"
    failed = {"failed": [True], "completion_tokens": [None]}
    lake.answers(cell(BASE, exact_match=[1.0]), cell(TUNED, **failed))
    assert lake.row("aes", variant=TUNED)["reason"] == "no response tokens are known"
    lake.answers(cell(BASE, **failed), cell(TUNED, exact_match=[1.0]))
    assert lake.row("aes", variant=TUNED)["reason"] == "no response tokens of the base variant are known"
    lake.answers(cell(BASE, exact_match=[1.0], completion_tokens=[0]), cell(TUNED, exact_match=[1.0]))
    row = lake.row("aes", variant=TUNED)
    assert (row["aes"], row["delta_tokens"]) == (None, None)
    assert row["reason"] == "the base variant has 0 mean tokens"


def test_main_results_and_degeneration_show_every_cell(lake, cell):
    lake.answers(
        cell(
            BASE, exact_match=[1.0, 0.0], completion_tokens=[10, 30], truncated=[True, False], degenerate=[True, False]
        ),
        cell("big__base", exact_match=[1.0, 1.0]),
    )
    main = lake.mart("main_results")
    assert main["variant"].to_list() == ["big__base", BASE]
    row = main.row(1, named=True)
    assert (row["dataset"], row["model"], row["mode"], row["n_questions"], row["n_rollouts"]) == (
        "toy",
        "small",
        "base",
        2,
        2,
    )
    assert (row["exact_match"], row["mean_tokens"], row["median_tokens"], row["judge_accuracy"]) == (0.5, 20, 20, None)
    worn = lake.row("degeneration", variant=BASE)
    assert (worn["n_rollouts"], worn["n_truncated"], worn["n_degenerate"], worn["n_looping"]) == (2, 1, 1, 0)
