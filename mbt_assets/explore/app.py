"""The web application: its routes, what every response carries, and how errors look."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mbt_assets.explore import NotFound, cell, compare, grid, query, trace, training
from mbt_assets.explore.source import Source
from mbt_assets.explore.view import HERE, View
from resources.lake import LakeError
from resources.warehouse import QueryError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
PAGES = (grid, cell, trace, compare, training, query)
HEADERS = {
    # Whatever a model wrote: no script but ours runs, and nothing is fetched from anywhere else.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def build(source: Source, hosts: tuple[str, ...] = LOOPBACK) -> Starlette:
    """The explorer.

    Args:
        source: what it reads.
        hosts: names under which it may be called: pages of other sites cannot reach it under a name of theirs.
    """
    view = View(source)
    routes: list[Any] = [route for page in PAGES for route in page.routes(source, view)]
    routes.append(Mount("/static", StaticFiles(directory=HERE / "static"), name="static"))
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
            Middleware(WithHeaders),
            Middleware(GZipMiddleware, minimum_size=2048, compresslevel=4),
        ],
        exception_handlers={
            NotFound: _shown(view, 404),
            QueryError: _shown(view, 400),
            LakeError: _shown(view, 503),
            HTTPException: _shown(view, 404),
            500: _shown(view, 500),
        },
    )


class WithHeaders:
    """Puts HEADERS on every response that does not say otherwise.

    Args:
        app: that answers.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; `receive` goes through as it is, so that pages are told when a browser has gone away."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, sending)


def _shown(view: View, status: int) -> Callable[[Request, Exception], Response]:
    """A handler that shows an error as a page."""

    def show(request: Request, error: Exception) -> Response:
        code = error.status_code if isinstance(error, HTTPException) else status
        if isinstance(error, HTTPException) and code == 404:
            message = f"there is no page {request.url.path}"
        elif code == 500:
            # Starlette raises it again for the log.
            message = f"{type(error).__name__}: {error}. The terminal that runs `mbt explore` has the traceback."
        else:
            message = getattr(error, "detail", None) or str(error)
        response = view.page(request, "error.html", code, title=HTTPStatus(code).phrase, message=message)
        # What fails outside of the middleware is answered outside of it, too.
        response.headers.update(HEADERS)
        return response

    return show
