"""Scores of each cell's rollouts: answers by rule, and what the study's judges say of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from mbt_assets.checks import FAILED_JUDGMENTS, PARSE_FAILURES
from mbt_assets.judge_tasks import TASKS, JudgeTask, Row
from mbt_assets.judging import (
    FAILED,
    SCORED,
    Outcome,
    judge_at_work,
    judgments,
    key_of,
    rollouts_with_questions,
    stamp,
    table_frame,
)
from mbt_assets.recipes import scorer_version
from mbt_assets.registry import check_landing
from mbt_assets.scoring import answers, degeneration
from mbt_assets.scoring.answer_columns import score_frame
from mbt_assets.stage import Stage, StageSpec
from resources.tables import TABLES


def _answer_scores(stage: Stage) -> pl.DataFrame:
    rows = rollouts_with_questions(stage)
    extracted = [answers.extract_answer(text) for text in rows["content"]]
    frame = rows.with_columns(
        pl.Series("prediction", [answer for answer, _ in extracted], dtype=pl.String),
        pl.Series("answer_found", [found for _, found in extracted], dtype=pl.Boolean),
        pl.concat_list(pl.concat_list("answer"), "aliases").alias("references"),
        pl.Series("looping", [degeneration.looping(text) for text in rows["response"]], dtype=pl.Boolean),
        truncated=(pl.col("finish_reason") == "length").fill_null(False),
    )
    scores = score_frame(frame.select("prediction", "references"))
    return frame.with_columns(
        *(scores[name].cast(pl.Float64) for name in answers.SCORE_COLUMNS),
        scores["unscorable_gold"],
        scores["normalized_prediction"],
        pl.col("prediction").alias("predicted_answer"),
        degenerate=pl.col("truncated") | pl.col("looping"),
        failed=pl.col("error").is_not_null(),
        empty_reasoning=pl.col("error").is_null() & (pl.col("reasoning") == ""),
        scorer_version=pl.lit(scorer_version("answer_scores")),
    ).select(TABLES["answer_scores"].column_names())


def _judged(stage: Stage) -> pl.DataFrame:
    rows = rollouts_with_questions(stage)
    return pl.concat([_judged_by(stage, judge, rows) for judge in stage.study.judges])


def _judged_by(stage: Stage, name: str, rows: pl.DataFrame) -> pl.DataFrame:
    table = stage.node.asset
    task = TASKS[table]
    asked = [row for row in rows.iter_rows(named=True) if row["error"] is None and task.settled(row) is None]
    with judge_at_work(stage, name) as judge:
        outcomes = judgments(stage, judge, task, asked, part=name)
    judged = [
        {**stamp(judge, task, row), **task.given(row), **_judgment(task, row, outcomes.get(key_of(row)))}
        for row in rows.iter_rows(named=True)
    ]
    return table_frame(table, judged)


def _judgment(task: JudgeTask, row: Row, outcome: Outcome | None) -> dict[str, Any]:
    """The judged columns of one rollout; `outcome` is what the judge made of it, None where nothing was asked."""
    if outcome is not None:
        return {**outcome, "parse_ok": outcome["status"] == SCORED}
    if row["error"] is not None:
        return {"status": FAILED, "parse_ok": False, "failure": "rollout_failed", "attempts": 0, "reasks": 0}
    return {"status": SCORED, "parse_ok": True, "attempts": 0, "reasks": 0, **(task.settled(row) or {})}


def _mean_of(*columns: str) -> Callable[[pl.DataFrame], dict[str, Any]]:
    def figures(frame: pl.DataFrame) -> dict[str, Any]:
        return {f"mean_{name}": frame[name].mean() for name in columns}

    return figures


def _answer_figures(frame: pl.DataFrame) -> dict[str, Any]:
    shown = ("exact_match", "f1", "substring_match", "completion_tokens")
    return _mean_of(*shown)(frame) | {"degenerate": int(frame["degenerate"].sum())}


def _judged_stage(name: str, *figures: str) -> StageSpec:
    checks = (FAILED_JUDGMENTS, PARSE_FAILURES)
    kinds = ("vllm", "openai")
    return StageSpec(name, "scores", _judged, kinds, "judge", _mean_of(*figures), checks, landing=check_landing)


STAGES = [
    StageSpec("answer_scores", "scores", _answer_scores, ("polars",), figures=_answer_figures, landing=check_landing),
    _judged_stage("judge_verdicts", "judge_correct"),
    _judged_stage("answer_hits", "answer_hit", "substring_hit"),
    _judged_stage("rrp_scores", "arrival", "redundant_fraction", "regulation"),
    _judged_stage("mqi_scores", "l_obs", "confidence"),
]
