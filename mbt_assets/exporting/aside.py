"""The folder beside a target, a file or a folder, in which it is built; what killed processes left is taken away."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from resources.locks import Held, try_take

LOCK = "lock"


@contextlib.contextmanager
def aside(target: Path) -> Iterator[Path]:
    """A new folder beside a target, which is gone afterwards.

    Raises:
        OSError: it cannot be made.
    """
    remove_leftovers(target)
    folder, lock = _held_folder(target)
    try:
        yield folder
    finally:
        # Removed before the lock is free: nobody else need look at it.
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def remove_leftovers(target: Path) -> None:
    """Take away the folders of exports to the same target that no living process holds."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{32}}\.tmp")
    for folder in target.parent.iterdir():
        if pattern.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            # What somebody else's export left stays where it may not be removed.
            with contextlib.suppress(OSError):
                _remove_free(folder)


def _remove_free(folder: Path) -> None:
    if lock := try_take(folder / LOCK):
        with lock:
            shutil.rmtree(folder, ignore_errors=True)


def _held_folder(target: Path) -> tuple[Path, Held]:
    """Make a folder and hold its lock."""
    while True:
        folder = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
        folder.mkdir()
        try:
            lock = try_take(folder / LOCK)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        # Between these two lines another export may have taken it for a leftover: then it is one.
        if lock and _is_there(lock):
            return folder, lock
        if lock:
            lock.close()


def _is_there(lock: Held) -> bool:
    """Whether the locked file is still the one of that name."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock.fd), lock.path.stat())
    return False
