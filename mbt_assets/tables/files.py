"""The files that tables and figures are written to: each is replaced as a whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from mbt_assets.tables import render
from mbt_assets.tables.entries import table_of
from mbt_assets.tables.figures import caption, data_of, drawings_of, drawn
from mbt_assets.tables.frames import Marts, rows_of
from mbt_assets.tables.layout import LAYOUTS, Interval
from mbt_assets.tables.render import Format
from partitions.study import Study

CAPTIONS = "figures.md"


def write_tables(
    folder: Path,
    marts: Marts,
    study: Study,
    tables: Sequence[str],
    formats: Sequence[Format],
    datasets: Sequence[str] | None = None,
    interval: Interval = Interval.half,
    remark: str = "",
) -> Iterator[Path]:
    """Write tables, one file per table and format, and say which as they are there.

    Args:
        folder: made if need be.
        marts: what the tables are made from.
        study: that they are of.
        tables: names of `LAYOUTS`.
        formats: of the files.
        datasets: show only these; all of the study when None.
        interval: how intervals are written; the CSV has both ends anyway.
        remark: what else the captions have to say.
    """
    for name in tables:
        layout = LAYOUTS[name]
        table = table_of(layout, marts, study, datasets, interval, remark)
        texts = {
            Format.md: lambda table=table: render.markdown(table),
            Format.latex: lambda table=table: render.latex(table),
            Format.csv: lambda layout=layout: render.csv(rows_of(layout, marts, study, datasets)),
        }
        for format in formats:
            yield replaced(folder / f"{name}.{format.ending}", texts[format]().encode())


def write_figures(
    folder: Path,
    marts: Marts,
    study: Study,
    tables: Sequence[str],
    formats: Sequence[str],
    datasets: Sequence[str] | None = None,
    remark: str = "",
) -> Iterator[Path]:
    """Write the figures that go with some tables, and a page with their captions; the arguments are as above.

    A figure that there is no number for yet is left out.

    Raises:
        TablesError: matplotlib is not installed.
    """
    page = []
    for drawing in drawings_of(tables):
        data = data_of(drawing, marts, study, datasets)
        files = drawn(drawing, data, study, formats)
        for format, content in files.items():
            yield replaced(folder / f"{drawing.name}.{format}", content)
        if files:
            shown = f"![{drawing.title}]({drawing.name}.{next(iter(files))})"
            text = " ".join(filter(None, [caption(drawing, data, study), remark]))
            page.append(f"## {drawing.title}\n\n{shown}\n\n{render.markdown_text(text)}\n")
    if page:
        yield replaced(folder / CAPTIONS, "\n".join(page).encode())


def replaced(path: Path, content: bytes) -> Path:
    """Write a file so that a reader sees the old content or the new, and never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
