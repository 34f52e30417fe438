"""Locks on files that the kernel frees when their holder dies, however it dies.

A lock belongs to the open file, not to the process: a child that inherits the descriptor holds it on, also when the
one that took it is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType


class Held:
    """A lock that is held until `close`, or until every process that has the descriptor is gone.

    Attributes:
        path: the locked file.
        fd: its descriptor, to hand on to a child; -1 once closed.
    """

    def __init__(self, path: Path, fd: int):
        self.path = path
        self.fd = fd

    def write(self, text: str) -> None:
        """Replace the file's text: who holds it, for others to read."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, text.encode(), 0)

    def close(self, *, remove: bool = False) -> None:
        """Let go of it here; a child that inherited it goes on holding it.

        Args:
            remove: delete the file too. Only for files of one holder: others that wait for it would lock thin air.
        """
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        # Closed, never unlocked: unlocking would take it from the child as well.
        os.close(fd)

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def take(path: Path) -> Held:
    """The lock on a file, as soon as it is free; the file and its folder are made where need be."""
    fd = _opened(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except BaseException:
        os.close(fd)
        raise
    return Held(path, fd)


def try_take(path: Path) -> Held | None:
    """The lock on a file, or None if somebody holds it now."""
    fd = _opened(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return Held(path, fd)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock on a file; a file that is not there is not held."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared: two that look at the same moment do not take each other for a holder.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def count_held(folder: Path, *, remove_free: bool = False) -> int:
    """How many files of a folder are locked.

    Args:
        folder: holds one file per holder.
        remove_free: delete those whose holder is gone; only while nobody can be making a new one.
    """
    held = 0
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            if is_held(path):
                held += 1
            elif remove_free:
                path.unlink(missing_ok=True)
    return held


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)
