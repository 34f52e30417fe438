"""A chat server for the tests: real HTTP, replies that depend on the request alone, and any fault asked of it."""

from __future__ import annotations

import asyncio
import collections
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web
from threaded_server import ThreadedServer

from resources.engine import Endpoint, EngineOptions, Request, Summary, generate, responses

Fault = Callable[[web.Request, dict, int], Awaitable[web.StreamResponse | None]]


def reply_to(body: dict) -> dict:
    """What the model answers: the prompt's last words, with reasoning, cut at the token limit."""
    prompt = body["messages"][-1]["content"]
    text = f"<think>\nabout {prompt} at seed {body.get('seed')}\n</think>\n\n<answer>{prompt}</answer>"
    size, limit = len(text.split()), body.get("max_tokens") or 1000
    return {
        "choices": [
            {
                "message": {"role": "assistant", "content": " ".join(text.split()[:limit]) if limit < size else text},
                "finish_reason": "length" if limit < size else "stop",
            }
        ],
        "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": min(limit, size)},
    }


class ChatServer(ThreadedServer):
    """Serves `/v1/chat/completions` and `/v1/models` on loopback; counts what it is asked."""

    def __init__(
        self, fault: Fault | None = None, latency: float = 0.002, port: int = 0, remember: bool = True
    ) -> None:
        super().__init__(port)
        self.fault, self.latency, self.remember = fault, latency, remember
        self.asked: collections.Counter[str] = collections.Counter()
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.in_flight = self.most_in_flight = 0

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["messages"][-1]["content"]
        self.asked[prompt] += 1
        if self.remember:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
            if self.fault is not None:
                response = await self.fault(request, body, self.asked[prompt])
                if response is not None:
                    return response
            return web.json_response(reply_to(body))
        finally:
            self.in_flight -= 1

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": []})

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        return app


def storm(share: float, seed: int = 0) -> Fault:
    """Faults of all kinds for a share of the attempts; each request succeeds in the end."""
    dice = random.Random(seed)

    async def fault(request: web.Request, body: dict, attempt: int) -> web.StreamResponse | None:
        if dice.random() >= share or attempt >= 4:
            return None
        kind = dice.choice(["429", "500", "503", "close", "broken", "html", "cut"])
        if kind == "429":
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.05"})
        if kind in ("500", "503"):
            return web.Response(status=int(kind), text="oops")
        if kind == "broken":
            return web.Response(text='{"choices": [{"mess', content_type="application/json")
        if kind == "html":
            return web.Response(text="<html>maintenance</html>", content_type="text/html")
        if kind == "cut":
            response = web.StreamResponse(headers={"Content-Length": "5000"})
            await response.prepare(request)
            await response.write(b'{"choices": [')
        request.transport.close()
        return web.Response()

    return fault


def ask(count: int, **sampling: Any) -> list[Request]:
    """Requests `r0`, `r1`, … with the prompts `question 0`, `question 1`, …"""
    sampling = {"seed": 1, **sampling}
    return [Request(f"r{i}", [{"role": "user", "content": f"question {i}"}], dict(sampling)) for i in range(count)]


def run(server: ChatServer, requests: Any, folder: Path, **options: Any) -> Summary:
    """Run the engine with waits that suit a test."""
    settings = {"concurrency": 32, "backoff_base": 0.02, "backoff_cap": 0.1, "timeout": 60.0, **options}
    return generate(requests, Endpoint(server.base_url, "tiny", "digest"), folder, EngineOptions(**settings))


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows by request_id; a row too many is an error."""
    frame: pl.DataFrame = responses(folder).collect()
    assert frame["request_id"].is_unique().all()
    return {row["request_id"]: row for row in frame.iter_rows(named=True)}


class Kit:
    """What the tests share."""

    ChatServer, storm, reply_to, ask, run, rows_of = (
        ChatServer,
        *map(staticmethod, (storm, reply_to, ask, run, rows_of)),
    )


@pytest.fixture
def kit() -> type[Kit]:
    return Kit


@pytest.fixture
def serve() -> Iterator[Callable[..., ChatServer]]:
    """Start servers that stop with the test."""
    servers: list[ChatServer] = []

    def start(*args: Any, **kwargs: Any) -> ChatServer:
        servers.append(ChatServer(*args, **kwargs).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
