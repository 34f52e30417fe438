"""The journal: what is durable of one output folder, who may write to it, and its end as one row per request.

`responses/` holds the rows as they are committed, and `complete.json` says that they are exactly those of the last
run: it goes before anything changes, and comes back when one row per request is left.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import orjson

from resources.engine.errors import JournalError
from resources.engine.keytable import KeyTable, key_of
from resources.engine.rows import REUSE_COLUMNS, Row, packed_reuse, with_content
from resources.engine.segments import FOLDER, Segment, SegmentFolder
from resources.engine.stores import Store, open_store

if TYPE_CHECKING:
    import polars as pl

COMPLETE = "complete.json"
_SCAN_ROWS = 16384


def responses(out_dir: Path | str) -> pl.LazyFrame:
    """The rows of the last run, one per request, in no particular order.

    Args:
        out_dir: The output folder, or the URL of one.

    Returns:
        The columns of `rows.Row`, and `content`: what follows the reasoning.

    Raises:
        JournalError: If the last run there did not come to its end.
    """
    import polars as pl  # Only readers need it; the engine starts sooner and smaller without.

    store = open_store(out_dir)
    if not store.exists(COMPLETE):
        raise JournalError(f"{store.where}: holds no complete run; run it (again) to its end")
    files = [f"{store.where}/{name}" for name in store.names(FOLDER) if name.endswith(".parquet")]
    return with_content(pl.scan_parquet(files, glob=False))


def forget(out_dir: Path | str) -> None:
    """Throw away every row of an output folder: a run there then sends all of its requests.

    Args:
        out_dir: The output folder, or the URL of one.

    Raises:
        FolderBusyError: If another engine works there.
        JournalError: If the folder cannot be written or holds a damaged file.
    """
    with Journal(out_dir) as journal:
        journal.finish(KeyTable())


class Journal:
    """The rows of one output folder; a context manager that holds the folder's lock.

    Raises:
        FolderBusyError: On entry, if another engine works there.
        JournalError: If the folder cannot be written or holds a damaged file.
    """

    def __init__(self, place: Path | str | Store) -> None:
        self._store = open_store(place) if isinstance(place, (Path, str)) else place

    def __enter__(self) -> Journal:
        try:
            self._store.open()
            self._store.lock.acquire()
        except OSError as error:
            raise self._unwritable(error) from None
        with contextlib.ExitStack() as undo:
            undo.callback(self._store.lock.release)
            try:
                self._segments = SegmentFolder(self._store)
                self._complete = self._store.exists(COMPLETE)
            except OSError as error:
                raise self._unwritable(error) from None
            undo.pop_all()
        return self

    def _unwritable(self, error: OSError) -> JournalError:
        return JournalError(f"{self._store.where}: cannot be written: {error.strerror or error}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.lock.release()

    def commit(self, rows: Sequence[Row]) -> None:
        """Make rows durable; blocks for one write and one sync.

        Raises:
            JournalError: If the store refuses.
            FolderBusyError: If another engine took the folder over.
        """
        if rows:
            self._store.lock.held()
            self._reopen()
            self._segments.append(rows)

    def _reopen(self) -> None:
        """Say that the rows are no longer those of a complete run, before they are not."""
        if self._complete:
            try:
                self._store.remove(COMPLETE)
            except OSError as error:
                raise self._unwritable(error) from None
            self._complete = False

    def reusable(self) -> KeyTable:
        """Read what is stored: for each request_id and digest, the packed `Reuse` of its newest row."""
        known = KeyTable(self._segments.count())
        for segment in self._segments.segments:
            for batch in self._segments.read(segment, REUSE_COLUMNS, rows=_SCAN_ROWS):
                ids, digests, *terms = (batch.column(name).to_pylist() for name in REUSE_COLUMNS)
                for request_id, digest, *term in zip(ids, digests, *terms, strict=True):
                    known.put(key_of(request_id, digest), packed_reuse(*term))
        return known

    def finish(self, asked: KeyTable) -> None:
        """Bring the rows to exactly one, the newest, for each request asked, and say that they are complete.

        Args:
            asked: For each request, the key of its id to the key of its id and digest.

        Raises:
            JournalError: If a request has no row, or the store refuses; every row asked for is then still there.
        """
        self._store.lock.held()
        # Each request has a row, so as many rows as requests are one for each.
        if self._segments.count() != len(asked):
            self._drop(self._newest(asked))
        if any(self._mergeable()):
            self._reopen()
            self._segments.compact()
        if not self._segments.segments:
            self._reopen()
            self._segments.write_empty()
        if not self._complete:
            self._say_complete(len(asked))

    def _mergeable(self) -> list[bool]:
        small = [segment.small for segment in self._segments.segments]
        return [left and right for left, right in itertools.pairwise(small)]

    def _say_complete(self, rows: int) -> None:
        try:
            with self._store.writing(COMPLETE) as file:
                file.write(orjson.dumps({"rows": rows}))
        except OSError as error:
            raise self._unwritable(error) from None
        self._complete = True

    def _newest(self, asked: KeyTable) -> dict[Segment, np.ndarray]:
        """A flag per row of each segment: whether it stays."""
        newest, number, starts = KeyTable(), 0, {}
        for segment in self._segments.segments:
            starts[segment] = number
            for batch in self._segments.read(segment, ("request_id", "request_digest"), rows=_SCAN_ROWS):
                columns = (column.to_pylist() for column in batch.columns)
                for request_id, digest in zip(*columns, strict=True):
                    key = key_of(request_id, digest)
                    if asked.get(key_of(request_id)) == key:
                        newest.put(key, number)
                    number += 1
        if len(newest) != len(asked):
            raise JournalError(f"{self._store.where}: {len(asked) - len(newest)} requests have no row; run it again")
        keep = np.zeros(number, dtype=bool)
        keep[np.fromiter((row for _, row in newest.items()), dtype=np.int64, count=len(newest))] = True
        ends = [*list(starts.values())[1:], number]
        return {segment: keep[start:end] for (segment, start), end in zip(starts.items(), ends, strict=True)}

    def _drop(self, keep: dict[Segment, np.ndarray]) -> None:
        self._store.lock.held()
        self._reopen()
        for segment, stay in keep.items():
            if not stay.all():
                self._segments.filter(segment, stay)
