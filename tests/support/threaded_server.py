"""A real HTTP server in a thread of the tests' own process, so that a test can look into it and stop it."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import threading
from typing import Self

from aiohttp import web


class ThreadedServer(abc.ABC):
    """Serves an application on loopback; what it knows outlives `stop` and `start`.

    Attributes:
        port: where it listens; 0 until it was started, unless one is asked for.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @abc.abstractmethod
    def application(self) -> web.Application:
        """What is served."""

    async def _serve(self) -> None:
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=4096)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    def start(self) -> Self:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # Stopped before, by the test.
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
