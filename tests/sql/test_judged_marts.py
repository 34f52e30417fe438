"""rrp_profile, mqi and judge_quality by hand."""

from __future__ import annotations

from statistics import mean

import pytest

from mbt_assets.scoring.rrp import length_aware

BASE, TUNED = "small__base", "small__mbt-r"


def trace(variant, question, first, redundant, total, **more):
    """A row of rrp_scores as the scorer would fill it."""
    rho = first / total if first >= 0 else 1.0
    delta = redundant / total
    factors = (1 - rho) + (1 - delta)
    return {
        "variant": variant,
        "question_id": question,
        "answer_paragraph": 1 if first >= 0 else 0,
        "first_correct": first,
        "redundant_sentences": redundant,
        "total_sentences": total,
        "arrival": rho,
        "redundant_fraction": delta,
        "regulation": 2 * (1 - rho) * (1 - delta) / factors if factors else 0.0,
        "confidence": 0.5,
        **more,
    }


def test_rrp_profile(lake, cell):
    lake.answers(cell(BASE, completion_tokens=[90, 110]), cell(TUNED, completion_tokens=[40, 40]))
    lake.judged(
        "rrp_scores",
        # S_b = mean(30, 10) = 20 sentences, T_b = 100 tokens
        [trace(BASE, "q1", 15, 15, 30), trace(BASE, "q2", -1, 0, 10)],
        # the worked example, rho = delta = R = .5; and one that never reaches the answer, rho 1, delta .5, R 0
        [trace(TUNED, "q1", 5, 5, 10), trace(TUNED, "q2", -1, 2, 4)],
        [{"variant": TUNED, "question_id": "q3", "status": "unparseable"}],
        [{"variant": TUNED, "question_id": "q4", "status": "failed"}],
    )
    row = lake.row("rrp_profile", variant=TUNED)
    assert (row["judge"], row["arrival"], row["redundancy"], row["regulation"]) == ("ann", 0.75, 0.5, 0.25)
    # rho' = 5/20 and 1, delta' = 5/20 and 2/20, R' = .75 and 0
    aware = [length_aware(5, 5, 20), length_aware(-1, 2, 20)]
    assert row["regulation_la"] == pytest.approx(mean(trace.regulation for trace in aware))
    assert (row["arrival_la"], row["redundancy_la"]) == (0.625, pytest.approx(0.175))
    assert (row["regulation_la"], row["base_mean_sentences"], row["mean_sentences"]) == (0.375, 20, 7)
    # over the base's 100 tokens: .05 and 1; .05 and .02
    assert (row["rho_la_tokens"], row["delta_la_tokens"]) == (pytest.approx(0.525), pytest.approx(0.035))
    assert (row["never_reached_rate"], row["n_scored"], row["n_unparseable"], row["n_failed"]) == (0.5, 2, 1, 1)
    assert row["regulation_lo"] == 0 and row["regulation_hi"] == 0.5
    base = lake.row("rrp_profile", variant=BASE)
    # rho' = 15/20 and 1; delta' = 15/20 and 0
    assert (base["arrival_la"], base["redundancy_la"]) == (0.875, 0.375)


def test_length_aware_figures_are_missing_without_a_base(lake, cell):
    lake.answers(cell(TUNED, exact_match=[1.0, 1.0]))
    lake.judged("rrp_scores", [trace(TUNED, "q1", 5, 5, 10), trace(TUNED, "q2", -1, 0, 10)])
    row = lake.row("rrp_profile", variant=TUNED)
    assert row["arrival"] == 0.75
    for name in ("arrival_la", "redundancy_la", "regulation_la", "rho_la_tokens", "delta_la_tokens", "arrival_la_lo"):
        assert row[name] is None


def test_traces_longer_than_the_base_are_cut_at_one(lake, cell):
    lake.answers(cell(BASE, exact_match=[1.0]), cell(TUNED, exact_match=[1.0]))
    lake.judged("rrp_scores", [trace(BASE, "q1", 1, 0, 2)], [trace(TUNED, "q1", 8, 4, 10)])
    row = lake.row("rrp_profile", variant=TUNED)
    assert (row["arrival_la"], row["redundancy_la"], row["regulation_la"]) == (1, 1, 0)


def test_unjudged_cells_and_second_judges_have_rows(lake, cell):
    lake.answers(cell(BASE, exact_match=[1.0]), cell(TUNED, exact_match=[1.0]))
    lake.judged("rrp_scores", [trace(TUNED, "q1", 1, 0, 2, judge="bob")])
    profile = lake.mart("rrp_profile").rows_by_key(["variant", "judge"], named=True, unique=True)
    assert set(profile) == {(BASE, "ann"), (TUNED, "ann"), (TUNED, "bob")}
    missing = profile[TUNED, "ann"]
    assert (missing["arrival"], missing["never_reached_rate"], missing["n_scored"]) == (None, None, 0)
    assert profile[TUNED, "bob"]["arrival"] == 0.5


def questions(*tiers):
    return [{"question_id": f"q{i}", "tier": tier} for i, tier in enumerate(tiers, start=1)]


