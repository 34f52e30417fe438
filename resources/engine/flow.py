"""Flow: how many requests are under way at once, how many a minute, and how long a failed one waits.

Nothing here knows what is sent, and nothing waits; it is driven by outcomes and a clock.
"""

from __future__ import annotations

import random
from collections.abc import Callable

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
        in_flight: requests that hold a slot; whoever takes or gives one back counts it here.
        resume_at: time of the clock before which the server wants no requests.
    """

    def __init__(self, ceiling: int, clock: Callable[[], float]) -> None:
        self.limit = float(min(ceiling, START_LIMIT))
        self.in_flight = 0
        self.resume_at = float("-inf")
        self._ceiling = ceiling
        self._clock = clock
        self._slow_start = True

    @property
    def room(self) -> bool:
        """Whether one more request may be sent now."""
        return self.in_flight < int(self.limit) and self.resume_at <= self._clock()

    @property
    def note(self) -> str | None:
        """One line that says that the endpoint asked to wait, or None."""
        wait = self.resume_at - self._clock()
        return f"the endpoint asks to wait {wait:.0f} s more" if wait > 1 else None

    def succeeded(self) -> None:
        """Grow, if the limit is what holds requests back."""
        if self.limit >= self._ceiling or self.in_flight < int(self.limit) - 1:
            return
        step = 1.0 if self._slow_start else max(1.0, self._ceiling / 32) / self.limit
        self.limit = min(float(self._ceiling), self.limit + step)

    def congested(self, retry_after: float | None = None) -> None:
        """Shrink; wait as the server asks.

        Args:
            retry_after: Seconds in which nothing is to be sent, or None.
        """
        self._slow_start = False
        self.limit = max(1.0, self.limit - 0.5)
        if retry_after:
            self.resume_at = max(self.resume_at, self._clock() + min(retry_after, RETRY_AFTER_LIMIT))


class Rate:
    """At most so much a minute, evenly spread: each use is told when its turn is.

    The generic cell rate algorithm without a burst, so that no minute, wherever it begins, sees more than its share
    and one use.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._seconds = 60.0 / per_minute
        self._clock = clock
        self._next = clock()

    def reserve(self, amount: float) -> float:
        """Take a turn for `amount`; seconds until it begins."""
        now = self._clock()
        begin = max(now, self._next)
        self._next = begin + amount * self._seconds
        return begin - now

    def ahead(self) -> float:
        """Seconds until a turn taken now would begin."""
        return max(0.0, self._next - self._clock())

    def correct(self, amount: float) -> None:
        """Count `amount` more (or less) than was reserved."""
        self._next += amount * self._seconds


class Rates:
    """An endpoint's limits of requests and tokens a minute."""

    def __init__(self, requests: float | None, tokens: float | None, clock: Callable[[], float]) -> None:
        self._requests = Rate(requests, clock) if requests else None
        self._tokens = Rate(tokens, clock) if tokens else None
        self._mean = 0.0

    def reserve(self, prompt_bytes: int) -> tuple[float, float]:
        """Take a turn for one request.

        Args:
            prompt_bytes: Size of its body; four bytes are taken for one token until the server has counted.

        Returns:
            Seconds to wait, and the tokens that were reserved.
        """
        wait = self._requests.reserve(1.0) if self._requests else 0.0
        expected = prompt_bytes / 4 + self._mean
        return (max(wait, self._tokens.reserve(expected)) if self._tokens else wait), expected

    def ahead(self) -> float:
        """Seconds until a turn taken now would begin."""
        return max(rate.ahead() for rate in (self._requests, self._tokens) if rate)

    def used(self, reserved: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Learn what a request really took."""
        if self._tokens:
            self._tokens.correct(prompt_tokens + completion_tokens - reserved)
            self._mean = completion_tokens if not self._mean else self._mean + (completion_tokens - self._mean) / 16
