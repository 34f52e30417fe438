"""How figures look: one colour and marker per mode, sizes that can be read in print, and files that never differ."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mbt_assets.tables import TablesError
from partitions.modes import MODES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any common colour blindness tell apart; yellow is too pale on white.
BLACK = "#000000"
COLOURS = ("#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7")
GREY = "#7A7A7A"
EXTERNAL_MARKERS = ("D", "P", "X", "v", "<", ">")
RC: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "lines.linewidth": 1.0,
    # Letters as outlines: the figure looks the same where this font is not installed.
    "svg.fonttype": "path",
    # Names of an SVG's parts are random without a salt.
    "svg.hashsalt": "mbt",
    # A name may hold dollar signs: it is no formula.
    "text.parse_math": False,
}
PNG_DPI = 200


@dataclass(frozen=True)
class Mark:
    """How a mode's points, lines and bars look."""

    colour: str
    marker: str


def has_matplotlib() -> bool:
    """Whether figures can be drawn."""
    return importlib.util.find_spec("matplotlib") is not None


def require_matplotlib() -> None:
    """Make sure that figures can be drawn.

    Raises:
        TablesError: matplotlib is not installed.
    """
    if not has_matplotlib():
        raise TablesError(
            "figures need matplotlib, which is not installed: `pip install -e .[plots]`, or leave them out with "
            "--no-figures"
        )


def marks_of(modes: Sequence[str]) -> dict[str, Mark]:
    """A mark for each mode, in their order.

    The base is black. GRPO has its parent's colour and a triangle of its own, external checkpoints are grey and differ
    by marker, the modes that SFT makes differ by colour.
    """
    kinds = {mode: MODES[mode].kind for mode in modes}
    trained = [mode for mode in modes if kinds[mode] == "sft"]
    external = [mode for mode in modes if kinds[mode] == "external"]
    colours = {mode: COLOURS[i % len(COLOURS)] for i, mode in enumerate(trained)}
    marks = {}
    for mode, kind in kinds.items():
        if kind == "external":
            marks[mode] = Mark(GREY, EXTERNAL_MARKERS[external.index(mode) % len(EXTERNAL_MARKERS)])
        elif kind == "grpo":
            marks[mode] = Mark(colours.get(MODES[mode].parent, BLACK), "^")
        elif kind == "sft":
            # With more modes than colours, the second round has another marker.
            marks[mode] = Mark(colours[mode], "os"[trained.index(mode) // len(COLOURS) % 2])
        else:
            marks[mode] = Mark(BLACK, "o" if kind == "base" else "s")
    return marks


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw with the style of these figures; afterwards everything is as it was."""
    import matplotlib as mpl

    with mpl.rc_context(RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that is drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def settle(figure: Figure) -> None:
    """Leave what lies inside the panels out of their layout: it needs no room, and measuring it takes most of the time.

    To be called once everything is drawn.
    """
    for axes in figure.axes:
        for artist in (*axes.lines, *axes.patches, *axes.collections):
            artist.set_in_layout(False)


def legend_below(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """One legend for all panels, below them, where it covers no data."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, columnspacing=1.2)


def mode_handles(marks: dict[str, Mark]) -> list[Any]:
    """What stands in a legend for each mode."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=mark.colour, marker=mark.marker, markersize=4, linestyle="none", label=mode)
        for mode, mark in marks.items()
    ]


def saved(
    figure: Figure, format: str, title: str = "", text: str = "", dpi: int = PNG_DPI, colours: int | None = None
) -> bytes:
    """The figure as an `svg` or `png` file; the same figure always gives the same bytes.

    Args:
        figure: drawn within `styled`.
        format: svg or png.
        title: kept in the file.
        text: a longer description, kept in the file.
        dpi: pixels per inch of a PNG.
        colours: reduce a PNG to so many, which makes it a third as large; all of them when None.
    """
    about = {"Title": title, "Description": text}
    # Date and version would make two files of one figure differ.
    metadata: dict[str, Any] = about | ({"Date": None, "Creator": None} if format == "svg" else {"Software": None})
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=format, dpi=dpi, metadata=metadata)
    return _reduced(buffer, colours) if format == "png" and colours else buffer.getvalue()


def _reduced(png: io.BytesIO, colours: int) -> bytes:
    from PIL import Image

    target = io.BytesIO()
    Image.open(png).convert("RGB").quantize(colours).save(target, "png", optimize=True)
    return target.getvalue()
