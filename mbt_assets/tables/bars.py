"""Figures with a row per mode: MQI with the phases that traces show, and how response lengths spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from mbt_assets.tables.entries import is_missing
from mbt_assets.tables.panels import PANEL, gid, names, rows, spread, token_axis
from mbt_assets.tables.style import BLACK, marks_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LABELS = 1.15
"""Width of the names of modes beside a row of bars, in inches."""
BAR = 0.155
"""Height of one bar, in inches: room for a name in 7 pt."""
ON_LIGHT, ON_DARK = "#111111", "#fdfdfd"
"""Letters on a coloured field: black and white themselves follow the colours of the page that shows the figure."""


def mqi_phases(frame: pl.DataFrame) -> Figure:
    """MQI as bars with their intervals, and beside them the share of traces that shows each phase."""
    figure, grid = bar_grid(frame, (0.8, 1.2), 0.5)
    marks = marks_of(names(frame, "mode"))
    highest = max([v for v in [*frame["mqi"], *_column(frame, "mqi_hi")] if not is_missing(v)], default=1.0)
    for (model, dataset), (bars, phases) in grid.items():
        cells = rows(frame, model=model, dataset=dataset)
        for place, cell in enumerate(cells):
            if not is_missing(cell["mqi"]):
                bars.barh(place, cell["mqi"], 0.7, color=marks[cell["mode"]].colour, alpha=0.75, gid=gid(cell))
                if error := spread(cell, "mqi"):
                    bars.errorbar(cell["mqi"], place, xerr=error, color=BLACK, elinewidth=0.7, fmt="none")
        # Where no trace shows any level there is nothing to scale by.
        bars.set_xlim(0, highest * 1.05 or 1)
        bars.xaxis.grid(True)
        _phases(phases, cells)
    _bottom(grid, 0, "MQI")
    _bottom(grid, 1, "phase (%)")
    return figure


def _column(frame: pl.DataFrame, name: str) -> Sequence[Any]:
    return frame[name].to_list() if name in frame.columns else []


def _phases(axes: Any, cells: list[dict[str, Any]]) -> None:
    shares = [
        [math.nan if is_missing(cell[f"phase_{i}"]) else cell[f"phase_{i}"] for i in range(1, 6)] for cell in cells
    ]
    # Drawn cell by cell, so that it stays vectors. The darkest blue is for more than there can be.
    edges = [[i - 0.5 for i in range(count + 1)] for count in (6, len(cells))]
    axes.pcolormesh(edges[0][1:], edges[1], shares, cmap="Blues", vmin=0, vmax=1.2, edgecolor="white", linewidth=0.4)
    for place, row in enumerate(shares):
        for phase, share in enumerate(row, 1):
            text, colour = (
                ("–", BLACK) if math.isnan(share) else (f"{100 * share:.0f}", ON_DARK if share > 0.75 else ON_LIGHT)
            )
            axes.text(phase, place, text, ha="center", va="center_baseline", fontsize=7, color=colour, in_layout=False)
    axes.set_xlim(0.5, 5.5)
    axes.set_xticks(range(1, 6))
    axes.tick_params(axis="x", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def response_tokens(frame: pl.DataFrame) -> Figure:
    """How the response tokens of each variant spread: 5 %, quartiles, 95 %."""
    figure, grid = bar_grid(frame, (1.0,), 0.5)
    marks = marks_of(names(frame, "mode"))
    ends = [value for name in ("p5", "p95") for value in frame[name] if value]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    for (model, dataset), (axes,) in grid.items():
        for place, cell in enumerate(rows(frame, model=model, dataset=dataset)):
            if not is_missing(cell["p50"]):
                _box(axes, place, cell, marks[cell["mode"]].colour)
        axes.xaxis.grid(True)
        token_axis(axes, low, high)
        axes.set_xlim(low / 1.2 if axes.get_xscale() == "log" else 0, high * 1.1)
    _bottom(grid, 0, "response tokens")
    return figure


def _box(axes: Any, place: int, cell: dict[str, Any], colour: str) -> None:
    axes.plot([cell["p5"], cell["p95"]], [place, place], color=colour, linewidth=0.9, gid=gid(cell))
    axes.barh(place, cell["p75"] - cell["p25"], 0.6, left=cell["p25"], color=colour, alpha=0.75, linewidth=0)
    axes.plot([cell["p50"]] * 2, [place - 0.36, place + 0.36], color=BLACK, linewidth=1.3)


def _bottom(grid: dict[tuple[str, str], list[Any]], part: int, label: str) -> None:
    """Ticks and the name of the axis below the last model alone."""
    last = list(grid)[-1][0]
    for (model, _), axes in grid.items():
        if model == last:
            axes[part].set_xlabel(label)
        else:
            axes[part].tick_params(axis="x", labelbottom=False)


def bar_grid(
    frame: pl.DataFrame, parts: Sequence[float], extra: float
) -> tuple[Figure, dict[tuple[str, str], list[Any]]]:
    """A figure of horizontal bars: a panel per model and dataset, of a height that fits the model's modes.

    Args:
        frame: rows of a table; every model and mode of it gets its place.
        parts: relative widths of the axes that each panel consists of.
        extra: further height of the figure, in inches.

    Returns:
        The figure, and the axes of each (model, dataset). Modes stand at y = 0, 1, … from above.
    """
    models, datasets = names(frame, "model"), names(frame, "dataset")
    counts = [len(names(frame.filter(model=model), "mode")) for model in models]
    width = max(3.5, LABELS + (PANEL - 0.1) * len(datasets))
    figure = new_figure(width, extra + sum(BAR * (count + 1.4) for count in counts))
    shape: Any = figure.add_gridspec(
        len(models),
        len(datasets) * len(parts),
        height_ratios=[count + 0.4 for count in counts],
        width_ratios=[*parts] * len(datasets),
    )
    found: dict[tuple[str, str], list[Any]] = {}
    for i, model in enumerate(models):
        modes = names(frame.filter(model=model), "mode")
        for j, dataset in enumerate(datasets):
            axes = [figure.add_subplot(shape[i, j * len(parts) + k]) for k in range(len(parts))]
            for k, one in enumerate(axes):
                one.set_ylim(len(modes) - 0.4, -0.6)
                labelled = j == 0 and k == 0
                one.set_yticks(range(len(modes)), modes if labelled else [])
                one.tick_params(axis="y", length=0)
            if i == 0:
                axes[0].set_title(dataset, loc="left")
            if j == 0:
                above = ((0, 1), (-4, 3), "axes fraction", "offset points")
                axes[0].annotate(model, *above, ha="right", va="bottom", fontsize=7.5, fontweight="bold")
            found[model, dataset] = axes
    return figure, found
