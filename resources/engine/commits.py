"""Group commit: rows that finish close together share one write and one sync, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from resources.engine.rows import Row

FULL_BYTES = 8 << 20
"""Rows that are committed before their window is over: memory that was just used is cheaper than new."""

PENDING_BYTES = 32 << 20
"""Rows that wait for the disk; above this whoever adds a row waits with it."""


class GroupCommit:
    """Gathers rows and commits them every `window` seconds."""

    def __init__(self, commit: Callable[[Sequence[Row]], None], window: float) -> None:
        self._commit = commit
        self._window = window
        self._rows: list[Row] = []
        self._taken: list[Row] = []
        self._bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._full = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine-commit")

    async def add(self, row: Row) -> None:
        """Hand a row over; waits while the disk lags behind."""
        self._rows.append(row)
        self._bytes += row.size
        self._changed.set()
        if self._bytes >= FULL_BYTES:
            self._full.set()
        if self._bytes >= PENDING_BYTES:
            self._room.clear()
            await self._room.wait()

    def close(self) -> None:
        """Let `run` end once everything is committed."""
        self._closing = True
        self._changed.set()
        self._full.set()

    async def run(self) -> None:
        """Commit until closed; on cancellation commit what there is, then end.

        Raises:
            JournalError: If the disk refuses.
        """
        try:
            while not (self._closing and not self._rows):
                await self._changed.wait()
                await self._window_over()
                await self._flush()
        finally:
            # Waits for a commit under way, which cancellation does not stop, and makes up for one that it did.
            self._thread.shutdown(wait=True)
            self._taken += self._take()
            self._commit_taken()

    async def _window_over(self) -> None:
        if not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._window):
                    await self._full.wait()

    async def _flush(self) -> None:
        self._taken = self._take()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._commit_taken)

    def _commit_taken(self) -> None:
        self._commit(self._taken)
        self._taken = []

    def _take(self) -> list[Row]:
        rows, self._rows, self._bytes = self._rows, [], 0
        self._room.set()
        if not self._closing:
            self._changed.clear()
            self._full.clear()
        return rows
