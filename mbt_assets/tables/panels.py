"""Panels of a figure: a row per model, a column per dataset, and what their points and bars share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from mbt_assets.tables.entries import is_missing

PANEL = 2.1
"""Width of a panel in inches: three make a page's width."""
WIDE = 6.0
"""From this ratio of the longest to the shortest response on, lengths are drawn on a logarithmic axis."""


def names(frame: pl.DataFrame, column: str) -> list[str]:
    """The values of a column, each once, in order."""
    return [str(value) for value in frame[column].unique(maintain_order=True)]


def rows(frame: pl.DataFrame, **key: str) -> list[dict[str, Any]]:
    """The rows with these values."""
    return frame.filter(**key).rows(named=True) if key else frame.rows(named=True)


def tuned(frame: pl.DataFrame) -> list[str]:
    """The models with more than one mode: all others are there to be compared with."""
    counts = {model: len(names(frame.filter(model=model), "mode")) for model in names(frame, "model")}
    return [model for model, count in counts.items() if count > 1] or list(counts)


def panels(grid: Any, models: Sequence[str], datasets: Sequence[str]) -> list[tuple[Any, str, str]]:
    """The axes of a grid with model and dataset; the outer ones say which."""
    found = []
    for i, model in enumerate(models):
        for j, dataset in enumerate(datasets):
            axes = grid[i][j]
            if i == 0:
                axes.set_title(dataset)
            if j == len(datasets) - 1 and len(models) > 1:
                axes.annotate(
                    model, (1, 0.5), (3, 0), "axes fraction", "offset points", rotation=270, va="center", ha="left"
                )
            found.append((axes, model, dataset))
    return found


def gid(cell: dict[str, Any]) -> str:
    """The id that a cell's point or bar has in an SVG."""
    return f"cell-{cell['dataset']}-{cell['variant']}"


def spread(cell: dict[str, Any], column: str) -> list[list[float]] | None:
    """How far an interval reaches below and above its estimate, as `errorbar` takes it; None where it has none."""
    low, high = cell.get(f"{column}_lo"), cell.get(f"{column}_hi")
    if is_missing(low) or is_missing(high):
        return None
    # A paired difference over fewer questions may lie beside the estimate over all: no end reaches inwards.
    return [[max(0.0, cell[column] - low)], [max(0.0, high - cell[column])]]


def token_axis(axes: Any, low: float, high: float) -> None:
    """A horizontal axis of response tokens, logarithmic where they spread widely.

    Args:
        axes: whose axis it is.
        low: the shortest length that is drawn.
        high: the longest.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    if low > 0 and high / low > WIDE:
        axes.set_xscale("log")
        # More numbers would touch each other over a wide range.
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 25 else (1, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
