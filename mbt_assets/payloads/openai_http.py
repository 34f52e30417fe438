"""The OpenAI chat protocol over HTTP as both embedded servers speak it: routes, errors, and reading a request.

What a model replies is no business of this module.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_JSON = "application/json"


class RequestError(Exception):
    """A request that cannot be answered: HTTP status, message, the parameter at fault, and OpenAI's error code."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        self.status, self.param, self.code = status, param, code
        super().__init__(message)


def build_app(
    complete: Callable[[bytes], Coroutine[Any, Any, dict[str, Any]]], models: Callable[[], Iterable[str]], version: str
) -> Starlette:
    """Make the application.

    Args:
        complete: makes the body of a completion of the body of a request; raises RequestError.
        models: names of the models that can be asked for now.
        version: shown by `/health`.
    """

    async def completions(request: Request) -> Response:
        try:
            return _json(await _while_connected(request, complete(await request.body())))
        except RequestError as error:
            return _refusal(error)

    async def health(request: Request) -> Response:
        return _json({"status": "ok", "version": version})

    async def listing(request: Request) -> Response:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "mbt-assets"} for name in models()]
        return _json({"object": "list", "data": listed})

    routes = [
        Route("/health", health),
        Route("/v1/models", listing),
        Route("/v1/chat/completions", completions, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_route, Exception: _crashed})


def completion(model: str, choices: list[dict[str, Any]], prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """The body of a chat completion."""
    return {
        "id": f"chatcmpl-{time.time_ns():x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def choice(index: int, message: dict[str, Any], finish_reason: str) -> dict[str, Any]:
    """One choice of a completion."""
    return {"index": index, "message": message, "finish_reason": finish_reason, "logprobs": None}


def parsed(data: bytes) -> dict[str, Any]:
    """A request's body, with a model, messages, and nothing that would have to be ignored silently.

    Raises:
        RequestError: it is no such request; names the parameter.
    """
    try:
        asked = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"the request's body is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise RequestError(400, "the request's body must be a JSON object")
    if not isinstance(asked.get("model"), str):
        raise RequestError(400, "'model' must be a string", "model")
    _check_messages(asked.get("messages"))
    _check_common(asked)
    return asked


def token_limit(asked: Mapping[str, Any]) -> int | None:
    """The limit of generated tokens, under either of its names."""
    return asked.get("max_completion_tokens") or asked.get("max_tokens")


def stop_strings(asked: Mapping[str, Any]) -> list[str]:
    """The stop strings, whichever way they were given."""
    stop = asked.get("stop") or []
    return [text for text in ([stop] if isinstance(stop, str) else stop) if text]


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise RequestError(400, "'messages' must be a list of at least one message", "messages")
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise RequestError(400, "each message must be an object with the strings 'role' and 'content'", "messages")


def _check_common(asked: Mapping[str, Any]) -> None:
    if asked.get("stream"):
        raise RequestError(400, "'stream' is not served; leave it out", "stream")
    for name, least in (("max_tokens", 1), ("max_completion_tokens", 1), ("seed", None), ("n", 1)):
        value = asked.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and (least is None or value >= least)):
            raise RequestError(400, f"{name!r} must be a whole number{' above 0' if least else ''}", name)
    stop = asked.get("stop")
    listed = stop if isinstance(stop, list) else [stop or ""]
    if not all(isinstance(item, str) for item in listed):
        raise RequestError(400, "'stop' must be a string or a list of strings", "stop")


async def _while_connected(request: Request, reply: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Await a reply, and give it up when the client has gone: nobody would read it."""
    work, gone = asyncio.ensure_future(reply), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise RequestError(499, "the client closed the connection")
        return work.result()
    finally:
        work.cancel()
        gone.cancel()


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _refusal(RequestError(status, f"{request.method} {request.url.path}: no such route or method"))


async def _crashed(request: Request, error: Exception) -> Response:
    return _refusal(RequestError(500, f"the server failed on this request: {type(error).__name__}: {error}"))


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type=_JSON)


def _refusal(error: RequestError) -> Response:
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    body = {"message": str(error), "type": kind, "param": error.param, "code": error.code}
    return _json({"error": body}, error.status)
