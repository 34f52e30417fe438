"""How the lake's files are written and read, in a folder or in an object store.

A file is whole or not there: in a folder it is renamed into place, in a store it is one put.
"""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from resources import object_store
from resources.object_store import ReplacedError, as_os_error, is_remote

Found = TypeVar("Found")

REMOTE_BLOCK = 64 * 1024
"""Bytes that are fetched from an object store at once where a footer or a column is wanted."""
TRIES = 5
"""How often a remote file is opened anew because it was replaced while it was read."""


def put(path: UPath, frame: pl.DataFrame, footer: dict[str, str]) -> None:
    """Write a frame as Parquet, in place of what is there.

    Raises:
        OSError, PolarsError: it cannot be written; what was there stays.
    """
    if is_remote(path):
        buffer = io.BytesIO()
        frame.write_parquet(buffer, metadata=footer)
        object_store.write(path, buffer.getvalue())
        return
    target = Path(path.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        frame.write_parquet(temporary, metadata=footer)
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened(path: UPath) -> Iterator[IO[bytes]]:
    """A file, all of one write, whatever is put in its place meanwhile.

    Libraries that are given a name instead open it twice, for the footer and for the rows: rows of one write are then
    read by the footer of another.
    """
    with io.BytesIO(object_store.read(path)) if is_remote(path) else Path(path.path).open("rb") as file:
        yield file


def values(path: UPath, column: str) -> set[Any]:
    """The different values of a column; no more of a file is read than is needed.

    Raises:
        OSError, KeyError, ArrowInvalid: the file is not there, or damaged, or lacks the column.
    """
    return set(_looked_at(path, lambda file: pq.ParquetFile(file).read(columns=[column])[column].unique().to_pylist()))


def footer_of(path: UPath) -> dict[str, str]:
    """A file's own metadata.

    Raises:
        OSError, ArrowInvalid: the file is not there, or damaged.
    """
    found = _looked_at(path, lambda file: pq.read_metadata(file).metadata) or {}
    return {key.decode(): value.decode() for key, value in found.items() if key != b"ARROW:schema"}


def _looked_at(path: UPath, look: Callable[[IO[bytes]], Found]) -> Found:
    """What is found in a file of which only parts are read."""
    if not is_remote(path):
        # Arrow's own file: half the time of Python's, for thousands of footers.
        with pa.OSFile(path.path) as file:
            return look(file)
    attempt = 1
    while True:
        try:
            with as_os_error(), path.fs.open(path.path, "rb", block_size=REMOTE_BLOCK) as file:
                return look(file)
        except ReplacedError:
            if attempt == TRIES:
                raise
            attempt += 1


def marks(folder: UPath) -> dict[str, Any]:
    """What tells each file below a folder from the one that it was before: two writes never have the same mark.

    Raises:
        OSError: the store refuses, or does not answer.
    """
    if is_remote(folder):
        with as_os_error():
            found = folder.fs.find(folder.path, detail=True)
        return {name: info.get("ETag") or (info.get("size"), str(info.get("created"))) for name, info in found.items()}
    return _local_marks(folder.path)


def _local_marks(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting.append(entry.path)
                    elif entry.name.endswith(".parquet"):
                        stat = entry.stat()
                        found[entry.path] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            continue  # a table that was never written, or a temporary file that is renamed by now
    return found
