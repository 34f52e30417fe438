"""Handlers that are told when nobody waits for them any more, and what an address or a form asks them for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MOST_BYTES = 1_000_000
LOOK_S = 0.2

Wanted = dict[str, str]
"""Fields of an address or a form."""
Handle = Callable[[Request, Wanted, threading.Event], Response]


def while_awaited(handle: Handle, kept: tuple[str, ...]) -> Callable[[Request], Any]:
    """A handler that runs in a thread, and is told when the browser has gone away or stopped loading.

    Args:
        handle: gets the request, the fields, and an event that is set when nobody waits any more.
        kept: the fields that it knows.
    """

    async def handled(request: Request) -> Response:
        _refuse_embedding(request)
        wanted = await _wanted(request, kept)
        gone = threading.Event()
        listener = asyncio.create_task(_listen(request, gone))
        try:
            return await run_in_threadpool(handle, request, wanted, gone)
        finally:
            listener.cancel()

    return handled


async def _listen(request: Request, gone: threading.Event) -> None:
    try:
        while not await request.is_disconnected():
            await asyncio.sleep(LOOK_S)
    finally:
        # Cancelled, too, means that nobody waits.
        gone.set()


def _refuse_embedding(request: Request) -> None:
    """Refuse what a page of another site asks behind its reader's back; a link there may lead here."""
    headers = request.headers
    is_link = request.method == "GET" and headers.get("sec-fetch-dest", "document") == "document"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link:
        raise HTTPException(403, "another site asked for this; open the explorer itself")


async def _wanted(request: Request, kept: tuple[str, ...]) -> Wanted:
    """What is asked for: by the address, or by a form where the SQL is too long for one."""
    if request.method != "POST":
        found = dict(request.query_params)
    else:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                raise HTTPException(413, f"this SQL has more than {MOST_BYTES:,} bytes: use `mbt sql`")
        found = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        # The button that was pressed says what it changes.
        found |= dict(parse_qsl(found.get("change", ""), keep_blank_values=True))
    return {name: found[name].replace("\r\n", "\n") for name in kept if name in found}
