"""What a training reports when it is done: figures, versions of the libraries, and its curve as data and picture."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

CURVE_PICTURE = "curve.png"
PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "flash-attn",
    "liger-kernel",
    "bitsandbytes",
)
FIGURES = ("epoch", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "memory_mb")
LOSS, RATE = "#1f4e9c", "#c4661f"
COLOURS = 64


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that training depends on; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def curve_of(log_history: Iterable[Mapping[str, Any]]) -> list[dict[str, float | int | None]]:
    """The training curve in a trainer's log history.

    Returns:
        One entry per logged step, in step order, no step twice: `step`, `FIGURES` and every reward. What is not
        finite is None: JSON has no word for it.
    """
    logged = {int(entry["step"]): entry for entry in log_history if "loss" in entry}
    return [
        {"step": step, **{name: finite(entry[name]) for name in entry if name in FIGURES or name.startswith("reward")}}
        for step, entry in sorted(logged.items())
    ]


def finite(value: Any) -> float | int | None:
    """The number, or None where it is missing or not finite."""
    return value if value is not None and math.isfinite(value) else None


def draw_curve(curve: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws loss and learning rate over the steps, and below them mean rewards where there are any, as a PNG."""
    rewards = sorted({name for entry in curve for name in entry if _is_mean_reward(name)})
    figure = Figure(figsize=(6.4, 3.6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes: Any = figure.subplots(2 if rewards else 1, 1, sharex=True, squeeze=False)[:, 0]
    _draw_loss(axes[0], curve)
    if rewards:
        for name in rewards:
            _plot(axes[1], curve, name, label=name.removeprefix("rewards/").removesuffix("/mean"))
        axes[1].set_ylabel("reward")
        axes[1].legend(fontsize=7, frameon=False)
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines["top"].set_visible(False)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    canvas.draw()
    # A few dozen colours are enough for lines, and make a third of the file.
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(COLOURS).save(path, optimize=True)


def _draw_loss(axis: Any, curve: Sequence[Mapping[str, Any]]) -> None:
    _plot(axis, curve, "loss", color=LOSS)
    axis.set_ylabel("loss", color=LOSS)
    rate = axis.twinx()
    _plot(rate, curve, "learning_rate", color=RATE, linestyle="--", linewidth=1)
    rate.set_ylabel("learning rate", color=RATE)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    rate.spines["top"].set_visible(False)


def _plot(axis: Any, curve: Sequence[Mapping[str, Any]], name: str, **style: Any) -> None:
    points = [(entry["step"], entry[name]) for entry in curve if entry.get(name) is not None]
    # A line needs two points; few of them are easier to read with a mark each.
    marker = "o" if len(points) < 15 else None
    axis.plot([step for step, _ in points], [value for _, value in points], marker=marker, markersize=3, **style)


def _is_mean_reward(name: str) -> bool:
    return name == "reward" or (name.startswith("rewards/") and name.endswith("/mean"))
