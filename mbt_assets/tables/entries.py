"""A table as it is printed: numbers cut to their digits, the best of each model marked, and what is missing said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from mbt_assets.tables.frames import Marts, rows_of
from mbt_assets.tables.layout import Column, Interval, Layout
from mbt_assets.tables.marks import differs, is_partial, is_uneven
from mbt_assets.tables.notes import notes_of
from partitions.study import Study

MISSING = "–"


@dataclass(frozen=True)
class Entry:
    """One figure as it is printed.

    Attributes:
        text: the estimate; a dash where it is missing.
        spread: its interval: `± 1.2` or `[3.4, 5.8]`; empty where it has none.
        best: no other mode of the model is better on the dataset, by the digits that are printed.
        differs: the interval of its paired difference from the base variant excludes 0.
        partial: fewer scores than responses stand behind it, or behind what it is compared with.
        uneven: it is of other questions than the figures that it stands beside.
        count: scores behind it; None where that is not known.
        missing: there is no figure.
    """

    text: str
    spread: str = ""
    best: bool = False
    differs: bool = False
    partial: bool = False
    uneven: bool = False
    count: int | None = None
    missing: bool = False

    @property
    def marks(self) -> str:
        """Its footnotes' marks."""
        shown = {"*": self.differs, "†": self.partial, "‡": self.uneven}
        return "".join(mark for mark, is_shown in shown.items() if is_shown)


@dataclass(frozen=True)
class Row:
    """One variant: its mode, and its entries dataset by dataset, column by column."""

    mode: str
    entries: list[Entry]


@dataclass(frozen=True)
class Block:
    """The variants of one model."""

    model: str
    rows: list[Row]


@dataclass(frozen=True)
class Table:
    """One table of the paper.

    Attributes:
        layout: what it shows.
        datasets: its column groups.
        blocks: its rows, by model.
        notes: what its caption says below the title, as sentences.
    """

    layout: Layout
    datasets: list[str]
    blocks: list[Block]
    notes: list[str] = field(default_factory=list)


def table_of(
    layout: Layout,
    marts: Marts,
    study: Study,
    datasets: Sequence[str] | None = None,
    interval: Interval = Interval.half,
    remark: str = "",
) -> Table:
    """A table of the paper from the marts.

    Args:
        layout: which one.
        marts: what `rows_of` needs.
        study: gives the order of datasets, models and modes.
        datasets: show only these; all of the study when None.
        interval: how intervals are written.
        remark: what else its caption has to say.
    """
    frame = rows_of(layout, marts, study, datasets)
    shown = list(frame["dataset"].unique(maintain_order=True))
    blocks = [
        _block(model, rows, layout, shown, interval)
        for (model,), rows in frame.partition_by("model", as_dict=True, maintain_order=True).items()
    ]
    notes = [*notes_of(layout, frame, study, interval), *([remark] if remark else [])]
    return Table(layout, shown, blocks, notes)


def _block(model: Any, frame: pl.DataFrame, layout: Layout, datasets: list[str], interval: Interval) -> Block:
    entries = {}
    for dataset in datasets:
        cells = frame.filter(pl.col("dataset") == dataset).rows(named=True)
        for column in layout.columns:
            best = _best(column, cells)
            for cell in cells:
                entry = entry_of(column, cell, interval)
                entries[cell["mode"], dataset, column.name] = replace(entry, best=entry.text in best)
    modes = frame["mode"].unique(maintain_order=True)
    keys = [(dataset, column.name) for dataset in datasets for column in layout.columns]
    return Block(str(model), [Row(mode, [entries[(mode, *key)] for key in keys]) for mode in modes])


def _best(column: Column, cells: list[dict[str, Any]]) -> set[str]:
    """The best figure among a model's modes, as it is printed: those that look the same are best together."""
    values = [cell[column.name] for cell in cells if not is_missing(cell.get(column.name))]
    # The best of one says nothing.
    if not column.better or len(values) < 2:
        return set()
    return {number(max(values) if column.better == "more" else min(values), column)}


def entry_of(column: Column, cell: dict[str, Any], interval: Interval) -> Entry:
    """One cell's figure as it is printed; whether it is the best is for others to say.

    Args:
        column: which figure.
        cell: a row of `rows_of`.
        interval: how its interval is written.
    """
    value: Any = cell.get(column.name)
    name = column.counts[0]
    count = cell.get(name)
    if is_missing(value):
        # A cell that is not there has no scores; where the counts are not at hand, nothing is said of them.
        return Entry(MISSING, count=(count or 0) if name in cell else None, missing=True)
    return Entry(
        number(value, column),
        _spread(column, cell, interval),
        differs=differs(column, cell),
        partial=is_partial(column, cell),
        uneven=is_uneven(column, cell),
        count=count,
    )


def _spread(column: Column, cell: dict[str, Any], interval: Interval) -> str:
    ends: list[Any] = [cell.get(end) for end in column.ends or ("", "")]
    low, high = ends
    if interval is Interval.none or is_missing(low) or is_missing(high):
        return ""
    if interval is Interval.ends:
        return f"[{number(low, column)}, {number(high, column)}]"
    return f"± {number((high - low) / 2, column)}"


def is_missing(value: Any) -> bool:
    """Whether a mart's figure is not there: NULL, or not a finite number."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def number(value: float, column: Column) -> str:
    """A mart's value with its column's scale and digits; thousands have a comma, and zero has no sign."""
    text = f"{value * column.scale:,.{column.decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text
