"""Objects: an object store through fsspec, whose every failure is an `OSError`."""

from __future__ import annotations

import contextlib
from typing import IO, Any

from resources.engine.errors import JournalError
from resources.object_store import as_os_error, options_of


class Objects:
    """The objects below one URL.

    Raises:
        JournalError: If no library is there for URLs of this kind.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        try:
            self._fs, root = url_to_fs(url, **options_of(url))
        except (ImportError, ValueError) as error:
            raise JournalError(f"{url}: {error}") from None
        self._root = str(root).rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        """Store an object with one put.

        Args:
            name: Below the URL.
            data: Its bytes.
            create: Only if there is none.

        Raises:
            FileExistsError: If there is one, and `create`.
        """
        more: dict[str, Any] = {"mode": "create"} if create else {}
        with as_os_error():
            self._fs.pipe_file(self._path(name), data, **more)

    def get(self, name: str) -> bytes:
        """An object's bytes."""
        with as_os_error():
            data: bytes = self._fs.cat_file(self._path(name))
        return data

    def open(self, name: str) -> IO[bytes]:
        """An object to read parts of."""
        with as_os_error():
            file: IO[bytes] = self._fs.open(self._path(name), "rb")
        return file

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        with as_os_error():
            self._fs.invalidate_cache()
            return bool(self._fs.exists(self._path(name)))

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with as_os_error(), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def sizes(self, folder: str) -> dict[str, int]:
        """Names and bytes of the objects in a folder."""
        with as_os_error():
            self._fs.invalidate_cache()
            try:
                entries = self._fs.ls(self._path(folder), detail=True, refresh=True)
            except FileNotFoundError:
                return {}
        files = ((entry["name"].rsplit("/", 1)[-1], entry["size"]) for entry in entries if entry["type"] == "file")
        return {f"{folder}/{name}": int(size) for name, size in files if name}
