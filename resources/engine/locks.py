"""Locks: who may write to an output folder, and when a dead writer's place is free again."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

import filelock
import orjson

from resources.engine.errors import FolderBusyError
from resources.engine.objects import Objects

OWNER = ".owner.json"
RENEW_SECONDS = 10.0
STALE_SECONDS = 45.0
"""A lease that was not renewed for so long is a dead writer's; writers' clocks must agree better than that."""

SETTLE_SECONDS = 1.0


class WriterLock(Protocol):
    """Held by the one writer of an output folder."""

    def acquire(self) -> None:
        """Take the lock at once, or refuse.

        Raises:
            FolderBusyError: If another engine has it.
        """
        ...

    def held(self) -> None:
        """Make sure that it is still ours.

        Raises:
            FolderBusyError: If another engine took it over.
        """
        ...

    def release(self) -> None:
        """Give the lock back."""
        ...


class FolderLock:
    """On a local folder: the system frees it when the process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner = folder / OWNER
        # Not bound to a thread: the engine's loop runs in a thread of its own.
        self._lock = filelock.FileLock(folder / ".lock", thread_local=False, preserve_lock_file=True)

    def acquire(self) -> None:
        """See `WriterLock.acquire`."""
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise _busy(str(self._folder), self._read()) from None
        self._owner.write_bytes(orjson.dumps(_me()))

    def _read(self) -> dict[str, Any]:
        try:
            owner = orjson.loads(self._owner.read_bytes())
        except (OSError, ValueError):
            return {}
        return owner if isinstance(owner, dict) else {}

    def held(self) -> None:
        """See `WriterLock.held`: only death takes it."""

    def release(self) -> None:
        """See `WriterLock.release`."""
        self._owner.unlink(missing_ok=True)
        self._lock.release()


class LeaseLock:
    """On an object store: an object that is put only if it is not there, and renewed by a thread while in use."""

    def __init__(self, objects: Objects, where: str) -> None:
        self._objects, self._where = objects, where
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._lost: dict[str, Any] | None = None
        self._renewed = 0.0
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """See `WriterLock.acquire`; a lease that was not renewed for `STALE_SECONDS` is taken over."""
        try:
            self._put(create=True)
        except FileExistsError:
            owner = self._read()
            if owner and time.time() - float(owner.get("renewed", 0)) < STALE_SECONDS:
                raise _busy(self._where, owner) from None
            self._put()
            # Two may find the same dead lease; whose put came last has it.
            time.sleep(SETTLE_SECONDS)
        self._check()
        self.held()
        self._stop.clear()
        self._thread = threading.Thread(target=self._renew, name="engine-lease", daemon=True)
        self._thread.start()

    def _put(self, *, create: bool = False) -> None:
        lease = orjson.dumps({**_me(), "token": self._token, "renewed": time.time()})
        self._objects.put(OWNER, lease, create=create)
        self._renewed = time.time()

    def _read(self) -> dict[str, Any]:
        try:
            owner = orjson.loads(self._objects.get(OWNER))
        except (FileNotFoundError, ValueError):
            return {}
        return owner if isinstance(owner, dict) else {}

    def _check(self) -> None:
        owner = self._read()
        if owner.get("token") != self._token:
            self._lost = owner

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_SECONDS) and self._lost is None:
            # A store that is away for a moment takes nobody's lease; the rows' own writes tell of it.
            with contextlib.suppress(OSError):
                self._check()
                if self._lost is None:
                    self._put()

    def held(self) -> None:
        """See `WriterLock.held`; a lease that could not be renewed for long may be another's by now."""
        late = time.time() - self._renewed
        if self._lost is None and late > STALE_SECONDS - RENEW_SECONDS:
            try:
                self._check()
                if self._lost is None:
                    self._put()
            except OSError as error:
                raise FolderBusyError(
                    f"{self._where}: its lease could not be renewed for {late:.0f} s ({error}), so another engine may "
                    "have it; run again when the store answers"
                ) from None
        if self._lost is not None:
            raise _busy(self._where, self._lost)

    def release(self) -> None:
        """See `WriterLock.release`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            self._check()
            if self._lost is None:
                self._objects.remove(OWNER)


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _busy(where: str, owner: dict[str, Any]) -> FolderBusyError:
    who = f" (pid {owner['pid']} on {owner['host']})" if {"pid", "host"} <= owner.keys() else ""
    return FolderBusyError(
        f"{where}: another engine{who} is writing here; wait until it ends, stop it, or choose another folder"
    )
