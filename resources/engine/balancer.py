"""The balancer: which of several endpoints of one model a request goes to, and the wait for a free place."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

from resources.engine.breaker import Breaker
from resources.engine.client import ChatClient, Endpoint
from resources.engine.errors import EndpointDownError, EndpointRefusedError
from resources.engine.flow import Limiter, Rates
from resources.engine.options import EngineOptions
from resources.engine.replies import Completion, Failure

FAR_SECONDS = 1.0
"""An endpoint whose next turn lies further ahead is chosen only if no other is free."""


class Channel:
    """One endpoint with what is known of it: how much it bears, and whether it is there."""

    def __init__(self, endpoint: Endpoint, options: EngineOptions) -> None:
        self.endpoint = endpoint
        self.client = ChatClient(endpoint, options.timeout)
        self.limiter = Limiter(options.concurrency, time.monotonic)
        # Asked no later than one request gives up: it may be all that is left.
        self.breaker = Breaker(self.client.probe, min(options.outage_failures, options.max_attempts))
        self.refused = ""
        self._most_refusals = options.refusals
        self._refusals, self._answered = 0, False
        limits = (endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._rates = Rates(*limits, time.monotonic) if any(limits) else None

    @property
    def load(self) -> tuple[bool, float]:
        """Whether its next turn is far off, and the share of its limit that is under way."""
        far = self._rates is not None and self._rates.ahead() > FAR_SECONDS
        return far, self.limiter.in_flight / self.limiter.limit

    @property
    def open(self) -> bool:
        """Whether it may be sent to, places aside."""
        return self.breaker.closed and not self.refused and self.limiter.resume_at <= time.monotonic()

    async def send(self, body: bytes) -> tuple[Completion | Failure | None, float]:
        """Send a body in its turn; the outcome, and the time of the clock at which it was sent.

        None instead of an outcome says that it was not sent: the endpoint closed before its turn came.
        """
        if self._rates is None:
            began = time.monotonic()
            return await self.client.send(body), began
        wait, reserved = self._rates.reserve(len(body))
        if wait > 0:
            await asyncio.sleep(wait)
        began = time.monotonic()
        if not self.open:
            return None, began
        outcome = await self.client.send(body)
        if isinstance(outcome, Completion) and outcome.completion_tokens is not None:
            self._rates.used(reserved, outcome.prompt_tokens or 0, outcome.completion_tokens)
        return outcome, began

    def learn(self, outcome: Completion | Failure) -> None:
        """Let an outcome steer what follows."""
        if isinstance(outcome, Completion):
            self._refusals, self._answered = 0, True
            self.limiter.succeeded()
            self.breaker.answered()
            return
        if outcome.meaning.refusal:
            self._refusals += 1
            # Once it has answered, it takes more to say that a key was withdrawn and not that a prompt is unwelcome.
            if self._refusals >= self._most_refusals * (10 if self._answered else 1):
                self.refused = outcome.message
        elif not outcome.meaning.congestion:
            self._refusals = 0
        if outcome.meaning.congestion:
            self.limiter.congested(outcome.retry_after)
        if not outcome.meaning.outage:
            self.breaker.answered()


class Balancer:
    """Hands out places at the least loaded endpoint that is up; an async context manager."""

    def __init__(self, endpoints: Sequence[Endpoint], options: EngineOptions) -> None:
        self.channels = [Channel(endpoint, options) for endpoint in endpoints]
        self._give_up = options.give_up_seconds
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._error: EndpointDownError | None = None

    async def __aenter__(self) -> Balancer:
        for channel in self.channels:
            await channel.client.__aenter__()
            channel.breaker.on_change = self._look
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self.channels:
            channel.breaker.stop()
            await channel.client.__aexit__(None, None, None)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return sum(channel.limiter.in_flight for channel in self.channels)

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return sum(int(channel.limiter.limit) for channel in self.channels if channel.breaker.closed)

    def note(self) -> str | None:
        """One line that says what is waited for, or None."""
        return "; ".join(filter(None, map(self._note_of, self.channels))) or None

    def _note_of(self, channel: Channel) -> str | None:
        if channel.refused:
            return f"{channel.endpoint.base_url} refuses every request ({channel.refused}) and is asked no more"
        since = channel.breaker.down_since
        if since is None:
            return channel.limiter.note
        what = f"{channel.endpoint.base_url} is down ({channel.breaker.reason})"
        if not self._all_down():
            return f"{what}; the others go on without it"
        return f"{what}; paused for {time.monotonic() - since:.0f} s, giving up after {self._give_up:g} s"

    async def place(self) -> Channel:
        """Wait for a place; whoever gets one gives it back with `leave`.

        Raises:
            EndpointDownError: If no endpoint came back within the give-up time.
            EndpointRefusedError: If every endpoint refuses whatever is asked.
        """
        while (channel := self._best()) is None:
            if self._error is not None:
                raise self._error
            self.look_for_refusal()
            await self._turn()
        channel.limiter.in_flight += 1
        return channel

    def look_for_refusal(self) -> None:
        """End the run where there is nobody left to ask.

        Raises:
            EndpointRefusedError: If every endpoint refuses whatever is asked.
        """
        if all(channel.refused for channel in self.channels):
            said = (
                f"{channel.endpoint.base_url} refuses every request: {channel.refused}" for channel in self.channels
            )
            raise EndpointRefusedError("; ".join(said))

    def leave(self, channel: Channel) -> None:
        """Give a place back."""
        channel.limiter.in_flight -= 1
        if self._waiters:
            self._wake()

    def _best(self) -> Channel | None:
        best = None
        for channel in self.channels:
            free = channel.breaker.closed and not channel.refused and channel.limiter.room
            if free and (best is None or channel.load < best.load):
                best = channel
        return best

    async def _turn(self) -> None:
        """Wait until it is worth looking again."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.append(waiter)
        now = time.monotonic()
        pauses = [channel.limiter.resume_at - now for channel in self.channels if channel.limiter.resume_at > now]
        timer = loop.call_later(min(pauses), self._wake) if pauses else None
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        """Let as many look again as there are free places, and one more: a limit may have grown."""
        free = 1 + sum(
            max(0, int(channel.limiter.limit) - channel.limiter.in_flight)
            for channel in self.channels
            if channel.breaker.closed
        )
        while self._waiters and free > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

    def _all_down(self) -> bool:
        return all(channel.breaker.down_since is not None for channel in self.channels)

    def _look(self) -> None:
        """An endpoint went down, came back, or is still down."""
        if self._all_down():
            now = time.monotonic()
            waited = min(now - (channel.breaker.down_since or now) for channel in self.channels)
            if waited >= self._give_up:
                self._error = self._down(waited)
            else:
                asyncio.get_running_loop().call_later(self._give_up - waited, self._look)
        if self._error is not None:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()
        else:
            self._wake()

    def _down(self, waited: float) -> EndpointDownError:
        where = " and ".join(f"{channel.endpoint.base_url} ({channel.breaker.reason})" for channel in self.channels)
        have = "has" if len(self.channels) == 1 else "have"
        return EndpointDownError(
            f"{where} {have} been down for {waited:.0f} s. What was done is kept: start the server, then run the same "
            "command again and only the rest is sent."
        )
