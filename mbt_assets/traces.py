"""Traces that the teacher writes: gold solutions, synthesized (MBT-S) and rewritten (MBT-R, distill-R) traces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mbt_assets.checks import FAILED_REQUESTS, UNUSABLE_TRACES
from mbt_assets.generation import Ask, ask_model
from mbt_assets.identities import request_identity
from mbt_assets.rollouts import response_figures
from mbt_assets.scoring.traces import extract_trace
from mbt_assets.stage import Stage, StageSpec
from partitions.grid import cell_key
from partitions.study import base_of

TRACE_KEYS = ("question_id", "rollout_id", "trace_id")
TASK_FIELDS = ("documents", "question", "answer", "aliases")


def _from_teacher(
    stage: Stage,
    template: str,
    asks: Iterator[Ask],
    expected: int,
    column: str,
    keys: tuple[str, ...] = ("question_id",),
) -> pl.DataFrame:
    name = stage.study.teacher
    teacher = stage.study.models[name]
    uri, digest = teacher_weights(stage, name)
    with stage.servers.serving(name, teacher, uri, digest) as endpoints:
        sampling = stage.study.sampling_of(name)
        frame = ask_model(stage, endpoints, template, asks, sampling, keys, expected=expected)
    traces = [extract_trace(text) for text in frame["content"]]
    return frame.with_columns(pl.Series(column, traces, dtype=pl.String), dataset=pl.lit(stage.dataset))


def teacher_weights(stage: Stage, name: str) -> tuple[str, str]:
    """The registry uri and the digest, weights and server, of a model that is no partition: the teacher, or a judge."""
    source = stage.study.models[name].source
    uri = {"hub": f"hub://{getattr(source, 'repo', '')}", "path": getattr(source, "path", "")}.get(source.kind, "")
    revision = getattr(source, "revision", None)
    return (f"{uri}@{revision}" if revision else uri), request_identity(stage.study, name)


def _task(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in TASK_FIELDS}


def _per_question(stage: Stage, template: str, column: str) -> pl.DataFrame:
    questions = stage.read("train_questions", stage.dataset)
    asks = (Ask({"question_id": row["question_id"]}, _task(row)) for row in questions.iter_rows(named=True))
    return _from_teacher(stage, template, asks, questions.height, column)


def _gold_solutions(stage: Stage) -> pl.DataFrame:
    return _per_question(stage, "gold_solution", "solution")


def _synthesized_traces(stage: Stage) -> pl.DataFrame:
    frame = _per_question(stage, "mbt_s", "trace")
    return frame.with_columns(variant=pl.lit(stage.variant))


def _drafts(stage: Stage) -> pl.DataFrame:
    """Rollouts to rewrite, each with its question and gold solution; joined by key, cardinality checked."""
    base = base_of(stage.variant)
    rollouts = stage.read("train_rollouts", cell_key(stage.dataset, base))
    usable = rollouts.filter(pl.col("error").is_null() & (pl.col("reasoning") != ""))
    questions = stage.read("train_questions", stage.dataset).select("question_id", *TASK_FIELDS)
    solutions = stage.read("gold_solutions", stage.dataset).select("question_id", "solution").drop_nulls("solution")
    drafts = usable.select("question_id", "rollout_id", "reasoning")
    joined = drafts.join(questions, on="question_id", validate="m:1", how="inner", maintain_order="left")
    if joined.height != drafts.height:
        raise ValueError(f"{stage.node}: {drafts.height - joined.height} rollouts answer no training question")
    return joined.join(solutions, on="question_id", validate="m:1", how="inner", maintain_order="left")


def _rewrite_asks(drafts: pl.DataFrame, rewrites: int) -> Iterator[Ask]:
    for row in drafts.iter_rows(named=True):
        fields = _task(row) | {"solution": row["solution"], "trace": row["reasoning"]}
        for trace_id in range(1, rewrites + 1):
            keys = {"question_id": row["question_id"], "rollout_id": row["rollout_id"], "trace_id": trace_id}
            yield Ask(keys, fields, trace_id)


def _rewritten_traces(stage: Stage) -> pl.DataFrame:
    template = stage.grid.rewrite_template(stage.variant)
    drafts, rewrites = _drafts(stage), stage.study.rollouts.rewrites
    asks, expected = _rewrite_asks(drafts, rewrites), drafts.height * rewrites
    frame = _from_teacher(stage, template, asks, expected, "trace", TRACE_KEYS)
    return frame.with_columns(variant=pl.lit(stage.variant))


STAGES = [
    StageSpec(
        name,
        "traces",
        make,
        ("vllm", "openai"),
        pool="gpu",
        figures=response_figures,
        checks=(FAILED_REQUESTS, UNUSABLE_TRACES),
    )
    for name, make in (
        ("gold_solutions", _gold_solutions),
        ("synthesized_traces", _synthesized_traces),
        ("rewritten_traces", _rewritten_traces),
    )
]