def test_the_worked_mqi_example_and_its_tiers(lake, cell):
    lake.put("validation_questions", questions("easy", "easy", "hard"))
    lake.answers(cell(BASE, completion_tokens=[800, 1000, 1200]), cell(TUNED, completion_tokens=[250, 500, 750]))
    lake.judged(
        "mqi_scores",
        cell(TUNED, l_obs=[4, 2, 3], phases=[[1, 2, 3, 5], [2], [2, 3]], confidence=[0.9, 0.6, 0.3]),
        [{"variant": TUNED, "question_id": "q1", "rollout_id": 2, "status": "unparseable"}],
    )
    rows = lake.mart("mqi").filter(variant=TUNED).rows_by_key("tier", named=True, unique=True)
    assert list(rows) == ["all", "easy", "medium", "hard"]
    # L_obs 3, T 500, T_b 1000 -> 6; per sample (4/250 + 2/500 + 3/750) / 3 * 1000 = 8
    assert (rows["all"]["l_obs"], rows["all"]["mqi"], rows["all"]["mqi_per_sample"]) == (3, 6.0, pytest.approx(8.0))
    shares = [rows["all"][f"phase_{phase}"] for phase in range(1, 6)]
    assert shares == pytest.approx([1 / 3, 1, 2 / 3, 0, 1 / 3])
    assert rows["all"]["confidence"] == pytest.approx(0.6)
    assert (rows["all"]["n_scored"], rows["all"]["n_unparseable"], rows["all"]["n_failed"]) == (3, 1, 0)
    assert rows["all"]["mqi_lo"] < 6 < rows["all"]["mqi_hi"]
    # easy: L_obs 3, T 375, T_b 900 -> 7.2; hard: L_obs 3, T 750, T_b 1200 -> 4.8
    assert rows["easy"]["mqi"] == pytest.approx(7.2)
    assert rows["hard"]["mqi"] == pytest.approx(4.8)
    assert (rows["medium"]["mqi"], rows["medium"]["l_obs"], rows["medium"]["n_scored"]) == (None, None, 0)


def test_mqi_of_an_unjudged_cell_and_of_one_without_base(lake, cell):
    lake.put("validation_questions", questions("easy"))
    lake.answers(cell(TUNED, completion_tokens=[100]))
    unjudged = lake.row("mqi", variant=TUNED, tier="all")
    assert (unjudged["judge"], unjudged["l_obs"], unjudged["phase_1"], unjudged["n_scored"]) == ("ann", None, None, 0)
    lake.judged("mqi_scores", cell(TUNED, l_obs=[4], phases=[[]]))
    row = lake.row("mqi", variant=TUNED, tier="all")
    assert (row["l_obs"], row["mqi"], row["mqi_per_sample"], row["base_mean_tokens"], row["phase_1"]) == (
        4,
        None,
        None,
        None,
        0,
    )


def test_judge_quality(lake, cell):
    lake.answers(cell(BASE, exact_match=[1.0, 0.0, 0.0, 0.0]))
    letters = {"A": 1.0, "B": 0.0}
    ann = [{**row, "judge_correct": letters[row["verdict"]]} for row in cell(BASE, verdict=["A", "A", "B"])]
    bob = [
        {**row, "judge_correct": letters[row["verdict"]], "judge": "bob"} for row in cell(BASE, verdict=list("ABBA"))
    ]
    refused = {"variant": BASE, "question_id": "q4", "status": "unparseable"}
    failed = {"variant": BASE, "question_id": "q4", "rollout_id": 2, "status": "failed"}
    lake.judged("judge_verdicts", ann, bob, [refused, failed])
    lake.judged("answer_hits", [{**refused, "question_id": "q1"}, {**failed, "rollout_id": 1}])
    rows = lake.mart("judge_quality").rows_by_key(["score", "judge"], named=True, unique=True)
    first = rows["judge_verdicts", "ann"]
    assert (first["n_replies"], first["n_scored"], first["n_unparseable"], first["n_failed"]) == (4, 3, 1, 1)
    assert (first["parse_failure_rate"], first["compared_with"], first["agreement"], first["n_both"]) == (
        0.25,
        None,
        None,
        0,
    )
    # ann against exact match on q1..q3: right, wrong, right; p_o = 2/3, p_e = 2/3 * 1/3 + 1/3 * 2/3 = 4/9 -> .4
    assert (first["n_em"], first["em_agreement"], first["em_kappa"]) == (3, pytest.approx(2 / 3), pytest.approx(0.4))
    second = rows["judge_verdicts", "bob"]
    # bob and ann both scored q1..q3: A/A, B/A, B/B -> 2/3, kappa .4 as well
    assert (second["compared_with"], second["n_both"]) == ("ann", 3)
    assert (second["agreement"], second["kappa"]) == (pytest.approx(2 / 3), pytest.approx(0.4))
    assert second["em_agreement"] == 0.75
    hits = rows["answer_hits", "ann"]
    assert (hits["parse_failure_rate"], hits["n_scored"], hits["n_em"], hits["em_agreement"]) == (1.0, 0, 0, None)
    unasked = rows["rrp_scores", "ann"]
    assert (unasked["n_replies"], unasked["parse_failure_rate"]) == (0, None)


def test_the_interval_of_mqi_is_of_the_figure_that_it_stands_beside(lake, cell):
    # Two of ten responses are very long, and their traces were not scored: T is of all of them.
    base = cell(BASE, completion_tokens=[1000] * 10)
    tuned = cell(TUNED, completion_tokens=[100] * 8 + [5000] * 2)
    lake.answers(base, tuned)
    refused = [
        {"variant": TUNED, "question_id": "q9", "status": "unparseable"},
        {"variant": TUNED, "question_id": "q10", "status": "failed"},
    ]
    lake.judged("mqi_scores", cell(BASE, l_obs=[2] * 10), cell(TUNED, l_obs=[3, 4] * 4), refused)
    row = lake.mart("mqi").filter(variant=TUNED, tier="all").row(0, named=True)
    # mean level 3.5, T = (8 * 100 + 2 * 5000) / 10 = 1080
    assert row["mqi"] == pytest.approx(3.5 * 1000 / 1080)
    assert row["mqi_lo"] <= row["mqi"] <= row["mqi_hi"]
    difference = lake.mart("significance").filter(variant=TUNED, metric="mqi").row(0, named=True)
    assert difference["difference"] == pytest.approx(row["mqi"] - 2)
