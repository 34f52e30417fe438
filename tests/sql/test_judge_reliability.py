"""judge_reliability by hand: a judge against itself, and against another one."""

from __future__ import annotations

import pytest

BASE = "small__base"


def retests(table, labels, kind="retest", **more):
    return [
        {
            "variant": BASE,
            "question_id": f"q{number}",
            "judge": "ann",
            "score": table,
            "kind": kind,
            "status": "scored" if label else "unparseable",
            "label": label,
            **{name: values[number - 1] for name, values in more.items()},
        }
        for number, label in enumerate(labels, 1)
    ]


def row(lake, score, judge="ann"):
    return lake.mart("judge_reliability").filter(score=score, judge=judge).row(0, named=True)


def test_a_judge_against_itself(lake, cell):
    lake.answers(cell(BASE, exact_match=[1.0] * 4))
    verdicts = [{**rows, "judge_correct": 1.0} for rows in cell(BASE, verdict=["A", "A", "B", "B"])]
    lake.judged("judge_verdicts", verdicts)
    # The same letter on q1 and q3, another one on q2; the second reply about q4 did not parse.
    lake.put("judge_retests", retests("judge_verdicts", ["A", "B", "B", None]))
    found = row(lake, "judge_verdicts")
    assert (found["n_retests"], found["retest_agreement"]) == (3, pytest.approx(2 / 3))
    # p_o = 2/3, p_e = 2/3 * 1/3 + 1/3 * 2/3 = 4/9
    assert found["retest_kappa"] == pytest.approx(0.4)
    assert found["retest_agreement_lo"] < 2 / 3 < found["retest_agreement_hi"]
    assert (found["retest_alpha"], found["n_renumbered"]) == (None, 0)


def test_a_profile_with_other_numbers_on_its_paragraphs(lake, cell):
    lake.answers(cell(BASE, exact_match=[1.0] * 3))
    lake.judged("rrp_scores", cell(BASE, answer_paragraph=[1, 2, 0], regulation=[0.5, 0.75, 0.0]))
    again = retests("rrp_scores", ["1", "3", "0"], "renumbered", regulation=[0.5, 0.25, 0.25])
    lake.put("judge_retests", again)
    found = row(lake, "rrp_scores")
    assert (found["n_renumbered"], found["renumbered_agreement"]) == (3, pytest.approx(2 / 3))
    # mean of 0, .5 and .25
    assert found["renumbered_shift"] == 0.25
    assert (found["n_retests"], found["retest_agreement"]) == (0, None)


def test_two_judges_on_an_ordinal_scale(lake, cell):
    lake.answers(cell(BASE, exact_match=[1.0] * 4))
    bob = [{**rows, "judge": "bob"} for rows in cell(BASE, l_obs=[1, 3, 3])]
    lone = {"variant": BASE, "question_id": "q4", "judge": "bob", "status": "unparseable"}
    lake.judged("mqi_scores", cell(BASE, l_obs=[1, 2, 3, 3]), bob, [lone])
    found = row(lake, "mqi_scores", "bob")
    # The pairs 1/1, 2/3 and 3/3, worked in the tests of alpha; kappa: p_o = 2/3, p_e = (1 + 0 + 2) / 9
    assert (found["compared_with"], found["n_both"]) == ("ann", 3)
    assert (found["alpha"], found["kappa"]) == (pytest.approx(7 / 9), pytest.approx(0.5))
    assert (found["agreement"], found["parse_failure_rate"]) == (pytest.approx(2 / 3), 0.25)


def test_replies_that_were_asked_for_again_are_counted(lake, cell):
    lake.answers(cell(BASE, exact_match=[1.0] * 2))
    lake.judged("answer_hits", cell(BASE, answer_hit=[1.0, 0.0], reasks=[2, 0]))
    assert row(lake, "answer_hits")["n_reasks"] == 2


def test_a_trace_that_nobody_was_asked_about_says_nothing_of_the_judge(lake, cell):
    lake.answers(cell(BASE, exact_match=[1.0] * 4))
    empty = {"attempts": 0, "answer_paragraph": 0, "regulation": 0.0}
    judged = [
        [{"variant": BASE, "question_id": "q1", "judge": judge, **empty} for judge in ("ann", "bob")],
        [{"variant": BASE, "question_id": "q2", "status": "unparseable"}],
        [{"variant": BASE, "question_id": "q3", "answer_paragraph": 1}],
        [{"variant": BASE, "question_id": "q3", "judge": "bob", "answer_paragraph": 2}],
        [{"variant": BASE, "question_id": "q4", "status": "failed", "attempts": 0}],
    ]
    lake.judged("rrp_scores", *judged)
    ann, bob = row(lake, "rrp_scores"), row(lake, "rrp_scores", "bob")
    assert (ann["n_replies"], ann["n_scored"], ann["n_failed"], ann["parse_failure_rate"]) == (2, 1, 1, 0.5)
    assert (bob["n_both"], bob["agreement"]) == (1, 0.0)
