"""A frame as a table of the report: what is shown of it, and all of it as a CSV file to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import polars as pl

SHOWN_ROWS = 500
"""Rows of a table that stand in the page; its CSV has more."""
CSV_ROWS = 20_000
"""Rows of a table that its CSV has; who wants more asks the warehouse."""
CSV_SAFE = ",:;/@=+$!*()|"


@dataclass(frozen=True)
class Listing:
    """A table of the report.

    Attributes:
        name: of the table and its CSV.
        columns: that are shown, each with whether it holds numbers.
        rows: that are shown, as texts; a missing value is a dash.
        total: rows that there are.
        empty: columns that hold nothing, and are left out.
        csv: address of the CSV, which stands in the page itself.
        csv_rows: rows that it has.
    """

    name: str
    columns: list[tuple[str, bool]]
    rows: list[list[str]]
    total: int
    empty: list[str]
    csv: str
    csv_rows: int


def listing_of(name: str, frame: pl.DataFrame) -> Listing:
    """A frame as it stands in the page."""
    kept = [column for column in frame.columns if not frame.height or frame[column].null_count() < frame.height]
    return Listing(
        name,
        [(column, frame.schema[column].is_numeric()) for column in kept],
        [[shown(value) for value in row] for row in frame.select(kept).head(SHOWN_ROWS).iter_rows()],
        frame.height,
        [column for column in frame.columns if column not in kept],
        csv_address(frame),
        min(frame.height, CSV_ROWS),
    )


def csv_address(frame: pl.DataFrame) -> str:
    """A `data:` address of the frame's first rows as CSV, in full precision; works without script or network."""
    nested = [column for column, dtype in frame.schema.items() if dtype.is_nested()]
    texts = [pl.Series(column, [str(value) for value in frame[column].to_list()], pl.String) for column in nested]
    text = frame.with_columns(texts).head(CSV_ROWS).write_csv()
    return f"data:text/csv;charset=utf-8,{quote(text, safe=CSV_SAFE)}"


def shown(value: Any) -> str:
    """A value as a person reads it; a missing one is a dash, never a zero."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    # A small p-value is no zero.
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.1e}"
