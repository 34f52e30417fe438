"""Judging a sample of each cell's rollouts a second time: how far does a judge agree with itself?

The same question again with another seed (test-retest), and traces whose paragraphs' markers have other numbers: a
judge that goes by what a paragraph says names the same one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import polars as pl

from mbt_assets.checks import FAILED_JUDGMENTS, PARSE_FAILURES
from mbt_assets.judge_tasks import TASKS, Row
from mbt_assets.judging import (
    SCORED,
    Judge,
    Key,
    judge_at_work,
    judgments,
    key_of,
    rollouts_with_questions,
    stamp,
    table_frame,
)
from mbt_assets.registry import check_landing
from mbt_assets.scoring.traces import paragraphs
from mbt_assets.stage import Stage, StageSpec
from partitions.grid import RETESTS
from resources.tables import JUDGED_TABLES

DRAWS = {"retest": 100, "renumbered": 200}
"""For each kind, which draw of a question it is: far from those of asking again."""
KINDS = {table: ("retest", "renumbered") if table == "rrp_scores" else ("retest",) for table in JUDGED_TABLES}
PROFILE = ("arrival", "redundant_fraction", "regulation")


def sampled(rows: pl.DataFrame, count: int, seed: int) -> list[Row]:
    """The rollouts that are judged again: of the first rollouts first, in an order of the questions by the seed.

    It depends on the seed and the ids alone, so that all variants of a dataset have the same questions in it.

    Args:
        rows: rollouts with `question_id` and `rollout_id`.
        count: how many are wanted; fewer where there are not so many.
        seed: the study's.
    """

    def order(row: Row) -> tuple[int, str]:
        return row["rollout_id"], hashlib.sha256(f"{seed}/{row['question_id']}".encode()).hexdigest()

    every: list[Row] = list(rows.iter_rows(named=True))
    return sorted(every, key=order)[:count]


def marker_numbers(row: Row, seed: int) -> list[int]:
    """Other numbers for a trace's markers, one for each paragraph but the last.

    In no order, and none of them the number of a paragraph: a judge that counts instead of reading is found out.
    """
    count = len(paragraphs(row["reasoning"]))
    chosen = random.Random(f"{seed}/{row['question_id']}/{row['rollout_id']}")
    return chosen.sample(range(count + 10, 4 * count + 100), max(count - 1, 0))


def _retests(stage: Stage) -> pl.DataFrame:
    study = stage.study
    sample = sampled(rollouts_with_questions(stage), study.limits.retest_sample, study.seed)
    scored = {table: _scored_by_asking(stage, table) for table in JUDGED_TABLES} if sample else {}
    found: list[dict[str, Any]] = []
    for name in study.judges:
        wanted = {table: [row for row in sample if (name, key_of(row)) in keys] for table, keys in scored.items()}
        if any(wanted.values()):
            with judge_at_work(stage, name) as judge:
                found.extend(_judged_again(stage, judge, wanted))
    return table_frame(RETESTS, found)


def _scored_by_asking(stage: Stage, table: str) -> set[tuple[str, Key]]:
    """Judge and rollout of each score that a judge gave; what followed from its definition was not asked."""
    rows = stage.read(table, stage.node.key).filter(pl.col("status") == SCORED, pl.col("attempts") > 0)
    return {(row["judge"], key_of(row)) for row in rows.iter_rows(named=True)}


def _judged_again(stage: Stage, judge: Judge, wanted: dict[str, list[Row]]) -> Iterator[dict[str, Any]]:
    for table, rows in wanted.items():
        task = TASKS[table]
        for kind in KINDS[table]:
            asked = [_renumbered(row, stage.study.seed) for row in rows] if kind == "renumbered" else rows
            part = f"{judge.name}__{table}__{kind}"
            outcomes = judgments(stage, judge, task, asked, part, DRAWS[kind])
            for row in asked:
                outcome = outcomes[key_of(row)]
                said: dict[str, Any] = {"label": task.label(outcome)} if outcome["status"] == SCORED else {}
                said |= {name: outcome.get(name) for name in PROFILE}
                yield {**outcome, **stamp(judge, task, row), **said, "score": table, "kind": kind}


def _renumbered(row: Row, seed: int) -> Row:
    return {**row, "numbers": marker_numbers(row, seed)}


def _figures(frame: pl.DataFrame) -> dict[str, int]:
    return {f"n_{kind}": frame.filter(pl.col("kind") == kind).height for kind in DRAWS}


STAGES = [
    StageSpec(
        RETESTS,
        "scores",
        _retests,
        ("vllm", "openai"),
        "judge",
        _figures,
        (FAILED_JUDGMENTS, PARSE_FAILURES),
        landing=check_landing,
    )
]
