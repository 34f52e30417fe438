"""Deadlines: ends what takes too long, with one clock for all requests.

A timer for each request, which is what aiohttp sets, costs a seventh of all that sending one costs.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any


class Deadlines:
    """Cancels the tasks whose attempt has lasted `seconds`; each asks afterwards whether that is why."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._every = min(1.0, seconds / 20)
        # All have the same time, so the first to come is the first to go.
        self._began: dict[asyncio.Task[Any], float] = {}
        self._passed: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Task[Any]:
        """Start the current task's time; hand what this returns to `end`."""
        task = asyncio.current_task()
        assert task is not None
        self._began[task] = time.monotonic()
        if self._timer is None:
            self._timer = task.get_loop().call_later(self._every, self._look)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Stop a task's time."""
        self._began.pop(task, None)

    def passed(self, task: asyncio.Task[Any]) -> bool:
        """Whether a cancellation that a task has just caught is the end of its time, and nothing else."""
        if task not in self._passed:
            return False
        self._passed.discard(task)
        # As asyncio's own time-outs do: whoever else has cancelled it means it.
        return task.uncancel() == 0

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        late = []
        for task, began in self._began.items():
            if now - began < self._seconds:
                break
            late.append(task)
        for task in late:
            del self._began[task]
            self._passed.add(task)
            task.cancel()
        if self._began:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
