"""Figures of points: accuracy against response length, and the plane of the Reach-Redundancy Profile."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

from mbt_assets.tables.entries import is_missing
from mbt_assets.tables.panels import PANEL, gid, names, panels, rows, spread, token_axis, tuned
from mbt_assets.tables.style import GREY, Mark, legend_below, marks_of, mode_handles, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKER = 4.2
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Values of regulation whose lines are drawn."""


def accuracy_tokens(frame: pl.DataFrame) -> Figure:
    """Exact match, in percent, against mean response tokens."""
    from matplotlib.ticker import PercentFormatter

    tokens = [value for value in frame["mean_tokens"] if value]

    def dress(axes: Any) -> None:
        axes.grid(True)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        token_axis(axes, min(tokens, default=0), max(tokens, default=1))

    return scatter(frame, ("mean_tokens", "mean response tokens"), ("exact_match", "exact match (%)"), dress)


def rrp_plane(frame: pl.DataFrame) -> Figure:
    """Redundancy against arrival, with lines of equal regulation."""
    return scatter(frame, ("arrival", "arrival ρ"), ("redundancy", "redundancy δ"), _regulation)


def _regulation(axes: Any) -> None:
    """The lines of equal regulation over the whole plane, with their values."""
    import numpy as np

    reached, needed = np.meshgrid(np.linspace(1, 0, 101), np.linspace(1, 0, 101))
    both = reached + needed
    level = np.divide(2 * reached * needed, both, out=np.zeros_like(both), where=both > 0)
    lines = axes.contour(1 - reached, 1 - needed, level, LEVELS, colors="#BBBBBB", linewidths=0.6, zorder=0)
    axes.clabel(lines, lines.levels[::2], fmt="%.1f", fontsize=7, colors="#888888", zorder=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def scatter(frame: pl.DataFrame, x: tuple[str, str], y: tuple[str, str], dress: Callable[[Any], None]) -> Figure:
    """One point per variant with the intervals of both of its figures, and a line to it from its base.

    Models of one variant (the teacher) stand in every panel as a hollow diamond.

    Args:
        frame: rows of a table, by `rows_of`.
        x: column of the horizontal figure, and what stands below it.
        y: column of the vertical figure, and what stands beside it.
        dress: called with each panel's axes, before anything is drawn.
    """
    models, datasets = tuned(frame), names(frame, "dataset")
    others = [model for model in names(frame, "model") if model not in models]
    marks = marks_of(names(frame.filter(pl.col("model").is_in(models)), "mode"))
    per_line = max(2, round(1.6 * len(datasets)))
    lines = math.ceil((len(marks) + len(others)) / per_line)
    figure = new_figure(max(3.5, 0.5 + PANEL * len(datasets)), 0.6 + 1.9 * len(models) + 0.15 * lines)
    grid: Any = figure.subplots(len(models), len(datasets), sharex="col", sharey="col", squeeze=False)
    for axes, model, dataset in panels(grid, models, datasets):
        dress(axes)
        cells = rows(frame, model=model, dataset=dataset)
        for cell in cells:
            base = next((other for other in cells if other["mode"] == "base"), None)
            _point(axes, cell, x[0], y[0], marks[cell["mode"]], base)
        for other in others:
            for cell in rows(frame, model=other, dataset=dataset):
                _point(axes, cell, x[0], y[0], Mark(GREY, "d"), hollow=True)
        if model == models[-1]:
            axes.set_xlabel(x[1])
        if dataset == datasets[0]:
            axes.set_ylabel(y[1])
    legend_below(figure, [*mode_handles(marks), *map(_hollow, others)], per_line)
    return figure


def _hollow(model: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=GREY, marker="d", markersize=5, markerfacecolor="none", linestyle="none", label=model)


def _point(
    axes: Any,
    cell: dict[str, Any],
    x: str,
    y: str,
    mark: Mark,
    base: dict[str, Any] | None = None,
    hollow: bool = False,
) -> None:
    if is_missing(cell[x]) or is_missing(cell[y]):
        return
    at = (cell[x], cell[y])
    if base is not None and base is not cell and not is_missing(base[x]) and not is_missing(base[y]):
        axes.plot([base[x], at[0]], [base[y], at[1]], color=mark.colour, linewidth=0.6, alpha=0.3, zorder=1)
    errors = {name: error for name, column in (("xerr", x), ("yerr", y)) if (error := spread(cell, column))}
    if errors:
        axes.errorbar(*at, **errors, color=mark.colour, alpha=0.6, elinewidth=0.7, fmt="none", zorder=2)
    axes.plot(
        *at,
        color=mark.colour,
        marker=mark.marker,
        markersize=MARKER,
        markeredgewidth=0.8 if hollow else 0.4,
        markeredgecolor=mark.colour if hollow else "white",
        markerfacecolor="none" if hollow else mark.colour,
        linestyle="none",
        zorder=3,
        gid=gid(cell),
    )
