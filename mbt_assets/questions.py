"""Questions: the rows of each benchmark split, and the base models that answer them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import polars as pl

from mbt_assets import benchmarks
from mbt_assets.stage import Stage, StageSpec
from resources.tables import Questions


def _load(stage: Stage, side: Literal["train", "validation"]) -> pl.DataFrame:
    dataset = stage.study.datasets[stage.node.key]
    split = getattr(dataset, side)
    source: dict[str, Any] = {
        "hub_id": dataset.hub_id,
        "revision": dataset.revision,
        "seed": stage.study.seed,
        "options": dataset.options,
    }
    # Resolved first: the rows are then of exactly the revision that is noted beside them.
    revision = benchmarks.resolved_revision(dataset.benchmark, **source)
    if revision.startswith("hub:"):
        source["revision"] = revision.removeprefix("hub:")
    rows = benchmarks.load(dataset.benchmark, split.name, config=dataset.config, limit=split.limit, **source)
    schema = {name: column.dtype for name, column in Questions.columns().items()}
    chunks = [
        pl.DataFrame([{**row, "dataset": stage.node.key} for row in chunk], schema=schema)
        for chunk in _batches(rows, 2_000)
    ]
    stage.note(revision=revision)
    return pl.concat(chunks) if chunks else pl.DataFrame(schema=schema)


def _batches(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(rows, size)):
        yield batch


def _figures(frame: pl.DataFrame) -> dict[str, int]:
    return {tier: frame.filter(pl.col("tier") == tier).height for tier in ("easy", "medium", "hard")}


STAGES = [
    StageSpec("train_questions", "questions", lambda stage: _load(stage, "train"), ("huggingface",), figures=_figures),
    StageSpec(
        "validation_questions",
        "questions",
        lambda stage: _load(stage, "validation"),
        ("huggingface",),
        figures=_figures,
    ),
]
