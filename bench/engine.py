"""Throughput of the generation engine next to bare aiohttp, against a loopback server, in one run.

The bare loop sends the same bodies and parses the same replies, but keeps nothing. The server answers each 6 kB
prompt with 8 kB after 50 ms, from a process of its own. Pairs alternate, so that a slow machine slows both.

    python bench/engine.py [--requests 10000] [--concurrency 256] [--pairs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import orjson

from resources.engine import Endpoint, EngineOptions, Request, generate

PROMPT_BYTES, RESPONSE_BYTES, LATENCY = 6_000, 8_000, 0.05
MODEL = "bench"
Figures = tuple[float, float]
"""Requests a second, CPU milliseconds a request."""


def text(size: int, seed: int) -> str:
    """Words that compress about as well as prose."""
    dice = random.Random(seed)
    vocabulary = ["".join(dice.choices("etaoinshrdlu", k=dice.randint(2, 9))) for _ in range(800)]
    return " ".join(dice.choices(vocabulary, k=size // 4))[:size]


def requests(count: int) -> Iterator[Request]:
    """Prompts that differ, as those of a real run do."""
    prompt = text(PROMPT_BYTES, 1)
    for number in range(count):
        messages = [{"role": "user", "content": f"{number} {prompt}"}]
        yield Request(f"r{number}", messages, {"temperature": 0.6, "seed": number, "max_tokens": 4096})


class Server(asyncio.Protocol):
    """As little of an HTTP server as keeps the client the bottleneck."""

    bodies: list[bytes] = []  # noqa: RUF012

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer a whole request after the latency."""
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self.buffer.lower().find(b"content-length:") + 15
        if len(self.buffer) >= head + 4 + int(self.buffer[start : self.buffer.find(b"\r\n", start)]):
            self.buffer = b""
            asyncio.get_running_loop().call_later(LATENCY, self.answer)

    def answer(self) -> None:
        """Send one of the replies."""
        if not self.transport.is_closing():
            self.transport.write(random.choice(self.bodies))


def http(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def reply(seed: int) -> bytes:
    half = RESPONSE_BYTES // 2
    content = f"<think>\n{text(half, seed)}\n</think>\n\n{text(half, -seed)}"
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 1500, "completion_tokens": 2000}
    return orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


def serve(pipe: Connection) -> None:
    async def run() -> None:
        Server.bodies = [http(reply(seed)) for seed in range(1, 65)]
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def bare(url: str, count: int, concurrency: int) -> None:
    """What the wire allows: bodies out, replies parsed, nothing kept."""
    source = requests(count)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for request in source:
                body = orjson.dumps({"model": MODEL, "messages": request.messages, **request.sampling})
                headers = {"Content-Type": "application/json"}
                async with session.post(f"{url}/chat/completions", data=body, headers=headers) as response:
                    orjson.loads(await response.read())["choices"][0]["message"]["content"]

        await asyncio.gather(*(work() for _ in range(concurrency)))


def measure(name: str, url: str, count: int, concurrency: int) -> Figures:
    began, spent = time.monotonic(), cpu()
    if name == "bare":
        asyncio.run(bare(url, count, concurrency))
    else:
        with tempfile.TemporaryDirectory() as folder:
            options = EngineOptions(concurrency=concurrency)
            summary = generate(requests(count), Endpoint(url, MODEL), Path(folder), options)
            assert summary.ok == count, summary
    return count / (time.monotonic() - began), (cpu() - spent) / count * 1000


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    rates, costs = [], []
    for pair in range(args.pairs + 1):  # The first pair warms up and is not counted.
        size = args.requests if pair else 1000
        figures = {name: measure(name, url, size, args.concurrency) for name in ("bare", "engine")}
        for name, (rate, cost) in figures.items():
            print(f"{'warm-up' if not pair else f'pair {pair}'}  {name:6}  {rate:7.0f} req/s  {cost:.3f} CPU ms/req")
        if pair:
            rates.append(figures["engine"][0] / figures["bare"][0])
            costs.append(figures["engine"][1] / figures["bare"][1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"throughput, engine / bare: {spread(rates)}; CPU a request: {spread(costs)}; peak memory {peak:.0f} MB")
    server.kill()


if __name__ == "__main__":
    main()
