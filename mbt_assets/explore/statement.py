"""One reading statement that a person wrote: its rows page by page, counted, sorted and written to files by DuckDB.

The statement is run anew for each of these, and stopped when its time is up or nobody waits for it any more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import IO, Any, TypeVar

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mbt_assets.explore.columns import Column, Form, distinct, kind_of
from mbt_assets.explore.source import Asked
from resources.lake_in_duckdb import steadily
from resources.warehouse import QueryError, bare, one_read, query_error

PAGE = 100
"""Rows on a page."""
BATCH = 2000
"""Rows that are in memory at once while a file is written."""
MOST_BYTES = 4_000_000_000
"""Of a file: it lies on this machine's disk while it is fetched."""
LOOK_S = 0.1

Found = TypeVar("Found")


class Statement:
    """A statement over the warehouse.

    Args:
        asked: the warehouse during this request.
        sql: what the person wrote.
        seconds: for which it may run, all its runs together.
        gone: set when nobody waits for it any more.

    Raises:
        QueryError: it is no one reading statement, or names what is not there.
    """

    def __init__(self, asked: Asked, sql: str, seconds: float, gone: threading.Event | None = None):
        self.connection = asked.connection
        self.lake = asked.source.lake
        self.sql = sql
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._gone = gone or threading.Event()
        with self._telling():
            self.is_explain = one_read(self.connection, sql).type == duckdb.StatementType.EXPLAIN

    @cached_property
    def columns(self) -> list[Column]:
        """The columns of its result.

        Raises:
            QueryError: it names what is not there; the position is that in the person's own text.
        """

        def bound() -> list[Column]:
            try:
                relation = self.connection.sql(self.sql)
            except duckdb.Error:
                # Run directly it fails as well, and says at which line.
                self.connection.execute(self.sql)
                raise
            types = [str(dtype) for dtype in relation.types]
            return [
                Column(number, name, dtype, kind_of(dtype))
                for number, (name, dtype) in enumerate(zip(relation.columns, types, strict=True), 1)
            ]

        return self._steadily(bound)

    @property
    def result(self) -> str:
        """Its result for a FROM clause; columns go by their `alias`."""
        return f"(\n{bare(self.sql)}\n) AS result({', '.join(column.alias for column in self.columns)})"

    def explained(self) -> str:
        """What an EXPLAIN says."""
        frame = self.rows(self.sql)
        return "\n".join(str(row[-1]) for row in frame.iter_rows())

    def page(self, number: int, sort: Column | None, descending: bool) -> pl.DataFrame:
        """One row more than a page has, if there is one; texts are cut after `CUT` characters.

        Args:
            number: of the page, from 1.
            sort: column that the rows are sorted by.
            descending: whether the greatest comes first.
        """
        order = f"ORDER BY result.{sort.alias} {'DESC' if descending else 'ASC'} NULLS LAST" if sort else ""
        shown = ", ".join(column.short for column in self.columns)
        return self.rows(f"SELECT {shown} FROM {self.result} {order} LIMIT {PAGE + 1} OFFSET {(number - 1) * PAGE}")

    def count(self) -> int:
        """Rows of its result."""
        return int(self.rows(f"SELECT count(*) FROM {self.result}").item())

    def rows(self, sql: str) -> pl.DataFrame:
        """The rows of a statement around this one.

        Raises:
            QueryError: it fails, or takes too long.
            resources.lake.LakeError: the lake changed whenever it was read.
        """
        return self._steadily(lambda: self.connection.sql(sql).pl())

    def write(self, file: IO[bytes], form: Form, for_spreadsheet: bool = False) -> None:
        """Write all rows to a file, a batch of them in memory at a time.

        Args:
            file: open for writing; what was there is replaced.
            form: of the file.
            for_spreadsheet: put an apostrophe before texts of a CSV file that a spreadsheet takes for formulas.
        """
        if self.is_explain:
            raise QueryError("a plan has no rows to download: ask without EXPLAIN")
        names = distinct([column.name for column in self.columns])
        shown = [column.written(form, for_spreadsheet) for column in self.columns]
        select = ", ".join(f'{sql} AS "{n.replace(chr(34), chr(34) * 2)}"' for sql, n in zip(shown, names, strict=True))

        def written() -> None:
            file.seek(0)
            file.truncate()
            reader = self.connection.sql(f"SELECT {select} FROM {self.result}").to_arrow_reader(BATCH)
            try:
                _put(reader, file, form)
            finally:
                # While one is open its connection cannot close, nor any other open the warehouse.
                reader.close()

        self._steadily(written)

    def _steadily(self, ask: Callable[[], Found]) -> Found:
        def watched() -> Found:
            self._check()
            with self._watched():
                return ask()

        with self._telling():
            return steadily(self.lake, watched)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            self._check()
            raise query_error(error) from error
        except (pa.ArrowException, OSError) as error:
            # An interrupt, too, reaches who reads a result batch by batch as an OSError.
            self._check()
            raise QueryError(f"these rows cannot be written: {error}") from error

    def _check(self) -> None:
        if self._gone.is_set():
            raise QueryError("cancelled")
        if time.monotonic() > self._ends:
            raise QueryError(
                f"stopped after {self._seconds:g} s: ask for less (fewer cells, LIMIT, no texts), "
                "or run it with `mbt sql`, which has no time limit"
            )

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Interrupts what runs meanwhile when it has to end."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(LOOK_S):
                if self._gone.is_set() or time.monotonic() > self._ends:
                    self.connection.interrupt()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _put(reader: pa.RecordBatchReader, file: IO[bytes], form: Form) -> None:
    """Write all batches.

    Raises:
        QueryError: the file becomes too large.
    """
    writer: Any
    if form == "csv":
        writer = pyarrow.csv.CSVWriter(file, reader.schema)
    else:
        writer = pq.ParquetWriter(file, reader.schema, compression="zstd")
    with writer:
        for batch in reader:
            writer.write_batch(batch)
            if file.tell() > MOST_BYTES:
                raise QueryError(
                    f"stopped: the file has more than {MOST_BYTES / 1e9:g} GB: ask for less (fewer cells, LIMIT, "
                    "no texts), or for Parquet, which is smaller"
                )
