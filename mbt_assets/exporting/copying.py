"""Copying the lake's partitions into the tables of an export, each as one write left it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dataframely as dy
import duckdb
import polars as pl

import sql
from mbt_assets.exporting.choice import Choice, ExportError
from mbt_assets.exporting.redaction import without_secrets
from mbt_assets.exporting.snapshot import Snapshot
from mbt_assets.marts import declare_sql_tables
from partitions.grid import Grid, Node
from partitions.study import Study
from resources.lake import SCHEMA_FILE, Lake, Stored
from resources.provenance import Provenances, provenance_row, quoted
from resources.study_frames import axes_of, frame_of
from resources.tables import LAKE_TABLES, TABLES


class ExportedProvenances(Provenances):
    """What every stored partition was made of, from the footers of the lake's files; secrets in recipes are ***."""

    is_exported = dy.Bool(description="its rows are in this file")


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """What is done inside is committed at the end, all of it at once."""
    connection.begin()
    yield
    connection.commit()


def _to_show(stored: Stored) -> Stored:
    """What is told of a partition: its recipe has the study's settings, also those that hold secrets."""
    # The inputs hold data versions alone.
    shown = replace(stored.provenance, recipe=without_secrets(stored.provenance.recipe))
    return replace(stored, provenance=shown)


class Copy:
    """A copy of a study's lake in an open database.

    Args:
        connection: of the database.
        study: the study.
        lake: its lake.
        choice: what of it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, study: Study, lake: Lake, choice: Choice):
        self.connection = connection
        self.grid = Grid(study)
        self.lake = lake
        self.choice = choice
        self.copied: dict[Node, Stored] = {}
        self._columns: dict[str, list[str]] = {}
        declare_sql_tables(lake, study)

    def rows(self, progress: Callable[[str, int, int], None]) -> dict[str, int]:
        """Copy the rows; gives how many each table has."""
        nodes = self.choice.stored(self.grid, self.lake)
        done = 0
        for table in self.choice.tables:
            # A commit waits for the disk: one per table is enough.
            with transaction(self.connection):
                self._declare(table)
                for node in (node for node in nodes if node.asset == table):
                    progress(str(node), done, len(nodes))
                    self._insert(node)
                    done += 1
            self._add_key(table)
        return {table: self._count(table) for table in self.choice.tables}

    def provenance(self) -> pl.DataFrame:
        """What every partition was made of: of copied ones as they were copied, of others as they are now."""
        found: dict[Node, Stored] = dict(self.copied)
        for table in LAKE_TABLES:
            there = set(self.lake.keys(table)) if not self._is_whole(table) else set()
            for node in (Node(table, key) for key in self.grid.keys(table) if key in there):
                if node not in found and not self._is_wanted(node) and (stored := self.lake.stored(node)):
                    found[node] = stored
        rows: list[tuple[Any, ...]] = [
            (
                *provenance_row(node.asset, node.key, axes_of(self.grid, node.asset, node.key), _to_show(stored)),
                node in self.copied,
            )
            for node, stored in found.items()
        ]
        return frame_of(ExportedProvenances, rows)

    def snapshot(self) -> Snapshot:
        """The lake, with what was copied as it was copied."""
        wanted = {Node(table, key) for table in self.choice.tables for key in self.grid.keys(table)}
        absent = {node for node in wanted if self._is_wanted(node)} - set(self.copied)
        where = {node: self._where(node) for node in self.copied}
        return Snapshot(self.lake, self.connection, self.copied, absent, where)

    def _is_wanted(self, node: Node) -> bool:
        return node.asset in self.choice.tables and self.choice.wants(node)

    def _is_whole(self, table: str) -> bool:
        return table in self.choice.tables and self.choice.nodes is None

    def _declare(self, table: str) -> None:
        """Make an empty table of the declared columns, whatever an older partition may have had."""
        empty = TABLES[table].create_empty() if table in TABLES else self._empty(table)
        self._columns[table] = self.choice.columns(empty.columns)
        self.connection.register("empty", empty.select(self._columns[table]))
        self.connection.execute(f"CREATE TABLE {table} AS SELECT * FROM empty")
        self.connection.unregister("empty")

    def _empty(self, table: str) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO((self.lake.folder(table) / SCHEMA_FILE).read_bytes()))

    def _insert(self, node: Node) -> None:
        stored, rows = self.lake.copy_of(node, self._columns[node.asset])
        self.connection.register("partition_rows", rows)
        chosen = "" if node.key else self._rows_of_cells(node.asset)
        self.connection.execute(f"INSERT INTO {node.asset} BY NAME SELECT * FROM partition_rows{chosen}")
        self.connection.unregister("partition_rows")
        self.copied[node] = stored

    def _rows_of_cells(self, table: str) -> str:
        """The clause that chooses the rows of a slice from a table without partitions."""
        if self.choice.nodes is None:
            return ""
        conditions = [
            f"{axis} IN ({', '.join(map(quoted, sorted(keys)))})"
            for axis, keys in zip(("dataset", "variant"), self.choice.axes, strict=True)
            if axis in self._columns[table]
        ]
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def _add_key(self, table: str) -> None:
        try:
            self.connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(self._key(table))})")
        except duckdb.ConstraintException as error:
            raise ExportError(f"two rows of {table} share a key, which should name one: {error}") from error

    def _key(self, table: str) -> list[str]:
        if table not in TABLES:
            return list(sql.load(table).grain)
        axes = zip(("dataset", "variant"), self.grid.axes_of(table), strict=True)
        own = TABLES[table].primary_key()
        return [*(axis for axis, keys in axes if keys is not None and axis not in own), *own]

    def _where(self, node: Node) -> str:
        axes = zip(("dataset", "variant"), axes_of(self.grid, node.asset, node.key), strict=True)
        return " AND ".join(f"{axis} = {quoted(key)}" for axis, key in axes if key is not None) or "true"

    def _count(self, table: str) -> int:
        ((count,),) = self.connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        return int(count)
