"""The figure of AES by model size: what a mode earns as the student grows."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any

from mbt_assets.tables.entries import is_missing
from mbt_assets.tables.panels import PANEL, gid, names, rows, spread
from mbt_assets.tables.style import Mark, legend_below, marks_of, mode_handles, new_figure

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

PARAMETERS = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)([bm])(?![a-z])", re.IGNORECASE)
DODGE = 0.7
"""Part of the room between two models over which the modes of each are spread, so that intervals do not overlap."""


def parameters(model: str) -> float | None:
    """A model's parameters in billions, where its name tells them: 0.6 for `qwen3-0.6b`."""
    found = PARAMETERS.search(model)
    return float(found[1]) / (1 if found[2].lower() == "b" else 1000) if found else None


def places(models: list[str]) -> dict[str, float]:
    """Where the models stand: by the logarithm of their size where all names tell it, otherwise one after another."""
    sizes = [size for model in models if (size := parameters(model))]
    if len(sizes) < len(models) or len(set(sizes)) < len(sizes):
        return {model: float(i) for i, model in enumerate(models)}
    return {model: math.log2(size) for model, size in zip(models, sizes, strict=True)}


def aes_by_model(frame: pl.DataFrame) -> Figure:
    """AES of each mode over the models, with the intervals of its paired difference from the base."""
    ends = {f"aes_difference_{end}": f"aes_{end}" for end in ("lo", "hi")}
    frame = frame.rename(ends, strict=False)
    datasets, marks, at = names(frame, "dataset"), marks_of(names(frame, "mode")), places(names(frame, "model"))
    columns = max(2, round(1.6 * len(datasets)))
    figure = new_figure(max(3.5, 0.5 + PANEL * len(datasets)), 2.7 + 0.15 * math.ceil(len(marks) / columns))
    grid: Any = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for axes, dataset in zip(grid, datasets, strict=True):
        _panel(axes, frame.filter(dataset=dataset), marks, at)
        axes.set_title(dataset)
    grid[0].set_ylabel("AES (base = 0)")
    legend_below(figure, mode_handles(marks), columns)
    return figure


def _panel(axes: Any, frame: pl.DataFrame, marks: dict[str, Mark], at: dict[str, float]) -> None:
    ordered = sorted(at.values())
    gap = min((b - a for a, b in itertools.pairwise(ordered)), default=1.0)
    for i, (mode, mark) in enumerate(marks.items()):
        shift = DODGE * gap * ((i + 0.5) / len(marks) - 0.5)
        _line(axes, rows(frame, mode=mode), {model: x + shift for model, x in at.items()}, mark)
    axes.axhline(0, color="#888888", linewidth=0.7, zorder=0)
    axes.yaxis.grid(True)
    axes.set_xticks(list(at.values()), list(at))
    axes.set_xlim(ordered[0] - 0.5 * gap, ordered[-1] + 0.5 * gap)


def _line(axes: Any, cells: list[dict[str, Any]], at: dict[str, float], mark: Mark) -> None:
    there = sorted((cell for cell in cells if not is_missing(cell["aes"])), key=lambda cell: at[cell["model"]])
    axes.plot([at[c["model"]] for c in there], [c["aes"] for c in there], color=mark.colour, linewidth=0.7, alpha=0.5)
    for cell in there:
        x, y = at[cell["model"]], cell["aes"]
        if error := spread(cell, "aes"):
            axes.errorbar(x, y, yerr=error, color=mark.colour, alpha=0.6, elinewidth=0.7, fmt="none")
        axes.plot(
            x,
            y,
            mark.marker,
            color=mark.colour,
            markersize=4,
            markeredgecolor="white",
            markeredgewidth=0.4,
            gid=gid(cell),
        )
