"""Flow: how many requests are under way at once, how long a failed one waits, and what happens in an outage.

Nothing here knows what is sent; it is driven by outcomes alone.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

from resources.engine.errors import EndpointDownError

START_LIMIT = 128
"""Requests at once before anything is known of the endpoint."""

RETRY_AFTER_LIMIT = 600.0
"""Seconds; a server that asks for more is asked again after this."""


def backoff(attempt: int, base: float, cap: float) -> float:
    """Full-jitter backoff: uniform between 0 and `base * 2**(attempt - 1)`, at most `cap`.

    Args:
        attempt: Attempts so far, from 1.
        base: Seconds.
        cap: Seconds.
    """
    return random.uniform(0.0, min(cap, base * 2.0 ** min(attempt - 1, 60)))


class Limiter:
    """Additive increase, multiplicative decrease of the number of requests under way.

    It starts at most at `START_LIMIT` and doubles each round trip until the first sign of congestion; from then on it
    grows by a 32nd of the ceiling (at least 1) each round trip. Each congested request takes half a slot away, so a
    round trip halves the limit if all its requests fail and lowers it by half their share if some do (as DCTCP does):
    faults that come at random do not starve a run, and the limit settles where the endpoint has room.

    Attributes:
        limit: requests at once, between 1 and the ceiling.
        in_flight: requests that hold a slot.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float]) -> None:
        self.limit = float(min(ceiling, START_LIMIT))
        self.in_flight = 0
        self._ceiling = ceiling
        self._clock = clock
        self._slow_start = True
        self._resume_at = float("-inf")
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def note(self) -> str | None:
        """One line that says that the endpoint asked to wait, or None."""
        wait = self._resume_at - self._clock()
        return f"the endpoint asks to wait {wait:.0f} s more" if wait > 1 else None

    async def acquire(self) -> None:
        """Wait for a slot."""
        while True:
            if (wait := self._resume_at - self._clock()) > 0:
                await asyncio.sleep(wait * random.uniform(1.0, 1.1))
                continue
            if self.in_flight >= int(self.limit):
                await self._queue()
            else:
                self.in_flight += 1
            if self._resume_at <= self._clock():
                return
            self.release()

    async def _queue(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back."""
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiters and self.in_flight < int(self.limit):
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)

    def succeeded(self) -> None:
        """Grow, if the limit is what holds requests back."""
        if self.limit >= self._ceiling or self.in_flight < int(self.limit) - 1:
            return
        step = 1.0 if self._slow_start else max(1.0, self._ceiling / 32) / self.limit
        self.limit = min(float(self._ceiling), self.limit + step)
        self._wake()

    def congested(self, retry_after: float | None = None) -> None:
        """Shrink; wait as the server asks.

        Args:
            retry_after: Seconds in which nothing is to be sent, or None.
        """
        self._slow_start = False
        self.limit = max(1.0, self.limit - 0.5)
        if retry_after:
            self._resume_at = max(self._resume_at, self._clock() + min(retry_after, RETRY_AFTER_LIMIT))


class Breaker:
    """Stops sending while the endpoint is down, and goes on when it is back.

    After `threshold` failures in a row that look like an outage the endpoint is probed. If it answers, the requests
    themselves are at fault and sending goes on; if not, everything waits until a probe succeeds.

    Attributes:
        note: one line that says what is waited for, or None.
    """

    def __init__(self, probe: Callable[[], Awaitable[str | None]], threshold: int, give_up: float, where: str) -> None:
        self.note: str | None = None
        self._probe = probe
        self._threshold = threshold
        self._give_up = give_up
        self._where = where
        self._failures = 0
        self._outage: asyncio.Task[bool] | None = None

    def answered(self) -> None:
        """The endpoint gave a sign of life."""
        self._failures = 0

    async def ready(self) -> None:
        """Wait until nothing speaks against sending.

        Raises:
            EndpointDownError: If the endpoint does not come back in time.
        """
        while self._outage is not None:
            await asyncio.shield(self._outage)

    async def failed(self) -> bool:
        """Count a failure that looks like an outage; if it is one, wait until it is over.

        Returns:
            True if the endpoint was down, so that the request is not to blame.

        Raises:
            EndpointDownError: If the endpoint does not come back in time.
        """
        self._failures += 1
        if self._outage is None:
            if self._failures < self._threshold:
                return False
            self._outage = asyncio.create_task(self._watch())
        return await asyncio.shield(self._outage)

    async def _watch(self) -> bool:
        since, delay = asyncio.get_running_loop().time(), 0.25
        down = False
        while (reason := await self._probe()) is not None:
            down = True
            waited = asyncio.get_running_loop().time() - since
            if waited >= self._give_up:
                raise EndpointDownError(
                    f"{self._where} has been down for {waited:.0f} s ({reason}). What was done is kept: start the "
                    "server, then run the same command again and only the rest is sent."
                )
            bound = f"giving up after {self._give_up:g} s"
            self.note = f"{self._where} is down ({reason}); paused for {waited:.0f} s, {bound}"
            await asyncio.sleep(min(random.uniform(0.5, 1.0) * delay, max(0.0, self._give_up - waited)))
            delay = min(15.0, delay * 2)
        self.note, self._failures, self._outage = None, 0, None
        return down

    def close(self) -> None:
        """Stop probing."""
        if self._outage is not None:
            self._outage.cancel()
