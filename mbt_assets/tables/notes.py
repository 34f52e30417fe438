"""What is said below a table or figure: how its numbers came about, and how far they can be trusted."""

from __future__ import annotations

from typing import Any

import polars as pl

from mbt_assets.tables.layout import TOKENS, Interval, Layout
from mbt_assets.tables.marks import covers_less, is_uneven, short_counts
from partitions.study import Study

CAVEATS = {
    "embedded": "The student is a real but tiny language model, teacher and judge are rules, and the questions are "
    "generated: these numbers show that the platform works. They are no benchmark results."
}
LISTED = 6
"""Cells that a footnote names one by one; of more it says how many."""


def caveat_of(study: Study) -> str:
    """What must be said of every number of the study; empty where that is nothing."""
    embedded = any(model.source.kind == "embedded" for model in study.models.values())
    return CAVEATS["embedded"] if embedded else ""


def interval_note(study: Study) -> str:
    """How the intervals of the study's marts are made."""
    return f"95 % percentile bootstrap over questions, {study.resamples:,} resamples"


def notes_of(layout: Layout, frame: pl.DataFrame, study: Study, interval: Interval) -> list[str]:
    """The sentences below a table's title.

    Args:
        layout: of the table.
        frame: its rows, by `rows_of`.
        study: that they are of.
        interval: how intervals are written.
    """
    notes = [f"Study {study.name}.", layout.legend, *_sizes(frame), *_interval(layout, frame, study, interval)]
    if layout.judged:
        notes.append(f"Judge: {study.judges[0]}.")
    if layout.name == "aes":
        notes.append(_weights(study))
    notes += [*_marks(layout, frame), *_partial(layout, frame), *_uneven(layout, frame), *_missing(layout, frame)]
    return [note for note in [*notes, caveat_of(study)] if note]


def _sizes(frame: pl.DataFrame) -> list[str]:
    if "n_questions" not in frame.columns:
        return []
    sizes = []
    for (dataset,), rows in frame.partition_by("dataset", as_dict=True, maintain_order=True).items():
        counts = sorted({count for count in rows["n_questions"] if count})
        sizes.append(f"{dataset} {'–'.join(f'{n:,}' for n in dict.fromkeys([counts[0], counts[-1]])) if counts else 0}")
    return [f"Means over n questions: {', '.join(sizes)}."]


def _interval(layout: Layout, frame: pl.DataFrame, study: Study, interval: Interval) -> list[str]:
    ends = [end for column in layout.columns for end in column.ends or ()]
    if interval is Interval.none or not any(end in frame.columns for end in ends):
        return []
    shown = "± is half the width" if interval is Interval.half else "[lower, upper end]"
    return [f"Intervals: {interval_note(study)}; {shown}."]


def _weights(study: Study) -> str:
    weights = study.aes
    return (
        f"AES = α ΔL + β ΔA, or α ΔL − γ |ΔA| where ΔA < 0, with α = {weights.alpha:g}, β = {weights.beta:g}, "
        f"γ = {weights.gamma:g}; its interval is that of the paired difference from the base variant, whose AES is 0."
    )


def _marks(layout: Layout, frame: pl.DataFrame) -> list[str]:
    less = [column.head for column in layout.columns if column.better == "less"]
    best = f"Bold: a model's best on the dataset{f', of {_listed(less)} the lowest' if less else ''}."
    tested = [c.head for c in layout.columns if c.tested and f"{c.tested}_difference" in frame.columns]
    if not tested:
        return [best]
    return [
        best,
        f"* differs from the model's base: the interval of the paired difference excludes 0 ({_listed(tested)}).",
    ]


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _partial(layout: Layout, frame: pl.DataFrame) -> list[str]:
    """Which cells have a figure with fewer scores behind it than responses were asked for."""
    found: dict[str, None] = {}
    for column in layout.columns:
        for row in frame.drop_nulls(column.name).rows(named=True):
            for name in short_counts(column, row):
                # A response that never came has no tokens either: that is said once.
                if name != TOKENS or row[name] != row.get("n_answers"):
                    found[f"{_cell(row)} {row[name]} of {row['n_rollouts']}{_counted(name)}"] = None
    if not found:
        return []
    return [
        "† fewer scores than responses stand behind the figure, or behind the base's that it is compared with: "
        f"{_first(list(found))}."
    ]


def _uneven(layout: Layout, frame: pl.DataFrame) -> list[str]:
    """Which cells cover fewer questions than others, where a figure is marked for that."""
    cells = frame.rows(named=True)
    shown = ((column, cell) for cell in cells for column in layout.columns if cell[column.name] is not None)
    marked = any(is_uneven(column, cell) for column, cell in shown)
    few = [f"{_cell(cell)} {cell['n_questions']} of {cell['most_questions']}" for cell in cells if covers_less(cell)]
    if not marked or not few:
        return []
    return [
        "‡ compares different questions: the cell, or the base that it is compared with, covers only a part of those "
        f"that other cells of the dataset cover: {_first(few)}."
    ]


def _cell(row: dict[str, Any]) -> str:
    return f"{row['dataset']} {row['model']} {row['mode']}"


def _counted(name: str) -> str:
    """What a count is of, where that is not simply the responses that came."""
    return {"n_answers": "", TOKENS: " with known tokens"}.get(name, " judged")


def _first(cells: list[str]) -> str:
    more = f" and {len(cells) - LISTED} more (see the CSV)" if len(cells) > LISTED else ""
    return f"{', '.join(cells[:LISTED])}{more}"


def _missing(layout: Layout, frame: pl.DataFrame) -> list[str]:
    """What a dash means, and why a score is undefined, in the words of its mart."""
    if not frame.select(pl.any_horizontal(pl.col(column.name).is_null() for column in layout.columns).any()).item():
        return []
    cells: dict[str, set[str]] = {}
    for name in ("reason", "reason_judge"):
        for row in frame.drop_nulls(name).rows(named=True) if name in frame.columns else []:
            cells.setdefault(row[name], set()).add(f"{row['dataset']} {row['variant']}")
    said = [f"{reason} ({len(found)} cell{'s' if len(found) > 1 else ''})" for reason, found in cells.items()]
    return ["– (n): no figure, and how many scores there are" + "".join(f"; {text}" for text in said) + "."]
