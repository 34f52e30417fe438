"""Heat maps: one figure of every cell, dataset × variant, from the worst to the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from mbt_assets.reporting.headline import points
from mbt_assets.tables.entries import is_missing, number
from mbt_assets.tables.frames import Marts, rows_of
from mbt_assets.tables.layout import LAYOUTS, Column
from mbt_assets.tables.marks import differs
from mbt_assets.tables.panels import names
from partitions.grid import cell_key
from partitions.study import Study

SHOWN = {
    "exact_match": ("main", "exact match, %"),
    "f1": ("main", "F1, %"),
    "judge_accuracy": ("main", "judged accuracy, %"),
    "mean_tokens": ("main", "mean response tokens"),
    "aes": ("aes", "AES"),
    "regulation": ("rrp", "regulation R"),
    "mqi": ("mqi", "MQI"),
}
"""For each figure with a heat map: the table that has it, and its name."""


@dataclass(frozen=True)
class Field:
    """One cell of a heat map.

    Attributes:
        key: of the cell, as partitions are called.
        text: its figure; empty where there is none.
        level: 0 for the worst figure shown to 1 for the best.
        difference: from the model's base, with its sign; empty for the base itself.
        is_sure: the interval of the paired difference excludes 0.
    """

    key: str
    text: str
    level: float
    difference: str
    is_sure: bool


@dataclass(frozen=True)
class Heat:
    """One heat map.

    Attributes:
        name: of the figure.
        title: what it shows.
        less_is_better: whether a low figure is a good one.
        datasets: its columns.
        models: its rows: of each model, its modes with a field for each dataset.
    """

    name: str
    title: str
    less_is_better: bool
    datasets: list[str]
    models: list[tuple[str, list[tuple[str, list[Field]]]]]


def heats_of(marts: Marts, study: Study) -> list[Heat]:
    """A heat map of each main figure that some cell has."""
    found = []
    for name, (table, title) in SHOWN.items():
        layout = LAYOUTS[table]
        column = next(column for column in layout.columns if column.name == name)
        frame = rows_of(layout, marts, study)
        if frame[name].count():
            found.append(_heat(column, title, frame))
    return found


def _heat(column: Column, title: str, frame: pl.DataFrame) -> Heat:
    values = [value for value in frame[column.name] if not is_missing(value)]
    low, high = min(values), max(values)
    cells = {(cell["dataset"], cell["variant"]): cell for cell in frame.rows(named=True)}
    datasets = names(frame, "dataset")
    models = []
    for model in names(frame, "model"):
        modes = names(frame.filter(pl.col("model") == model), "mode")
        rows = [
            (mode, [_field(column, cells, dataset, f"{model}__{mode}", model, low, high) for dataset in datasets])
            for mode in modes
        ]
        models.append((model, rows))
    return Heat(column.name, title, column.better == "less", datasets, models)


def _field(
    column: Column,
    cells: dict[tuple[str, str], dict[str, Any]],
    dataset: str,
    slug: str,
    model: str,
    low: float,
    high: float,
) -> Field:
    cell = cells[dataset, slug]
    value, base = cell[column.name], cells.get((dataset, f"{model}__base"), {}).get(column.name)
    key = cell_key(dataset, slug)
    if is_missing(value):
        return Field(key, "", 0.0, "", False)
    share = (value - low) / (high - low) if high > low else 0.5
    is_compared = cell["mode"] != "base" and not is_missing(base)
    return Field(
        key,
        number(value, column),
        round(1 - share if column.better == "less" else share, 3),
        points(value - base, column) if is_compared else "",
        differs(column, cell),
    )
