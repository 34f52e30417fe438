"""The journal: what is durable of one output folder, who may write to it, and its end as one row per request.

`segments/` grows while a run lasts; `responses/` is replaced by one rename when it is complete.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import filelock
import numpy as np
import orjson
import pyarrow as pa

from resources.engine.columns import flags
from resources.engine.errors import FolderBusyError, JournalError
from resources.engine.keytable import KeyTable, key_of
from resources.engine.rows import REUSE_COLUMNS, SCHEMA, Reuse, Row
from resources.engine.segments import (
    SegmentFolder,
    durable_writer,
    open_parquet,
    read_batches,
    remove_temporaries,
    sync_folder,
)

if TYPE_CHECKING:
    import polars as pl

PART = "part-00000.parquet"
ROW_GROUP_BYTES = 8 << 20
_THROUGH = b"mbt.commits_through"


def responses(out_dir: Path) -> pl.LazyFrame:
    """The rows of the last completed run, one per request, in no particular order.

    Args:
        out_dir: The output folder.

    Raises:
        JournalError: If no run has been completed there.
    """
    import polars as pl  # Only readers need it; the engine starts sooner and smaller without.

    part = Path(out_dir) / "responses" / PART
    if not part.exists():
        raise JournalError(f"{part}: not there; a run writes it when it ends, so run it (again) to its end")
    return pl.scan_parquet(part)


class FolderLock:
    """Keeps a second engine off an output folder; the system frees it when the process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner = folder / ".owner.json"
        # Not bound to a thread: the engine's loop runs in a thread of its own.
        self._lock = filelock.FileLock(folder / ".lock", thread_local=False, preserve_lock_file=True)

    def acquire(self) -> None:
        """Take the lock at once, or refuse.

        Raises:
            FolderBusyError: If another engine has it.
        """
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise FolderBusyError(
                f"{self._folder}: another engine{self._who()} is writing here; wait until it ends, stop it, "
                "or choose another folder"
            ) from None
        self._owner.write_bytes(orjson.dumps({"pid": os.getpid(), "host": socket.gethostname()}))

    def _who(self) -> str:
        try:
            owner = orjson.loads(self._owner.read_bytes())
            return f" (pid {owner['pid']} on {owner['host']})"
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def release(self) -> None:
        """Give the lock back."""
        self._owner.unlink(missing_ok=True)
        self._lock.release()


class Journal:
    """The rows of one output folder; a context manager that holds the folder's lock.

    Raises:
        FolderBusyError: On entry, if another engine works there.
        JournalError: If the folder cannot be written or holds a damaged file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._part = folder / "responses" / PART
        self._lock = FolderLock(folder)

    def __enter__(self) -> Journal:
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise JournalError(f"{self._folder}: cannot be written: {error.strerror or error}") from None
        with contextlib.ExitStack() as undo:
            undo.callback(self._lock.release)
            remove_temporaries(self._part.parent)
            self._segments = SegmentFolder(self._folder / "segments", self._commits_in_part())
            sync_folder(self._folder)
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def _commits_in_part(self) -> int:
        """Number of the last commit whose rows the part has; what a kill between rename and clean-up left is older."""
        if not self._part.exists():
            return 0
        with open_parquet(self._part) as file:
            return int((file.schema_arrow.metadata or {}).get(_THROUGH, b"0"))

    def commit(self, rows: Sequence[Row]) -> None:
        """Make rows durable; blocks for one write and one sync.

        Raises:
            JournalError: If the disk refuses.
        """
        if rows:
            self._segments.append(rows)

    def _files(self) -> list[Path]:
        """All files of rows, oldest first."""
        part = [self._part] if self._part.exists() else []
        return part + [segment.path for segment in self._segments.segments]

    def reusable(self) -> KeyTable:
        """Read what is on disk: for each request_id and digest, the packed `Reuse` of its newest row."""
        known = KeyTable()
        for path in self._files():
            for batch in read_batches(path, REUSE_COLUMNS, rows=16384):
                ids, digests, *terms = (batch.column(name).to_pylist() for name in REUSE_COLUMNS)
                for request_id, digest, *term in zip(ids, digests, *terms, strict=True):
                    known.put(key_of(request_id, digest), Reuse.of(*term).packed())
        return known

    def finish(self, asked: KeyTable) -> None:
        """Bring `responses/` to exactly one row, the newest, for each request asked; then drop the segments.

        Args:
            asked: For each request, the key of its id to the key of its id and digest.

        Raises:
            JournalError: If a request has no row, or the disk refuses; everything is then as before.
        """
        files, keep = self._files(), self._newest(asked)
        if files == [self._part] and keep.all():
            return
        footer = {_THROUGH: str(self._segments.last).encode()}
        with durable_writer(self._part, SCHEMA.with_metadata(footer)) as writer:
            for table in _row_groups(_kept(files, keep)):
                writer.write_table(table, row_group_size=table.num_rows)
        self._segments.clear()

    def _newest(self, asked: KeyTable) -> np.ndarray:
        """A flag per row on disk, in the files' order: whether it stays."""
        newest, number = KeyTable(), 0
        for path in self._files():
            for batch in read_batches(path, ("request_id", "request_digest"), rows=16384):
                columns = (column.to_pylist() for column in batch.columns)
                for request_id, digest in zip(*columns, strict=True):
                    key = key_of(request_id, digest)
                    if asked.get(key_of(request_id)) == key:
                        newest.put(key, number)
                    number += 1
        if len(newest) != len(asked):
            raise JournalError(f"{self._folder}: {len(asked) - len(newest)} requests have no row; run it again")
        keep = np.zeros(number, dtype=bool)
        keep[np.fromiter((row for _, row in newest.items()), dtype=np.int64, count=len(newest))] = True
        return keep


def _kept(files: Sequence[Path], keep: np.ndarray) -> Iterator[pa.RecordBatch]:
    start = 0
    for path in files:
        for batch in read_batches(path):
            stay = keep[start : start + batch.num_rows]
            start += batch.num_rows
            if stay.any():
                yield batch if stay.all() else batch.filter(flags(stay))


def _row_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather batches to tables of bounded size, so that whoever reads them later needs little memory."""
    gathered: list[pa.RecordBatch] = []
    for batch in batches:
        gathered.append(batch)
        if sum(item.nbytes for item in gathered) >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(gathered, SCHEMA)
            gathered = []
    if gathered:
        yield pa.Table.from_batches(gathered, SCHEMA)
