"""What the Dagster UI shows of a mart: its table of the paper, and the figure that goes with it."""

from __future__ import annotations

import base64

import dagster as dg
import polars as pl

from mbt_assets.tables.entries import table_of
from mbt_assets.tables.figures import DRAWINGS, data_of, drawn
from mbt_assets.tables.frames import Marts
from mbt_assets.tables.layout import LAYOUTS
from mbt_assets.tables.render import markdown
from mbt_assets.tables.style import has_matplotlib
from partitions.study import Study

FIGURES = {"main": "accuracy_tokens", "aes": "aes_by_model", "rrp": "rrp_plane", "mqi": "mqi_phases"}
"""The figure of each table that needs no other mart."""
LARGEST = 220_000
"""Bytes of a picture at most. It is a third larger in the event that holds it, which the UI loads as a whole."""
DPI = 110
COLOURS = 192


def attachments(mart: str, frame: pl.DataFrame, study: Study) -> dict[str, dg.MetadataValue]:
    """Table and figure of a mart as metadata; nothing for marts that the paper has no table of.

    They are made of the mart's own rows alone, so they tell nothing of tests against the base. Whatever goes wrong is
    a warning in the run's log: the mart must not fail for a picture of it.

    Args:
        mart: its name.
        frame: its rows.
        study: that it is of.
    """
    found: dict[str, dg.MetadataValue] = {}
    for layout in LAYOUTS.values():
        if layout.mart != mart:
            continue
        marts = Marts({mart: frame})
        try:
            found["table"] = dg.MetadataValue.md(markdown(table_of(layout, marts, study), narrow=True))
            if has_matplotlib() and (picture := _picture(FIGURES[layout.name], marts, study)):
                found["figure"] = dg.MetadataValue.md(picture)
        except Exception as error:
            dg.get_dagster_logger().warning("%s has no table or figure: %s: %s", mart, type(error).__name__, error)
    return found


def _picture(name: str, marts: Marts, study: Study) -> str:
    """The figure as Markdown that holds it; empty where there is nothing to draw."""
    drawing = DRAWINGS[name]
    content = drawn(drawing, data_of(drawing, marts, study), study, ["png"], dpi=DPI, colours=COLOURS).get("png", b"")
    if len(content) > LARGEST:
        raise ValueError(f"the figure {name} takes {len(content):,} bytes, more than an event should hold")
    return f"![{drawing.title}](data:image/png;base64,{base64.b64encode(content).decode()})" if content else ""
