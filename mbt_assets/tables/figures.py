"""The paper's figures: which there are, what each is made from, and its caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from mbt_assets.tables import bars, points, sizes
from mbt_assets.tables.frames import QUANTILES, Marts, lengths_of, rows_of
from mbt_assets.tables.layout import LAYOUTS, PHASES
from mbt_assets.tables.notes import caveat_of, interval_note
from mbt_assets.tables.style import PNG_DPI, require_matplotlib, saved, settle, styled
from partitions.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LENGTHS = "response_tokens"


@dataclass(frozen=True)
class Drawing:
    """One figure of the paper.

    Attributes:
        name: of the figure and of its files.
        table: that shows the same numbers.
        value: column that holds a number where there is something to draw.
        title: the caption's first words.
        text: what it shows.
        measure: the value's name.
        shows: the columns that it is drawn from.
        draw: draws it from the rows of `table`; `response_tokens` from the quantiles of the lengths.
    """

    name: str
    table: str
    value: str
    title: str
    text: str
    measure: str
    shows: tuple[str, ...]
    draw: Callable[[pl.DataFrame], Figure]


DRAWINGS = {
    drawing.name: drawing
    for drawing in [
        Drawing(
            "accuracy_tokens",
            "main",
            "exact_match",
            "Accuracy against response length",
            "Exact match over mean response tokens, one point per variant with both 95 % intervals and a line from the "
            "model's base; hollow diamonds are models of one variant.",
            "exact match",
            ("exact_match", "mean_tokens"),
            points.accuracy_tokens,
        ),
        Drawing(
            LENGTHS,
            "main",
            "p50",
            "Response length",
            "Response tokens of the rollouts of each variant: the median, the box from 25 to 75 %, the line from 5 to "
            "95 %.",
            "median response tokens",
            ("n", *QUANTILES),
            bars.response_tokens,
        ),
        Drawing(
            "aes_by_model",
            "aes",
            "aes",
            "Accuracy-Efficiency Score by model",
            "AES of each mode over the models, by the logarithm of their size where their names tell it, with 95 % "
            "intervals of the paired difference from the base. Modes stand side by side around their model.",
            "AES",
            ("aes", "aes_difference"),
            sizes.aes_by_model,
        ),
        Drawing(
            "rrp_plane",
            "rrp",
            "arrival",
            "Reach-Redundancy plane",
            "Mean redundancy δ over mean arrival ρ, one point per variant with both 95 % intervals and a line from the "
            "model's base; grey lines join points of equal regulation, computed from the two means; hollow diamonds "
            "are models of one variant. The lower left is best.",
            "mean arrival",
            ("arrival", "redundancy", "regulation"),
            points.rrp_plane,
        ),
        Drawing(
            "mqi_phases",
            "mqi",
            "mqi",
            "Metacognitive Quality Index and phases",
            "MQI of each variant with its 95 % interval, and the percentage of its traces that shows each phase: "
            f"{', '.join(f'{i} {phase}' for i, phase in enumerate(PHASES, 1))}.",
            "MQI",
            ("mqi", *(f"phase_{i}" for i in range(1, 6))),
            bars.mqi_phases,
        ),
    ]
}


def drawings_of(tables: Sequence[str]) -> list[Drawing]:
    """The figures that go with some tables."""
    return [drawing for drawing in DRAWINGS.values() if drawing.table in tables]


def data_of(drawing: Drawing, marts: Marts, study: Study, datasets: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows that a figure is drawn from, those of all cells; datasets without any number are left out."""
    if drawing.name == LENGTHS:
        frame = lengths_of(marts, study, datasets)
    else:
        frame = rows_of(LAYOUTS[drawing.table], marts, study, datasets)
    if drawing.table == "aes":
        # The base's AES is 0 by definition: there is nothing to see of it.
        frame = frame.filter(pl.col("mode") != "base")
    return frame.filter(pl.col(drawing.value).is_not_null().any().over("dataset"))


def drawn(
    drawing: Drawing,
    data: pl.DataFrame,
    study: Study,
    formats: Sequence[str],
    dpi: int = PNG_DPI,
    colours: int | None = None,
) -> dict[str, bytes]:
    """A figure as files, by format (svg, png); none where there is nothing to draw.

    Args:
        drawing: which figure.
        data: its rows, by `data_of`.
        study: named in the figure, if its numbers come with a caveat.
        formats: of the files.
        dpi: pixels per inch of a PNG.
        colours: of a PNG, as `saved` takes them.

    Raises:
        TablesError: matplotlib is not installed.
    """
    require_matplotlib()
    if data.is_empty():
        return {}
    text = caption(drawing, data, study)
    with styled():
        figure = drawing.draw(data)
        settle(figure)
        if caveat_of(study):
            # A picture travels without its caption: this much must stand in it.
            figure.suptitle(f"study {study.name}: shows that the platform works, no benchmark result", color="#666666")
        return {format: saved(figure, format, drawing.title, text, dpi, colours) for format in formats}


def caption(drawing: Drawing, data: pl.DataFrame, study: Study) -> str:
    """What is said below a figure: what it shows, of how many variants, and its caveats."""
    shown = data[drawing.value].count()
    missing = "" if shown == data.height else f" {data.height - shown} of {data.height} cells have no figure yet."
    judge = f" Judge: {study.judges[0]}." if drawing.table in ("rrp", "mqi") else ""
    sizes = f" Intervals: {interval_note(study)}." if drawing.name != LENGTHS else ""
    caveat = caveat_of(study)
    return f"{drawing.text} Study {study.name}.{sizes}{judge}{missing}{f' {caveat}' if caveat else ''}"
