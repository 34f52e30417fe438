"""The circuit breaker: stops sending to an endpoint that is down, and goes on when it is back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

FIRST_PROBE_SECONDS, LONGEST_PROBE_SECONDS = 0.25, 15.0


class Breaker:
    """Watches one endpoint.

    After `threshold` failures in a row that look like an outage nothing more is sent and the endpoint is probed. If
    it answers, the requests themselves are at fault and sending goes on; if not, it is probed until it does.

    Attributes:
        closed: whether requests may be sent.
        down_since: monotonic time since which it has been down, or None.
        reason: what the last probe said, while it is down.
    """

    def __init__(self, probe: Callable[[], Awaitable[str | None]], threshold: int) -> None:
        self.closed = True
        self.down_since: float | None = None
        self.reason = ""
        self.on_change: Callable[[], None] = lambda: None
        self._probe = probe
        self._threshold = threshold
        self._failures = 0
        self._watch: asyncio.Task[None] | None = None
        self._verdict: asyncio.Future[bool] | None = None

    def answered(self) -> None:
        """The endpoint gave a sign of life."""
        self._failures = 0

    async def failed(self) -> bool:
        """Count a failure that looks like an outage.

        Returns:
            True if the endpoint turns out to be down, so that the request is not to blame.
        """
        if self.down_since is not None:
            return True
        self._failures += 1
        if self._verdict is None:
            if self._failures < self._threshold:
                return False
            self.closed = False
            self._verdict = asyncio.get_running_loop().create_future()
            self._watch = asyncio.create_task(self._until_back(self._verdict))
        return await asyncio.shield(self._verdict)

    async def _until_back(self, verdict: asyncio.Future[bool]) -> None:
        since, delay = time.monotonic(), FIRST_PROBE_SECONDS
        while (reason := await self._probe()) is not None:
            self.reason, self.down_since = reason, since
            if not verdict.done():
                verdict.set_result(True)
            self.on_change()
            await asyncio.sleep(random.uniform(0.5, 1.0) * delay)
            delay = min(LONGEST_PROBE_SECONDS, delay * 2)
        if not verdict.done():
            verdict.set_result(False)
        self.closed, self.down_since, self._failures, self._verdict = True, None, 0, None
        self.on_change()

    def stop(self) -> None:
        """Stop probing."""
        if self._watch is not None:
            self._watch.cancel()
