"""The paper's figures as parts of a page: in its colours by day and night, with their numbers and in words."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from mbt_assets.reporting.listing import Listing, listing_of, shown
from mbt_assets.tables.figures import DRAWINGS, Drawing, caption, data_of, drawn
from mbt_assets.tables.frames import CELL, Marts
from mbt_assets.tables.panels import names
from mbt_assets.tables.style import has_matplotlib
from partitions.study import Study

THEME = {
    "#000000": "var(--ink)",
    "#ffffff": "var(--paper)",
    "#dddddd": "var(--rule)",
    "#bbbbbb": "var(--line)",
    "#888888": "var(--muted)",
    "#666666": "var(--muted)",
}
"""Colours of a figure that stand for what a page has in its own; those of data stay as they are."""


@dataclass(frozen=True)
class Picture:
    """One figure of the paper.

    Attributes:
        name: of the figure.
        title: the caption's first words.
        caption: what it shows, and its caveats.
        svg: to stand in HTML; None where matplotlib is not installed.
        words: for each dataset, the highest and the lowest figure.
        numbers: behind it.
    """

    name: str
    title: str
    caption: str
    svg: Markup | None
    words: list[str]
    numbers: Listing


def pictures_of(marts: Marts, study: Study) -> list[Picture]:
    """Each figure that there are numbers for; without matplotlib the numbers alone."""
    found = []
    for drawing in DRAWINGS.values():
        data = data_of(drawing, marts, study)
        if data.is_empty():
            continue
        svg = drawn(drawing, data, study, ["svg"])["svg"].decode() if has_matplotlib() else ""
        found.append(
            Picture(
                drawing.name,
                drawing.title,
                caption(drawing, data, study),
                inline(svg, drawing.name) if svg else None,
                _words(drawing, data),
                listing_of(drawing.name, _numbers(drawing, data)),
            )
        )
    return found


def inline(svg: str, name: str) -> Markup:
    """An SVG as part of a page.

    Without its head and what a page says elsewhere, with ids that no other figure of the page has, in colours that
    follow the page's, and with places to a hundredth of a point, which nobody sees and which makes it a fifth smaller.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<title>.*?</title>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", body)
    body = re.sub(r'style="[^"]*"', lambda found: _themed(found[0]), body)
    body = re.sub(r'\b(d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), body)
    return Markup(body)


def _themed(style: str) -> str:
    return re.sub(r"#[0-9a-f]{6}", lambda found: THEME.get(found[0], found[0]), style)


def _numbers(drawing: Drawing, data: pl.DataFrame) -> pl.DataFrame:
    """The columns of a figure's rows that it shows, with the ends of their intervals."""
    wanted = [f"{name}{end}" for name in drawing.shows for end in ("", "_lo", "_hi")]
    return data.select(*CELL, *(name for name in wanted if name in data.columns))


def _words(drawing: Drawing, data: pl.DataFrame) -> list[str]:
    found = []
    for dataset in names(data, "dataset"):
        cells = data.filter((pl.col("dataset") == dataset) & pl.col(drawing.value).is_not_null()).sort(drawing.value)
        ends = [cells.row(index, named=True) for index in (0, -1)]
        low, high = (f"{shown(cell[drawing.value])} ({cell['model']} {cell['mode']})" for cell in ends)
        found.append(f"{dataset}: {drawing.measure} from {low} to {high}, over {cells.height} variants.")
    return found
