"""Writing the file of an export: built in a folder beside it and renamed when it is whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

import sql
from mbt_assets.exporting.aside import aside
from mbt_assets.exporting.choice import Choice, ExportError
from mbt_assets.exporting.copying import Copy, ExportedProvenances, transaction
from mbt_assets.exporting.facts import Cells, ExportInfo, cells_frame, info_frame
from mbt_assets.exporting.targets import check_target
from mbt_assets.marts import comments
from partitions.grid import Grid
from partitions.study import Study
from resources.artifacts import Artifacts
from resources.home import Home
from resources.lake import Lake
from resources.provenance import VIEW as PROVENANCE
from resources.study_frames import STUDY_TABLES, study_frames
from resources.tables import Table
from resources.warehouse import comment_on, described, own_comments

WRITE_ERRORS = (duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException, OSError)
"""What a disk that is full, or refuses, ends in; FatalException is whatever is asked of a database after that."""
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    # The file has dozens of small tables: DuckDB's usual blocks of 256 KiB would be half empty.
    "default_block_size": 16 * 1024,
    # Whoever gets the file may have an older DuckDB.
    "storage_compatibility_version": "v1.2.0",
}
FACTS: dict[str, Table] = {"export_info": ExportInfo, "cells": Cells}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        rows: of each lake table, by name.
        size: of the file, in bytes.
        note: what `export_info` says of the cells.
    """

    rows: dict[str, int]
    size: int
    note: str


def export(
    target: Path,
    study: Study,
    lake: Lake,
    home: Home,
    choice: Choice,
    *,
    force: bool = False,
    progress: Progress = lambda name, done, total: None,
) -> Exported:
    """Write what the lake holds of a study into one DuckDB file that needs nothing else.

    Args:
        target: the file.
        study: whose partitions.
        lake: where they are.
        home: of the study.
        choice: what goes into it.
        force: an export that is there already is replaced (see `check_target`).
        progress: told which partition is copied, how many were and how many there are.

    Raises:
        ExportError: the file cannot be written, or there is nothing to export; whatever stood there stays.
        LakeError: a partition is damaged.
    """
    check_target(target, home, force)
    if not choice.stored(Grid(study), lake):
        raise ExportError(
            f"nothing to export: {lake.root} holds none of the chosen rows of the study {study.name}: run `mbt demo` "
            "first, or choose other tables, datasets or variants"
        )
    try:
        with aside(target) as folder:
            building = folder / target.name
            with contextlib.closing(duckdb.connect(str(building), config=SETTINGS)) as connection:
                rows, note = _fill(connection, study, lake, home, choice, progress)
                # Closing would write what is left too, but would not say that it failed.
                connection.execute("CHECKPOINT")
            size = building.stat().st_size
            check_target(target, home, force)
            building.replace(target)
    except WRITE_ERRORS as error:
        said = str(error).split("\n\nStack Trace")[0]
        raise ExportError(
            f"cannot write {target}: {said}; nothing of it was left there: free space or choose another place"
        ) from error
    return Exported(rows, size, note)


def _fill(
    connection: duckdb.DuckDBPyConnection, study: Study, lake: Lake, home: Home, choice: Choice, progress: Progress
) -> tuple[dict[str, int], str]:
    copy = Copy(connection, study, lake, choice)
    rows = copy.rows(progress)
    for name, frame in study_frames(study).items():
        put(connection, name, frame, STUDY_TABLES[name].primary_key())
    put(connection, PROVENANCE, copy.provenance(), ["table_name", "partition"])
    snapshot = copy.snapshot()
    cells = cells_frame(study, snapshot, Artifacts(snapshot, home), choice)
    info = info_frame(study, choice, cells)
    for name, frame in (("cells", cells), ("export_info", info)):
        put(connection, name, frame, FACTS[name].primary_key())
    views = _make_views(connection, {*choice.tables, *STUDY_TABLES, PROVENANCE})
    _describe(connection, {*choice.tables, *views})
    return rows, info["note"].item()


def put(connection: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame, key: Iterable[str]) -> None:
    """Make a table of a frame."""
    connection.register("frame", frame)
    connection.execute(f"CREATE TABLE {table} AS SELECT * FROM frame")
    connection.unregister("frame")
    connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(key)})")


def _make_views(connection: duckdb.DuckDBPyConnection, there: set[str]) -> list[str]:
    """Make the views all of whose tables are there."""
    made: list[str] = []
    for view in map(sql.load, sql.VIEWS):
        if there.issuperset(set(view.inputs) - set(made)):
            connection.execute(f"CREATE VIEW {view.name} AS {view.statement}")
            made.append(view.name)
    return made


def _describe(connection: duckdb.DuckDBPyConnection, there: set[str]) -> None:
    texts = {name: comment for name, comment in comments().items() if name in there} | own_comments()
    texts |= {name: described(table) for name, table in FACTS.items()}
    texts[PROVENANCE] = described(ExportedProvenances)
    with transaction(connection):
        for name, comment in texts.items():
            comment_on(connection, name, comment)
