"""The report's first words: on each dataset the best variant by each measure of accuracy, against its base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from mbt_assets.tables.entries import Entry, entry_of, is_missing, number
from mbt_assets.tables.layout import LAYOUTS, Column, Interval
from mbt_assets.tables.panels import names, tuned
from partitions.study import Study

MEASURES = {"exact_match": "exact match", "f1": "F1", "judge_accuracy": "judged accuracy"}
"""Columns of the table `main` that tell which variant is best, in words."""


@dataclass(frozen=True)
class Headline:
    """The best variant on a dataset by one measure, in percent.

    Attributes:
        dataset: on which.
        measure: by what, in words.
        model: its model.
        mode: its mode.
        others: further modes of any model whose figure prints the same.
        best: its figure, with both ends of its interval.
        base: that of its model's base; None where it is the base itself, or there is none.
        difference: what it is above the base, in points; empty where that is not known.
        ends: the interval of the paired difference; empty where it was not tested.
        is_sure: that interval excludes 0.
    """

    dataset: str
    measure: str
    model: str
    mode: str
    others: list[str]
    best: Entry
    base: Entry | None
    difference: str
    ends: str
    is_sure: bool

    @property
    def sentence(self) -> str:
        """The same in one sentence."""
        also = f", as {'has' if len(self.others) == 1 else 'have'} {' and '.join(self.others)}" if self.others else ""
        spread = f" {self.best.spread}" if self.best.spread else ""
        start = (
            f"On {self.dataset}, {self.model} {self.mode} has the highest {self.measure}: {self.best.text} %{spread}"
        )
        if self.mode == "base":
            return f"{start}{also}; no other mode is better."
        if self.base is None or not self.difference:
            return f"{start}{also}."
        tested = f"; the paired difference is {self.ends}" if self.ends else ""
        return f"{start}{also}. That is {self.difference} points against {self.base.text} % of its base{tested}."


def headlines(main: pl.DataFrame, study: Study) -> list[Headline]:
    """The best of the tuned models' variants on each dataset, by each measure that has figures.

    Args:
        main: the rows of the table `main`, by `rows_of`.
        study: gives the order of datasets.
    """
    shown = main.filter(pl.col("model").is_in(tuned(main)))
    columns = [column for column in LAYOUTS["main"].columns if column.name in MEASURES]
    found = []
    for dataset in names(main, "dataset"):
        cells = shown.filter(pl.col("dataset") == dataset).rows(named=True)
        found += [line for column in columns if (line := _best(column, cells))]
    return found


def _best(column: Column, cells: list[dict[str, Any]]) -> Headline | None:
    there = [cell for cell in cells if not is_missing(cell[column.name])]
    if not there:
        return None
    first = max(there, key=lambda cell: cell[column.name])
    text = number(first[column.name], column)
    others = [cell for cell in there if cell is not first and number(cell[column.name], column) == text]
    bases = [cell for cell in there if cell["model"] == first["model"] and cell["mode"] == "base"]
    base = bases[0] if bases and first["mode"] != "base" else None
    entry = entry_of(column, first, Interval.ends)
    difference = points(first[column.name] - base[column.name], column) if base else ""
    return Headline(
        first["dataset"],
        MEASURES[column.name],
        first["model"],
        first["mode"],
        [f"{cell['model']} {cell['mode']}" for cell in others],
        entry,
        entry_of(column, base, Interval.ends) if base else None,
        difference,
        _tested_ends(column, first) if base else "",
        entry.differs,
    )


def points(value: float, column: Column) -> str:
    """A difference with its sign, in the column's scale; what prints as zero has none."""
    text = number(value, column)
    return text if text.startswith("-") or float(text.replace(",", "")) == 0 else f"+{text}"


def _tested_ends(column: Column, cell: Mapping[str, Any]) -> str:
    low, high = (cell.get(f"{column.tested}_difference_{end}") for end in ("lo", "hi"))
    return "" if low is None or high is None else f"[{points(low, column)}, {points(high, column)}]"
