"""Segments: immutable Parquet files, written under a temporary name, synced, then renamed.

A segment's name says which commits it holds, so that a merged one replaces its parts whenever the writer died.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from resources.engine.columns import column
from resources.engine.errors import JournalError
from resources.engine.rows import SCHEMA, Row

FAN_IN = 64
"""Segments of one level that are merged into one of the next."""

MERGE_BYTES = 32 << 20
"""Uncompressed bytes above which segments are large enough to be left alone."""

TEMPORARY = ".tmp"
_NAME = re.compile(r"segment-(\d+)-(\d+)-(\d+)\.parquet")
_LONG_TEXT = ("response", "reasoning", "content", "error")
_DICTIONARY = ["finish_reason", "error_kind", "model"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of committed rows.

    Attributes:
        level: how often its rows were merged.
        first: number of its first commit.
        last: number of its last commit.
        path: where it lies.
        size: uncompressed bytes.
    """

    level: int
    first: int
    last: int
    path: Path
    size: int


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Lay rows out as columns."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(SCHEMA)
    arrays = [column(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


@contextlib.contextmanager
def durable_writer(path: Path, schema: pa.Schema = SCHEMA, compression: str = "lz4") -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file so that it is either there, whole and on the disk, or not there.

    Args:
        path: Its final name.
        schema: Its schema; metadata goes to the file's footer.
        compression: Parquet codec.

    Raises:
        JournalError: If the disk refuses.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    short = [name for name in schema.names if name not in _LONG_TEXT]
    try:
        with temporary.open("wb") as file:
            with pq.ParquetWriter(
                file, schema, compression=compression, use_dictionary=_DICTIONARY, write_statistics=short
            ) as writer:
                yield writer
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise JournalError(f"{path}: cannot be written: {error}. What was committed before is kept.") from error


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file of rows.

    Raises:
        JournalError: If it is damaged or of another schema.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise JournalError(f"{path}: cannot be read ({error}). Remove it, and its rows are sent again.") from None
    if missing := [name for name in SCHEMA.names if name not in file.schema_arrow.names]:
        raise JournalError(f"{path}: lacks the columns {', '.join(missing)}; give the engine a folder of its own")
    return file


def read_batches(path: Path, columns: Sequence[str] | None = None, rows: int = 256) -> Iterator[pa.RecordBatch]:
    """Read a file of rows piece by piece.

    Raises:
        JournalError: If it is damaged.
    """
    with open_parquet(path) as file:
        try:
            yield from file.iter_batches(batch_size=rows, columns=list(columns or SCHEMA.names), use_threads=False)
        except OSError as error:
            raise JournalError(f"{path}: cannot be read ({error}). Remove it, and its rows are sent again.") from None


class SegmentFolder:
    """The segments of one output folder; one writer at a time, which the caller sees to."""

    def __init__(self, folder: Path, after: int) -> None:
        """Open the folder and heal what a killed writer left.

        Args:
            folder: Made if missing.
            after: Commits up to this number are kept elsewhere; their segments are left-overs.
        """
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        remove_temporaries(folder)
        self.segments = self._heal(after)
        self._next = max([after, *(segment.last for segment in self.segments)]) + 1

    @property
    def last(self) -> int:
        """Number of the last commit."""
        return self._next - 1

    def _heal(self, after: int) -> list[Segment]:
        kept: list[Segment] = []
        # Widest first among those that begin together, so that a merged segment comes before its parts.
        for segment in sorted(_listed(self._folder), key=lambda segment: (segment.first, -segment.last)):
            if segment.last <= after or (kept and segment.last <= kept[-1].last):
                segment.path.unlink()
            else:
                kept.append(segment)
        return kept

    def append(self, rows: Sequence[Row]) -> None:
        """Commit rows: once this returns, they outlive the machine's power.

        Raises:
            JournalError: If the disk refuses; nothing half-written is left.
        """
        table = table_of(rows)
        with self._writing(0, self._next, self._next, table.nbytes) as write:
            write(table)
        self._next += 1
        self._merge()

    @contextlib.contextmanager
    def _writing(self, level: int, first: int, last: int, size: int) -> Iterator[Callable[[pa.Table], None]]:
        path = self._folder / f"segment-{level}-{first:010d}-{last:010d}.parquet"
        with durable_writer(path) as writer:
            yield writer.write_table
        self.segments.append(Segment(level, first, last, path, size))

    def _merge(self) -> None:
        """Merge the newest segments while there are enough small ones of one level."""
        while len(self.segments) >= FAN_IN:
            parts = self.segments[-FAN_IN:]
            size = sum(part.size for part in parts)
            if len({part.level for part in parts}) > 1 or size > MERGE_BYTES:
                return
            table = pa.Table.from_batches([batch for part in parts for batch in read_batches(part.path)], SCHEMA)
            with self._writing(parts[0].level + 1, parts[0].first, parts[-1].last, size) as write:
                write(table.combine_chunks())
            del self.segments[-FAN_IN - 1 : -1]
            for part in parts:
                part.path.unlink()

    def clear(self) -> None:
        """Remove all segments, once their rows are kept elsewhere."""
        for segment in self.segments:
            segment.path.unlink(missing_ok=True)
        self.segments = []


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed writer had not finished."""
    for path in folder.glob(f"*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def _listed(folder: Path) -> Iterator[Segment]:
    for path in folder.iterdir():
        if match := _NAME.fullmatch(path.name):
            level, first, last = map(int, match.groups())
            yield Segment(level, first, last, path, _raw_size(path))


def _raw_size(path: Path) -> int:
    with open_parquet(path) as file:
        return sum(file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups))
