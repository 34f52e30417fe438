"""The table that a study ends in, read from the warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
from rich.table import Table

from mbt_assets.cli.common import err, out

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform

SUMMARY = """
SELECT m.dataset, m.variant, m.n_rollouts AS n, m.exact_match AS "EM", m.f1 AS "F1", m.mean_tokens AS tokens,
       a.aes AS "AES", r.arrival AS "ρ", r.redundancy AS "δ", r.regulation AS "R", q.mqi AS "MQI"
FROM main_results AS m
LEFT JOIN aes AS a USING (dataset, variant)
LEFT JOIN rrp_profile AS r ON (r.dataset, r.variant, r.judge)
                            = (m.dataset, m.variant, (SELECT primary_judge FROM settings))
LEFT JOIN mqi AS q ON (q.dataset, q.variant, q.judge, q.tier)
                    = (m.dataset, m.variant, (SELECT primary_judge FROM settings), 'all')
LEFT JOIN (SELECT variant, row_number() OVER () AS place FROM variants) AS v ON v.variant = m.variant
ORDER BY m.dataset, v.place
"""


def show_summary(platform: Platform) -> None:
    """Print the cells' main figures, and what kind of numbers they are."""
    from resources import warehouse

    with warehouse.reading(platform.home.warehouse, platform.artifacts.lake) as connection:
        frame = warehouse.query(connection, SUMMARY, lake=platform.artifacts.lake)
    out.print(rich_table(frame, title=f"study {platform.study.name}"))
    if any(model.source.kind == "embedded" for model in platform.study.models.values()):
        err.print("Tiny model, rule-based teacher and judge: these numbers are no benchmark results.", style="yellow")
    err.print(f"warehouse: {platform.home.warehouse}   report: {platform.home.folder / 'report.html'}", highlight=False)
    err.print("to look at cells, traces and training rows: mbt explore --open", highlight=False)


def rich_table(frame: pl.DataFrame, title: str | None = None) -> Table:
    """A frame as a table for a terminal; nothing is cut."""
    table = Table(title=title, show_lines=False)
    for name, dtype in frame.schema.items():
        table.add_column(
            name, justify="right" if dtype.is_numeric() else "left", overflow="fold", no_wrap=dtype.is_numeric()
        )
    for row in frame.iter_rows():
        table.add_row(*(shown(value) for value in row))
    return table


def shown(value: Any) -> str:
    """A value as a person reads it; a missing one is a dash, never a zero."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return str(value)
