"""Judging a second time: the same questions for every variant, another seed, other numbers on the markers."""

import re

import polars as pl
import pytest
from judge_server import draw_of, garbled, task_of
from judged_cell import TASKS

from mbt_assets.judging import SEEDS_APART
from mbt_assets.retests import KINDS, marker_numbers, sampled
from mbt_assets.scoring.rrp import score_rrp
from mbt_assets.scoring.traces import mark
from resources.tables import JUDGED_TABLES

KEYS = ("question_id", "rollout_id", "judge")
LABELS = {
    "judge_verdicts": pl.col("verdict"),
    "answer_hits": pl.when(pl.col("answer_hit") == 1).then(pl.lit("YES")).otherwise(pl.lit("NO")),
    "rrp_scores": pl.col("answer_paragraph").cast(pl.String),
    "mqi_scores": pl.col("l_obs").cast(pl.String),
}


def beside_the_first(cell, table):
    """The retests of one score, joined with what was judged first."""
    retests = cell.rows("judge_retests").filter(pl.col("score") == table)
    first = cell.rows(table).with_columns(first_label=LABELS[table])
    return retests.join(first, on=KEYS, how="inner", validate="m:1", suffix="_first")


def test_a_judge_that_does_not_vary_agrees_with_itself(clean):
    rows = clean.rows("judge_retests")
    assert rows.height == 10 * 5
    assert set(rows["status"]) == {"scored"}
    for table, kinds in KINDS.items():
        pairs = beside_the_first(clean, table)
        assert pairs.height == 10 * len(kinds)
        assert (pairs["label"] == pairs["first_label"]).all()
        assert (pairs["judge_request_digest"] != pairs["judge_request_digest_first"]).all()
        assert (pairs["scorer_version"] == pairs["scorer_version_first"]).all()
        assert (pairs["checkpoint_digest"] == pairs["checkpoint_digest_first"]).all()
    profiles = beside_the_first(clean, "rrp_scores")
    for name in ("arrival", "redundant_fraction", "regulation"):
        assert (profiles[name] == profiles[f"{name}_first"]).all()
    assert rows.filter(pl.col("score") != "rrp_scores")["arrival"].null_count() == 30


def test_every_retest_has_a_seed_of_its_own_and_only_some_have_other_markers(cell, serve):
    server = serve()
    assert cell({"good": server}).make(*JUDGED_TABLES, "judge_retests").success
    assert {draw_of(body) for body in server.asked} == {0, 100, 200}
    again = [body for body in server.asked if draw_of(body) == 100]
    assert {task: sum(task_of(body) == task for body in again) for task in TASKS.values()} == dict.fromkeys(
        TASKS.values(), 10
    )
    first = [body["messages"] for body in server.asked if draw_of(body) == 0]
    assert all(body["messages"] in first for body in again)
    renumbered = [body["messages"][-1]["content"] for body in server.asked if draw_of(body) == 200]
    assert len(renumbered) == 10
    for prompt in renumbered:
        assert "[[M01]]" not in prompt and "their numbers are in no order" in prompt
        assert len(set(re.findall(r"^\[\[M\d+\]\]$", prompt, re.MULTILINE))) >= 2


def test_a_judge_that_goes_by_positions_is_found_out(cell, serve):
    def by_position(body, reply):
        return re.sub(r"\[\[M\d+\]\]", "[[M02]]", reply) if task_of(body) == "reach and redundancy" else reply

    judged = cell({"good": serve(by_position)})
    judged.make(*JUDGED_TABLES, "judge_retests")
    rows = judged.rows("judge_retests").filter(pl.col("score") == "rrp_scores")
    by_kind = {kind: set(of_kind["status"]) for (kind,), of_kind in rows.group_by("kind")}
    assert by_kind["retest"] == {"scored"}
    assert "unparseable" in by_kind["renumbered"]
    assert set(rows.filter(pl.col("status") == "unparseable")["label"]) == {None}


def test_only_what_was_scored_by_asking_is_asked_again(cell, serve):
    judged = cell({"good": serve(), "noisy": serve(garbled(0.5))}, judge_reasks=0)
    assert judged.make(*JUDGED_TABLES, "judge_retests").success
    sample = set(judged.rows("judge_retests").filter(pl.col("judge") == "good")["question_id"])
    assert len(sample) == 10
    for table in JUDGED_TABLES:
        of_noisy = judged.rows(table).filter(pl.col("judge") == "noisy", pl.col("question_id").is_in(list(sample)))
        scored = set(of_noisy.filter(pl.col("status") == "scored")["question_id"])
        again = judged.rows("judge_retests").filter(pl.col("judge") == "noisy", pl.col("score") == table)
        assert set(again["question_id"]) == scored != sample


def test_a_sample_of_none_asks_nobody(cell, serve):
    server = serve()
    judged = cell({"good": server}, retest_sample=0)
    judged.make(*JUDGED_TABLES)
    sent = len(server.asked)
    assert judged.make("judge_retests").success
    assert (len(server.asked), judged.rows("judge_retests").height) == (sent, 0)


def questions(ids, rollouts=1):
    pairs = [(name, rollout) for name in ids for rollout in range(1, rollouts + 1)]
    return pl.DataFrame(pairs, schema=["question_id", "rollout_id"], orient="row")


def chosen(frame, count, seed=42):
    return [(row["question_id"], row["rollout_id"]) for row in sampled(frame, count, seed)]


def test_the_sample_depends_on_the_seed_and_the_questions_alone():
    ids = [f"q{i}" for i in range(100)]
    first = chosen(questions(ids), 20)
    assert chosen(questions(ids[::-1]).with_columns(variant=pl.lit("other")), 20) == first
    assert chosen(questions(ids), 40)[:20] == first
    assert chosen(questions(ids), 20, seed=7) != first
    assert len({name for name, _ in first}) == 20


def test_further_rollouts_come_when_every_question_is_there():
    picked = chosen(questions(["a", "b", "c"], rollouts=2), 4)
    assert sorted(picked[:3]) == [("a", 1), ("b", 1), ("c", 1)]
    assert picked[3][1] == 2


@pytest.mark.parametrize("count", [0, 1, 2, 5, 400])
def test_other_markers_are_read_back_to_the_same_paragraphs(count):
    trace = "\n\n".join(f"Step {k}. So it is." for k in range(1, count + 1))
    row = {"question_id": "q", "rollout_id": 1, "reasoning": trace}
    numbers = marker_numbers(row, 42)
    assert numbers == marker_numbers(row, 42)
    assert len(set(numbers)) == len(numbers) == max(count - 1, 0)
    assert min(numbers, default=count + 1) > count
    if count > 1:
        assert mark(trace, numbers).startswith(f"Step 1. So it is.\n[[M{numbers[0]}]]\n\nStep 2")
        reply = "ANSWER_PARAGRAPH_MARKER: [[M{}]]\nREDUNDANT_PARAGRAPH_MARKERS: [[M_END]]\nCONFIDENCE: 1\nNOTES: -"
        score, _ = score_rrp(trace, reply.format(numbers[-1]), numbers)
        assert (score.answer_paragraph, score.redundant_paragraphs) == (count - 1, [count])


def test_seeds_of_draws_stay_apart_and_within_32_bits():
    assert (200 + 9) * SEEDS_APART < 2**31
