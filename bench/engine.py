"""The generation engine next to other clients, against a loopback server, in one run.

The server answers each 6 kB prompt with 8 kB after 50 ms, from a process of its own; each measurement is a fresh
process too. Rounds alternate between the clients, so that a slow machine slows all of them.

    bare        aiohttp and orjson: sends the same bodies, parses the same replies, keeps nothing
    bare-uvloop the same on the event loop that the engine uses
    engine      the engine: exactly one durable row per request
    reference   1 024 threads, the openai client, all rows in memory, the whole table written at every tenth

    python bench/engine.py                    throughput and CPU of bare, bare-uvloop and engine
    python bench/engine.py --reference        the reference's pattern too (minutes)
    python bench/engine.py --scale            memory at 100 000 and 1 000 000 requests, and resuming with nothing to do
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import uvloop

from resources.engine import Endpoint, EngineOptions, Request, Summary, generate

SPAWN = multiprocessing.get_context("spawn")
REFERENCE_THREADS, REFERENCE_FLUSHES = 1024, 10
PROMPT_BYTES, RESPONSE_BYTES, LATENCY = 6_000, 8_000, 0.05
MODEL = "bench"


@dataclass(frozen=True)
class Figures:
    """What one measurement saw.

    Attributes:
        seconds: wall time.
        rate: requests a second.
        cpu: CPU milliseconds a request, all threads.
        peak: peak resident memory of the process, MB.
    """

    seconds: float
    rate: float
    cpu: float
    peak: float


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


def short_requests(count: int) -> Iterator[Request]:
    """Many small ones."""
    for number in range(count):
        messages = [{"role": "user", "content": f"question {number}"}]
        yield Request(f"r{number}", messages, {"temperature": 0.6, "seed": number, "max_tokens": 64})


class Server(asyncio.Protocol):
    """As little of an HTTP server as keeps the client the bottleneck."""

    bodies: list[bytes] = []  # noqa: RUF012
    short = b""

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
        size = int(self.buffer[start : self.buffer.find(b"\r\n", start)])
        if len(self.buffer) >= head + 4 + size:
            self.buffer = b""
            asyncio.get_running_loop().call_later(LATENCY, self.answer, size > PROMPT_BYTES)

    def answer(self, long: bool) -> None:
        """Send one of the replies."""
        if not self.transport.is_closing():
            self.transport.write(random.choice(self.bodies) if long else self.short)


def http(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def reply(seed: int, size: int = RESPONSE_BYTES) -> bytes:
    half = size // 2
    content = f"<think>\n{text(half, seed)}\n</think>\n\n{text(half, -seed)}"
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": 1500, "completion_tokens": 2000}
    return orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


def serve(pipe: Connection) -> None:
    async def run() -> None:
        Server.bodies = [http(reply(seed)) for seed in range(1, 513)]
        Server.short = http(reply(1, 60))
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


def reference(url: str, count: int, folder: Path) -> None:
    """Threads that block, rows that pile up, and all of them written again at every tenth."""
    import openai

    client = openai.OpenAI(base_url=url, api_key="none", max_retries=20, timeout=300)
    rows: list[dict[str, object]] = []

    def ask(request: Request) -> dict[str, object]:
        extra = {"temperature": 0.6, "seed": request.sampling["seed"], "max_tokens": 4096}
        reply = client.chat.completions.create(model=MODEL, messages=request.messages, **extra)  # type: ignore[call-overload]
        return {"request_id": request.request_id, "messages": request.messages, "reply": reply.model_dump_json()}

    with ThreadPoolExecutor(REFERENCE_THREADS) as pool:
        for row in pool.map(ask, list(requests(count))):
            rows.append(row)
            if len(rows) % (count // REFERENCE_FLUSHES) == 0:
                pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")


def engine(url: str, count: int, concurrency: int, folder: Path, source: Callable[[int], Iterator[Request]]) -> Summary:
    summary = generate(source(count), Endpoint(url, MODEL), folder, EngineOptions(concurrency=concurrency))
    assert summary.ok == count, summary
    return summary


def measure(pipe: Connection, name: str, url: str, count: int, concurrency: int, folder: str) -> None:
    """One measurement, in this process alone; the figures go to the pipe."""
    began, spent = time.monotonic(), cpu()
    if name == "bare":
        asyncio.run(bare(url, count, concurrency))
    elif name == "bare-uvloop":
        uvloop.run(bare(url, count, concurrency))
    elif name == "reference":
        reference(url, count, Path(folder))
    else:
        engine(url, count, concurrency, Path(folder), short_requests if name == "engine-short" else requests)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send(Figures(seconds, count / seconds, (cpu() - spent) / count * 1000, peak))


def in_process(name: str, url: str, count: int, concurrency: int, folder: str | None = None) -> Figures:
    with tempfile.TemporaryDirectory() as scratch:
        ours, theirs = SPAWN.Pipe()
        child = SPAWN.Process(target=measure, args=(theirs, name, url, count, concurrency, folder or scratch))
        child.start()
        theirs.close()
        figures: Figures = ours.recv()
        child.join()
    print(
        f"  {name:12} {count:8} requests  {figures.rate:7.0f}/s  {figures.cpu:.3f} CPU ms each  {figures.peak:5.0f} MB"
        f"  {figures.seconds:6.1f} s",
        flush=True,
    )
    return figures


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def throughput(url: str, args: argparse.Namespace) -> None:
    seen: dict[str, list[Figures]] = {"bare": [], "bare-uvloop": [], "engine": []}
    for name in seen:
        in_process(name, url, 1000, args.concurrency)
    for number in range(args.rounds):
        print(f"round {number + 1}")
        for name, figures in seen.items():
            figures.append(in_process(name, url, args.requests, args.concurrency))
    for base in ("bare", "bare-uvloop"):
        pairs = list(zip(seen["engine"], seen[base], strict=True))
        rate = spread([ours.rate / theirs.rate for ours, theirs in pairs])
        cost = spread([ours.cpu / theirs.cpu for ours, theirs in pairs])
        print(f"engine / {base}: throughput {rate}, CPU a request {cost}")
    if args.reference:
        theirs = in_process("reference", url, args.requests, args.concurrency)
        print(f"engine / reference: throughput {spread([ours.rate / theirs.rate for ours in seen['engine']])}")


def scale(url: str, concurrency: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        long = in_process("engine", url, 100_000, concurrency, folder)
        resumed = [in_process("engine", url, 100_000, concurrency, folder).seconds for _ in range(3)]
    short = in_process("engine-short", url, 1_000_000, concurrency)
    print(f"peak memory: {long.peak:.0f} MB at 100 000 requests, {short.peak:.0f} MB at 1 000 000 short ones")
    print(f"resuming 100 000 rows with nothing to do: {spread(resumed)} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference", action="store_true", help="measure the reference's pattern too")
    parser.add_argument("--scale", action="store_true", help="measure memory and resuming instead")
    args = parser.parse_args()
    ours, theirs = SPAWN.Pipe()
    server = SPAWN.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    if args.scale:
        scale(url, args.concurrency)
    else:
        throughput(url, args)
    server.kill()


if __name__ == "__main__":
    main()
