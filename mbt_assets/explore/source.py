"""What the pages read: the warehouse, one partition of the lake, and how the study's partitions stand."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from mbt_assets.explore import NotFound
from mbt_assets.explore.cells import Cells
from mbt_assets.staleness import Standing, assess, cell_standing
from partitions.grid import Grid, Node, cell_key
from resources import warehouse
from resources.lake_in_duckdb import open_lake, steadily
from resources.object_store import is_remote
from resources.provenance import quoted

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform

LOOK_EVERY_S = 5.0
"""Seconds for which the lake is taken for unchanged, and with it the standings of all partitions."""
READ_EVERY_S = 60.0
"""Seconds after which every footer is read again even so: local weights, too, decide what is stale."""


@dataclass
class Seen:
    """What a look at the whole lake found.

    Args:
        read: when every footer was read; monotonic seconds.
        looked: when the lake was last found unchanged since.
        marks: of all files of the lake.
        grid: the study's partitions, imported cells included.
        standings: of every partition.
    """

    read: float
    looked: float
    marks: dict[str, Any]
    grid: Grid
    standings: dict[Node, Standing]


class Source:
    """Reads what the pages show; one object serves all requests, each on a connection of its own.

    Args:
        platform: the study's graph, whose home and lake are read.
    """

    def __init__(self, platform: Platform):
        self.study = platform.study
        self.lake = platform.artifacts.lake
        self.path = platform.home.warehouse
        self.report = platform.artifacts.files["report"]
        self.cells = Cells(self.lake, self.study.judges[0])
        self._artifacts = platform.artifacts
        self._looking = threading.Lock()
        self._opening = threading.Lock()
        self._seen: Seen | None = None

    @property
    def grid(self) -> Grid:
        """The study's partitions, imported cells included."""
        return self._now().grid

    @property
    def standings(self) -> dict[Node, Standing]:
        """How each partition stands: fresh, stale or missing; some seconds old at most."""
        return self._now().standings

    def _now(self) -> Seen:
        with self._looking:
            now = time.monotonic()
            if self._seen is not None and now - self._seen.looked < LOOK_EVERY_S:
                return self._seen
            marks = self.lake.marks()
            if self._seen is None or marks != self._seen.marks or now - self._seen.read > READ_EVERY_S:
                grid = Grid(self.study, self._artifacts.imported_cells())
                self._seen = Seen(now, now, marks, grid, assess(grid, self._artifacts))
            self._seen.looked = now
            return self._seen

    def cell_standing(self, dataset: str, variant: str) -> Standing:
        """The worst of a cell's partitions: missing before stale before fresh."""
        return cell_standing(self.standings, cell_key(dataset, variant))

    def has_cell(self, dataset: str, variant: str) -> bool:
        """Whether the study has such a cell, made or not."""
        return Node("cell_metrics", cell_key(dataset, variant)) in self.standings

    @contextlib.contextmanager
    def asking(self) -> Iterator[Asked]:
        """A connection for one request.

        Raises:
            resources.warehouse.QueryError: there is no warehouse.
        """
        with warehouse.reading(self.path) as connection:
            with self._opening:
                self._confine(connection)
            yield Asked(connection, self)

    def _confine(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let SQL from a page read the lake and no other file.

        Connections to the same file share file systems, secrets and settings: the one that comes first sets them.
        """
        # To its last row: the connection takes nothing else before.
        if not connection.execute("SELECT current_setting('enable_external_access')").fetchall()[0][0]:
            return
        open_lake(connection, self.lake)
        connection.execute(f"SET allowed_directories = [{', '.join(map(quoted, self._folders()))}]")
        connection.execute("SET enable_external_access = false")

    def _folders(self) -> set[str]:
        """The lake's folder, as it is written and as its file system writes it."""
        root = str(self.lake.root)
        return {root, self.lake.files.unstrip_protocol(self.lake.root.path)} if is_remote(self.lake.root) else {root}


class Asked:
    """The warehouse during one request.

    Args:
        connection: read-only.
        source: that it belongs to.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: Source):
        self.connection = connection
        self.source = source

    def rows(self, sql: str, parameters: Sequence[Any] = (), tables: Collection[str] | None = None) -> pl.DataFrame:
        """The rows of one SELECT.

        Args:
            sql: the statement.
            parameters: for its question marks.
            tables: the lake's tables that it reads, none for the study's own; all when None, which takes longer.

        Raises:
            resources.warehouse.QueryError: the statement fails.
            resources.lake.LakeError: the lake changed whenever it was read.
        """

        def ask() -> pl.DataFrame:
            return warehouse.query(self.connection, sql, list(parameters) or None)

        return ask() if tables is not None and not tables else steadily(self.source.lake, ask, tables)

    def row(
        self, sql: str, parameters: Sequence[Any] = (), tables: Collection[str] | None = None
    ) -> dict[str, Any] | None:
        """The first row of one SELECT by column name, None where there is no row."""
        frame = self.rows(sql, parameters, tables)
        return frame.row(0, named=True) if frame.height else None

    def partition(self, table: str, dataset: str = "", variant: str = "") -> str:
        """SQL for the rows of one stored partition, which is read without a look at any other.

        Args:
            table: of the lake.
            dataset: of the partition, where the table has that axis.
            variant: of the partition, where the table has that axis.

        Returns:
            A table function call for a FROM clause.

        Raises:
            NotFound: nothing is stored there.
        """
        found = self.partition_if_stored(table, dataset, variant)
        if found is None:
            key = cell_key(dataset, variant) if dataset and variant else dataset or variant
            raise NotFound(f"there is no {table} of {key} yet: materialize it, or choose another")
        return found

    def partition_if_stored(self, table: str, dataset: str = "", variant: str = "") -> str | None:
        """As `partition`, but None where nothing is stored."""
        key = cell_key(dataset, variant) if dataset and variant else dataset or variant
        node = Node(table, key)
        if not self.source.lake.exists(node):
            return None
        return f"read_parquet({quoted(str(self.source.lake.path(node)))}, hive_partitioning = false)"
