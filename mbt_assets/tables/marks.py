"""Which marks a figure carries: `*` tested and different, `†` of few scores, `‡` of other questions than its base."""

from __future__ import annotations

from typing import Any

from mbt_assets.tables.layout import Column

BASE = "base_"
"""Begins the columns that hold a count of the cell's base variant."""


def differs(column: Column, cell: dict[str, Any]) -> bool:
    """Whether the interval of its paired difference from the base variant excludes 0; a base has no such test."""
    low, high = (cell.get(f"{column.tested}_difference_{end}") for end in ("lo", "hi"))
    return low is not None and high is not None and (low > 0 or high < 0)


def short_counts(column: Column, cell: dict[str, Any], of: str = "") -> list[str]:
    """The figure's counts that are lower than the number of responses; with `BASE`, those of its base variant."""
    asked = cell.get(f"{of}n_rollouts")
    return [name for name in column.counts if _below(cell.get(f"{of}{name}"), asked)]


def is_partial(column: Column, cell: dict[str, Any]) -> bool:
    """Whether fewer scores than responses stand behind it, or behind the base's figures that it is compared with."""
    return bool(short_counts(column, cell) or (_compared(column, cell) and short_counts(column, cell, BASE)))


def covers_less(cell: dict[str, Any]) -> bool:
    """Whether another cell of the dataset has more questions."""
    return _below(cell.get("n_questions"), cell.get("most_questions"))


def is_uneven(column: Column, cell: dict[str, Any]) -> bool:
    """Whether it is of fewer questions than other cells' figures, or compared with a base of another number of them."""
    count, base = cell.get("n_questions"), cell.get(f"{BASE}n_questions")
    return covers_less(cell) or (_compared(column, cell) and None not in (count, base) and count != base)


def _below(count: int | None, most: int | None) -> bool:
    """Whether a count is known to be lower than another."""
    return count is not None and most is not None and count < most


def _compared(column: Column, cell: dict[str, Any]) -> bool:
    return column.relative or differs(column, cell)
