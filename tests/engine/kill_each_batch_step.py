"""Run batches to their end, killed at the n-th step, for many n; then run on, and see that every request has its row.

A step is a rename, an unlink, a sync or a call to the server. `python kill_each_batch_step.py URL FOLDER STRIDE`
prints the number of kills; the server knows how often each request was run.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from forked import in_child

from resources.engine import Endpoint, EngineOptions, Request, batch_client, batch_results, generate
from resources.engine.batch_client import BatchClient

batch_client.SETTLE_SECONDS = 0.05
batch_results.COMMIT_ROWS = 3
REQUESTS = 12


def run(url: str, folder: Path) -> None:
    requests = (Request(f"r{i}", [{"role": "user", "content": f"{folder.name} {i}"}]) for i in range(REQUESTS))
    options = EngineOptions(batch_poll_seconds=0.01, batch_requests=6, progress_seconds=0.01)
    generate(requests, Endpoint(url, "tiny", batch=True), folder, options)


def check(url: str, folder: Path) -> None:
    run(url, folder)
    # Not through polars: its threads do not survive a fork.
    paths = sorted((folder / "responses").glob("*.parquet"))
    rows = [row for path in paths for row in pq.ParquetFile(path).read(use_threads=False).to_pylist()]
    assert sorted(row["request_id"] for row in rows) == sorted(f"r{i}" for i in range(REQUESTS))
    assert all(f"about {folder.name} {row['request_id'][1:]} at" in row["response"] for row in rows)
    assert list((folder / "batches").iterdir()) == []


def kill_at(step: int) -> None:
    """Have this process killed before (even) or after (odd) its `step // 2`-th step."""
    steps = 0

    def before() -> bool:
        nonlocal steps
        steps += 1
        if steps - 1 == step // 2 and step % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return steps - 1 == step // 2

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            last, result = before(), call(*args, **kwargs)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        async def waiting(*args: Any, **kwargs: Any) -> Any:
            last, result = before(), await call(*args, **kwargs)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return waiting if inspect.iscoroutinefunction(call) else wrapper

    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]
    os.fsync = counted(os.fsync)
    for name in ("upload", "create", "state", "read"):
        setattr(BatchClient, name, counted(getattr(BatchClient, name)))


def main(url: str, root: Path, stride: int) -> int:
    for step in range(0, 10_000, stride):
        folder = root / str(step)

        def doomed(step: int = step, folder: Path = folder) -> None:
            kill_at(step)
            run(url, folder)

        code = in_child(doomed)
        if code == 0:
            print(step // stride, "kills")
            return 0
        if code != -signal.SIGKILL or in_child(lambda folder=folder: check(url, folder)) != 0:  # type: ignore[misc]
            print(f"step {step}: exit code {code}, left in {folder}")
            return 1
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
