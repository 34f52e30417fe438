"""Segments: immutable Parquet files of committed rows.

A segment's name says which commits it holds, so that a merged one replaces its parts whenever the writer died.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resources.engine.columns import column, flags
from resources.engine.errors import JournalError
from resources.engine.rows import SCHEMA, Row
from resources.engine.stores import Store

FOLDER = "responses"
FAN_IN = 64
"""Segments of one level that are merged into one of the next."""

MERGE_BYTES = 32 << 20
"""Bytes above which segments are large enough to be left alone."""

SMALL_BYTES = 1 << 20
"""Bytes below which a segment is merged with its neighbours at the end of a run."""

FRESH, MERGED = {"compression": "none"}, {"compression": "zstd", "compression_level": 1}
"""While rows come in by the thousand, what compresses quickly saves an eighth of the bytes and costs ten times the
writing; what is merged is small for good. Rows so few that a commit of them is small are merged sooner or later."""

ROW_GROUP_BYTES = 1 << 20
"""Bytes of a row group before compression, so that whoever reads it later needs little memory."""

_NAME = re.compile(rf"{FOLDER}/part-(\d+)-(\d+)-(\d+)\.parquet")
_LONG_TEXT = ("response", "reasoning", "error")
_DICTIONARY = ["finish_reason", "error_kind", "model"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of committed rows.

    Attributes:
        level: how often its rows were merged.
        first: number of its first commit.
        last: number of its last commit.
        size: bytes of the file.
    """

    level: int
    first: int
    last: int
    size: int

    @property
    def name(self) -> str:
        """Its file's name in the store."""
        return f"{FOLDER}/part-{self.level}-{self.first:010d}-{self.last:010d}.parquet"

    @property
    def small(self) -> bool:
        """Whether it is to be merged with small neighbours at the end of a run."""
        return self.size < SMALL_BYTES


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Lay rows out as columns."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(SCHEMA)
    arrays = [column(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


class SegmentFolder:
    """The segments of one output folder, oldest first; one writer at a time, which the caller sees to."""

    def __init__(self, store: Store) -> None:
        """Read what is there and heal what a killed writer left.

        Args:
            store: Where the files lie.
        """
        self._store = store
        self.segments = self._heal(store.tidy(FOLDER))
        self._next = max((segment.last for segment in self.segments), default=0) + 1

    def _heal(self, sizes: dict[str, int]) -> list[Segment]:
        kept: list[Segment] = []
        # Widest first among those that begin together, so that a merged segment comes before its parts.
        for segment in sorted(_listed(sizes), key=lambda segment: (segment.first, -segment.last)):
            if kept and segment.last <= kept[-1].last:
                self._store.remove(segment.name)
            else:
                kept.append(segment)
        return kept

    def append(self, rows: Sequence[Row]) -> None:
        """Commit rows: once this returns, they outlive the machine's power.

        Raises:
            JournalError: If the store refuses; nothing half-written is left.
        """
        self.segments.append(self._written(0, self._next, self._next, [table_of(rows)]))
        self._next += 1
        self._merge_newest()

    def _merge_newest(self) -> None:
        """Merge the newest segments while there are enough small ones of one level."""
        while len(self.segments) >= FAN_IN:
            parts = self.segments[-FAN_IN:]
            if len({part.level for part in parts}) > 1 or sum(part.size for part in parts) > MERGE_BYTES:
                return
            self._merge(len(self.segments) - FAN_IN, len(self.segments))

    def _merge(self, start: int, end: int) -> None:
        """Make one segment of those from `start` up to `end`."""
        parts = self.segments[start:end]
        level = max(part.level for part in parts) + 1
        batches = (batch for part in parts for batch in self.read(part))
        self.segments[start:end] = [self._written(level, parts[0].first, parts[-1].last, _row_groups(batches))]
        for part in parts:
            self._store.remove(part.name)

    def compact(self) -> None:
        """Merge small neighbours."""
        start = 0
        while start < len(self.segments):
            end, size = start, 0
            while end < len(self.segments) and self.segments[end].small and size < MERGE_BYTES:
                size += self.segments[end].size
                end += 1
            if end - start > 1:
                self._merge(start, end)
            start += 1

    def filter(self, segment: Segment, stay: np.ndarray) -> None:
        """Rewrite a segment with fewer rows, in place; one that keeps none goes.

        Args:
            segment: One of the segments.
            stay: A flag per row.
        """
        place = self.segments.index(segment)
        if stay.any():
            groups = _row_groups(_kept(self.read(segment), stay))
            self.segments[place] = self._written(segment.level, segment.first, segment.last, groups)
        else:
            del self.segments[place]
            self._store.remove(segment.name)

    def write_empty(self) -> None:
        """Write a segment without rows, for readers who look for the columns."""
        self.segments.append(self._written(0, self._next, self._next, [SCHEMA.empty_table()]))
        self._next += 1

    def _written(self, level: int, first: int, last: int, tables: Iterable[pa.Table]) -> Segment:
        segment = Segment(level, first, last, 0)
        short = [name for name in SCHEMA.names if name not in _LONG_TEXT]
        with _said(self._store, segment.name, "written"), self._store.writing(segment.name) as file:
            with pq.ParquetWriter(
                file,
                SCHEMA,
                use_dictionary=_DICTIONARY,
                write_statistics=short,
                **(MERGED if level else FRESH),
            ) as writer:
                for table in tables:
                    writer.write_table(table, row_group_size=max(1, table.num_rows))
            size = file.tell()
        return Segment(level, first, last, size)

    def count(self) -> int:
        """Rows in all segments."""
        return sum(self._footer(segment).num_rows for segment in self.segments)

    def _footer(self, segment: Segment) -> pq.FileMetaData:
        with self._opened(segment) as file:
            return file.metadata

    def read(self, segment: Segment, columns: Sequence[str] | None = None, rows: int = 256) -> Iterator[pa.RecordBatch]:
        """Read a segment piece by piece.

        Raises:
            JournalError: If it is damaged.
        """
        with self._opened(segment) as file, _said(self._store, segment.name, "read", _REMEDY):
            yield from file.iter_batches(batch_size=rows, columns=list(columns or SCHEMA.names), use_threads=False)

    @contextlib.contextmanager
    def _opened(self, segment: Segment) -> Iterator[pq.ParquetFile]:
        with _said(self._store, segment.name, "read", _REMEDY), self._store.reading(segment.name) as source:
            file = pq.ParquetFile(source)
            if missing := [name for name in SCHEMA.names if name not in file.schema_arrow.names]:
                raise JournalError(
                    f"{self._store.where}/{segment.name}: lacks the columns {', '.join(missing)}; give the engine a "
                    "folder of its own"
                )
            yield file


_REMEDY = "Remove it, and its rows are sent again."


@contextlib.contextmanager
def _said(store: Store, name: str, what: str, remedy: str = "What was committed before is kept.") -> Iterator[None]:
    """Turn the store's errors into one that names the file."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise JournalError(f"{store.where}/{name}: cannot be {what} ({error}). {remedy}") from error


def _listed(sizes: dict[str, int]) -> Iterator[Segment]:
    for name, size in sizes.items():
        if match := _NAME.fullmatch(name):
            level, first, last = map(int, match.groups())
            yield Segment(level, first, last, size)


def _kept(batches: Iterable[pa.RecordBatch], stay: np.ndarray) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in batches:
        some = stay[start : start + batch.num_rows]
        start += batch.num_rows
        if some.any():
            yield batch.filter(flags(some))


def _row_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather batches to tables of bounded size."""
    gathered: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        gathered.append(batch)
        size += batch.nbytes
        if size >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(gathered, SCHEMA)
            gathered, size = [], 0
    if gathered:
        yield pa.Table.from_batches(gathered, SCHEMA)
