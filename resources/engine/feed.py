"""The feed: requests on their way from the intake's thread to the workers, a bounded number ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from resources.engine.requests import Prepared


class Feed:
    """Holds what is to be sent next.

    A deque that is filled a chunk at a time, rather than a queue with a hand-over for every request: that would cost
    as much as all else that a request costs here.
    """

    def __init__(self, chunk: Callable[[], list[Prepared] | None], ahead: int) -> None:
        """Prepare to read.

        Args:
            chunk: The next requests, None at the end; called in a thread of the feed's own.
            ahead: Requests at which reading pauses.
        """
        self._chunk = chunk
        self._ahead = ahead
        self._items: deque[Prepared] = deque()
        self._takers: deque[asyncio.Future[None]] = deque()
        self._room: asyncio.Future[None] | None = None
        self._ended = False

    async def run(self) -> None:
        """Read until the end."""
        # A thread of its own: reading, digesting and writing JSON must not hold up the replies.
        thread = ThreadPoolExecutor(1, thread_name_prefix="engine-intake")
        try:
            loop = asyncio.get_running_loop()
            while (chunk := await loop.run_in_executor(thread, self._chunk)) is not None:
                self._items.extend(chunk)
                self._tell(len(chunk))
                if len(self._items) >= self._ahead:
                    self._room = loop.create_future()
                    await self._room
            self._ended = True
            self._tell(len(self._takers))
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    def _tell(self, count: int) -> None:
        """Let so many waiting takers look."""
        while self._takers and count > 0:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                count -= 1

    async def take(self) -> Prepared | None:
        """The next request, or None when there are no more."""
        while not self._items:
            if self._ended:
                return None
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            await taker
        request = self._items.popleft()
        if self._room is not None and len(self._items) < self._ahead // 2 and not self._room.done():
            self._room.set_result(None)
        return request
