"""Running an ASGI application as a payload: a free port, one READY line, and an end that follows the parent's.

What the application answers is no business of this module.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp

_POLL_S = 0.5
_BACKLOG = 2048


class _AnnouncingServer(uvicorn.Server):
    """A server that prints `READY <address>` once it accepts connections."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(f"READY {self._address}", flush=True)


def serve(app: ASGIApp, host: str, port: int, exit_with_parent: bool) -> None:
    """Serve an application until SIGINT or SIGTERM.

    Args:
        app: the ASGI application.
        host: address to bind; loopback unless someone asked for more.
        port: port to bind, 0 for a free one. `READY http://host:port` goes to stdout once it accepts.
        exit_with_parent: also end when the starting process ends, however it ends.

    Raises:
        SystemExit: the address cannot be bound; the message says which and why.
    """
    if exit_with_parent:
        follow_parent()
    listener = _bound(host, port)
    name = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    server = _AnnouncingServer(config, f"http://{name}:{listener.getsockname()[1]}")
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def follow_parent() -> None:
    """Arrange for this process to get SIGTERM when its parent ends, however that ends.

    The kernel's own signal for this (PR_SET_PDEATHSIG) is not used: it fires when the *thread* that started us ends,
    and servers are started from worker threads.
    """
    threading.Thread(target=_outlive, args=(os.getppid(),), daemon=True).start()


def _outlive(parent: int) -> None:
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            select.select([os.pidfd_open(parent)], [], [])
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SystemExit(f"cannot serve on {host}:{port}: {error.strerror or error}; take another port") from None
    return listener
