"""`mbt sql`: any reading query over the warehouse."""

from __future__ import annotations

import io
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from mbt_assets.cli.common import StudyOption, platform_of, ready_warehouse, working


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def sql(
    query: Annotated[str, typer.Argument(help='For example "select * from aes"; "show tables" lists what there is.')],
    format: Annotated[Format, typer.Option("--format", "-f", help="Output format.")] = Format.table,
    output: Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file instead of stdout.")] = None,
    study: StudyOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the run with this seed.")] = None,
) -> None:
    """Ask the warehouse anything; it is opened read-only."""
    platform = platform_of(study, seed)
    # Dagster comes with it: `mbt --help` and completion are not to wait for that.
    from resources import warehouse

    ready_warehouse(platform)
    where = (platform.home.warehouse, platform.artifacts.lake)
    with working("asking the warehouse"), warehouse.reading(*where) as connection:
        frame = warehouse.query(connection, query, lake=platform.artifacts.lake)
    _write(frame, format, output)


def _write(frame: pl.DataFrame, format: Format, output: Path | None) -> None:
    if format is Format.table:
        from rich.console import Console

        from mbt_assets.cli.summary import rich_table

        if output:
            with output.open("w", encoding="utf-8") as file:
                Console(file=file, width=10_000).print(rich_table(frame))
        else:
            # A pipe has no width: give it all that the rows need.
            Console(width=None if sys.stdout.isatty() else 10_000).print(rich_table(frame))
        return
    target = output.open("wb") if output else sys.stdout.buffer
    try:
        if format is Format.parquet:
            # Polars tells of a reader that has left as of a broken file.
            buffer = io.BytesIO()
            frame.write_parquet(buffer)
            target.write(buffer.getbuffer())
        elif format is Format.json:
            target.write(frame.write_json().encode() + b"\n")
        else:
            _flat(frame).write_csv(target)
    finally:
        if output:
            target.close()


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists and structs as JSON text, which CSV can hold."""
    import orjson

    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    texts = [
        pl.Series(name, [orjson.dumps(value, default=str).decode() for value in frame[name].to_list()])
        for name in nested
    ]
    return frame.with_columns(texts)
