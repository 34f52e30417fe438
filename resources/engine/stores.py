"""Stores: the few things the journal asks of a place for files, on a local folder or an object store.

A file is written whole or not at all, and once it is written it outlives the process and the machine's power.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from resources.engine.locks import FolderLock, LeaseLock, WriterLock
from resources.engine.objects import Objects

TEMPORARY = ".tmp"
CACHED_BYTES = 1 << 20
"""Bytes up to which a written file stays in the kernel's cache, to be read and merged soon. The pages of a larger one
are given to the next: pages that nobody has used before cost more system time than all else that a commit does."""


class Store(Protocol):
    """Files by name below one place; names may hold one `/`.

    Attributes:
        where: the place, for messages.
        lock: keeps a second writer away.
    """

    where: str
    lock: WriterLock

    def open(self) -> None:
        """Make the place ready."""
        ...

    def tidy(self, folder: str) -> dict[str, int]:
        """Remove what a killed writer had not finished; the names of the rest and their bytes."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder."""
        ...

    def writing(self, name: str) -> AbstractContextManager[pa.NativeFile]:
        """A file to write to, which is durable under its name when the context ends well, else not there."""
        ...

    def reading(self, name: str) -> pa.NativeFile:
        """A file to read from."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def exists(self, name: str) -> bool:
        """Whether a file of this name is there."""
        ...


def open_store(place: Path | str) -> Store:
    """The store of an output folder.

    Args:
        place: A local folder, or a URL that fsspec knows, such as `s3://bucket/run-1`.
    """
    return ObjectStore(place) if isinstance(place, str) and "://" in place else LocalStore(Path(place))


class LocalStore:
    """A folder: files are synced under another name and renamed."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self.lock: WriterLock = FolderLock(folder)
        self._folder = folder

    def open(self) -> None:
        """See `Store.open`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(self._folder.parent)

    def tidy(self, folder: str) -> dict[str, int]:
        """See `Store.tidy`."""
        place = self._folder / folder
        place.mkdir(exist_ok=True)
        sizes = {}
        for path in place.iterdir():
            if path.name.endswith(TEMPORARY):
                path.unlink(missing_ok=True)
            else:
                sizes[f"{folder}/{path.name}"] = path.stat().st_size
        _sync_folder(self._folder)
        return sizes

    def names(self, folder: str) -> list[str]:
        """See `Store.names`."""
        place = self._folder / folder
        return sorted(f"{folder}/{path.name}" for path in place.iterdir() if not path.name.endswith(TEMPORARY))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[pa.NativeFile]:
        """See `Store.writing`."""
        path = self._folder / name
        temporary = path.with_name(path.name + TEMPORARY)
        try:
            with pa.OSFile(str(temporary), "wb") as file:
                yield file
            _sync(temporary, cached=CACHED_BYTES)
            temporary.replace(path)
            _sync_folder(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def reading(self, name: str) -> pa.NativeFile:
        """See `Store.reading`."""
        return pa.OSFile(str(self._folder / name))

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        # What a later file says must not come back with the power beside what was removed.
        _sync_folder(path.parent)

    def exists(self, name: str) -> bool:
        """See `Store.exists`."""
        return (self._folder / name).exists()


class ObjectStore:
    """A prefix of an object store: each file is one put, which the store answers when it is durable."""

    def __init__(self, url: str) -> None:
        self.where = url.rstrip("/")
        self._objects = Objects(url)
        self.lock: WriterLock = LeaseLock(self._objects, self.where)

    def open(self) -> None:
        """See `Store.open`: there is nothing to make."""

    def tidy(self, folder: str) -> dict[str, int]:
        """See `Store.tidy`: an object is whole or not there, so there is nothing to remove."""
        return self._objects.sizes(folder)

    def names(self, folder: str) -> list[str]:
        """See `Store.names`."""
        return sorted(self._objects.sizes(folder))

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[pa.NativeFile]:
        """See `Store.writing`."""
        sink = pa.BufferOutputStream()
        yield sink
        self._objects.put(name, sink.getvalue().to_pybytes())

    def reading(self, name: str) -> pa.NativeFile:
        """See `Store.reading`."""
        return pa.PythonFile(self._objects.open(name), mode="r")

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        self._objects.remove(name)

    def exists(self, name: str) -> bool:
        """See `Store.exists`."""
        return self._objects.exists(name)


def _sync(path: Path, cached: int | None = None) -> None:
    """Put a file on the disk; if it is larger than `cached`, out of the kernel's cache as well."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if cached is not None and os.fstat(descriptor).st_size > cached and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk."""
    _sync(folder)
