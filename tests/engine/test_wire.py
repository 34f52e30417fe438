"""The wire: what a server may send instead of an answer, byte by byte, and the kind that each row then carries."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.engine import Endpoint, EngineOptions, generate
from resources.engine.replies import KINDS

GOOD = json.dumps({"choices": [{"message": {"content": "<think>a</think>b"}, "finish_reason": "stop"}]}).encode()


def http(body: bytes, *, status: str = "200 OK", size: int | None = None, kind: str = "application/json") -> bytes:
    size = len(body) if size is None else size
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()
        + body
    )


REPLIES: dict[str, tuple[bytes, str | None]] = {
    "good": (http(GOOD), None),
    "html": (http(b"<!doctype html><h1>502</h1>", kind="text/html"), "html"),
    "cut off in the body": (http(GOOD[:20], size=500), "incomplete"),
    "cut off in a chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nff\r\n{",
        "incomplete",
    ),
    "nothing at all": (b"", "connection"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "connection"),
    "endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "connection"),
    "not UTF-8": (http(GOOD.replace(b"b", b"\xff")), "not_utf8"),
    "half a JSON": (http(GOOD[:-5]), "not_json"),
    "no choices": (http(b'{"choices": []}'), "no_choices"),
    "filtered": (http(GOOD.replace(b"stop", b"content_filter")), "content_filter"),
    "too long": (http(b'{"error": {"message": "maximum context length is 8"}}', status="400 Bad"), "context_too_long"),
    "redirect": (http(b"", status="302 Found"), "redirect"),
    "busy": (http(b"later", status="429 Too Many"), "rate_limited"),
}


@contextlib.contextmanager
def raw_server(answer) -> Iterator[str]:
    """A TCP server that answers each request with `answer(prompt)`, bytes as they are, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(size[1])) if size else b""
            writer.write(answer(json.loads(body)["messages"][-1]["content"]) if body else http(b"{}"))
            await writer.drain()
        writer.close()

    async def live() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
        started.append(server.sockets[0].getsockname()[1])
        loops.append(asyncio.get_running_loop())
        ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    started: list[int] = []
    loops: list[asyncio.AbstractEventLoop] = []
    ready = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert ready.wait(60)
    yield f"http://127.0.0.1:{started[0]}/v1"
    loops[0].call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loops[0])])
    thread.join(60)


def test_each_reply_is_a_row_of_its_own_kind_and_none_is_fatal(kit, tmp_path):
    names = list(REPLIES)
    requests = kit.ask(20 * len(names))
    options = EngineOptions(concurrency=16, max_attempts=1, timeout=60, outage_failures=10_000)
    with raw_server(lambda prompt: REPLIES[names[int(prompt.split()[-1]) % len(names)]][0]) as url:
        summary = generate(requests, Endpoint(url, "tiny"), tmp_path, options)
    rows = kit.rows_of(tmp_path)
    assert summary.total == len(rows) == len(requests)
    for number in range(len(requests)):
        name = names[number % len(names)]
        assert rows[f"r{number}"]["error_kind"] == REPLIES[name][1], (name, rows[f"r{number}"])
        assert len(rows[f"r{number}"]["error"] or "") < 500


@pytest.mark.parametrize("seed", range(3))
def test_replies_with_bytes_changed_at_random(kit, tmp_path, seed):
    dice = random.Random(seed)

    def spoilt(prompt: str) -> bytes:
        reply = bytearray(dice.choice(list(REPLIES.values()))[0])
        for _ in range(dice.randint(1, 8)):
            if reply:
                reply[dice.randrange(len(reply))] = dice.randrange(256)
        return bytes(reply[: dice.randint(0, len(reply))] if dice.random() < 0.3 else reply)

    options = EngineOptions(concurrency=16, max_attempts=2, timeout=1, backoff_base=0.01, outage_failures=10_000)
    with raw_server(spoilt) as url:
        summary = generate(kit.ask(150), Endpoint(url, "tiny"), tmp_path, options)
    rows = kit.rows_of(tmp_path)
    assert summary.total == len(rows) == 150
    assert {row["error_kind"] for row in rows.values()} <= {None, *KINDS}


FILL = """
import resource, signal, sys
from pathlib import Path
from resources.engine import Endpoint, EngineOptions, JournalError, Request, generate
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if len(sys.argv) > 3:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
requests = [Request(f"r{i}", [{"role": "user", "content": f"question {i} " + "x" * 4000}], {}) for i in range(400)]
try:
    print(generate(requests, Endpoint(sys.argv[1], "tiny"), Path(sys.argv[2]), EngineOptions(concurrency=8)))
except JournalError as error:
    print("JournalError:", error)
"""


def test_a_write_that_the_system_refuses_midway_loses_nothing_committed(serve, tmp_path):
    """No stand-in: the kernel lets no file of this process grow beyond a few kilobytes."""
    server = serve(latency=0.01)
    root = str(Path(__file__).parents[2])

    def run(*limit: str) -> str:
        command = [sys.executable, "-c", FILL, server.base_url, str(tmp_path / "out"), *limit]
        return subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60, check=True).stdout

    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    refused = run("4000")
    assert "cannot be written" in refused
    assert "What was committed before is kept" in refused
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert "total=400" in run()
