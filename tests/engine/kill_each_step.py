"""Run a journal to its end twice, killed at its n-th step, for every n; then look at what is left, and run on.

A step is a rename, an unlink or a sync. `python kill_each_step.py FOLDER`; prints the number of kills.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from forked import in_child

from resources.engine import segments
from resources.engine.journal import COMPLETE, Journal
from resources.engine.keytable import KeyTable, key_of
from resources.engine.rows import Row

segments.FAN_IN = 2
COMMITS = 3


def row(number: int, digest: str) -> Row:
    text = f"{number} under {digest}"
    said = (f"r{number}", text, None, False, "stop", 1, 2, None, None, None, None, False)
    return Row(*said, 1, 0, 0, 0.0, 1.0, digest, None, "m")


def run(folder: Path, digest: str) -> None:
    """One run: two rows a commit, those that are on disk already not made again; acknowledged rows are written down."""
    with Journal(folder) as journal, (folder / f"acknowledged-{digest}").open("a") as acknowledged:
        known, asked = journal.reusable(), KeyTable()
        for number in range(0, 2 * COMMITS, 2):
            for each in (number, number + 1):
                asked.put(key_of(f"r{each}"), key_of(f"r{each}", digest))
            rows = [row(each, digest) for each in (number, number + 1) if known.get(key_of(f"r{each}", digest)) is None]
            journal.commit(rows)
            acknowledged.write("".join(f"{each.request_id}\n" for each in rows))
            acknowledged.flush()
        journal.finish(asked)
    (folder / f"finished-{digest}").touch()


def check(folder: Path) -> None:
    """What was acknowledged is there; what was finished is what a reader sees; running on ends as if undisturbed."""
    with Journal(folder) as journal:
        known = journal.reusable()
    first_over, second_over = (folder / "finished-a").exists(), (folder / "finished-b").exists()
    for digest in ("b",) if first_over else ("a",):
        path = folder / f"acknowledged-{digest}"
        for request_id in path.read_text().split() if path.exists() else ():
            assert known.get(key_of(request_id, digest)) is not None, f"{request_id} under {digest} is lost"
    if (folder / COMPLETE).exists():
        seen = read(folder)
        assert seen in (expected("a"), expected("b")), seen
        assert not second_over or seen == expected("b"), seen
    assert not second_over or (folder / COMPLETE).exists()
    for digest in ("a", "b"):
        run(folder, digest)
        assert read(folder) == expected(digest)
        assert len(list((folder / "responses").iterdir())) == 1


def read(folder: Path) -> list[tuple[Any, ...]]:
    # Not through polars: its threads do not survive a fork.
    rows: list[tuple[Any, ...]] = []
    for path in (folder / "responses").glob("*.parquet"):
        with pq.ParquetFile(path) as file:
            rows += [tuple(each.values()) for each in file.read(use_threads=False).to_pylist()]
    return sorted(rows)


def expected(digest: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row(number, digest)) for number in range(2 * COMMITS))


def kill_at(step: int) -> None:
    """Have this process killed before (even) or after (odd) its `step // 2`-th rename, unlink or sync."""
    steps = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps - 1 == step // 2 and step % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **kwargs)
            if steps - 1 == step // 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapper

    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    Path.unlink = counted(Path.unlink)  # type: ignore[method-assign]
    os.fsync = counted(os.fsync)


def main(root: Path) -> int:
    for step in range(10_000):
        folder = root / str(step)
        folder.mkdir()

        def doomed(step: int = step, folder: Path = folder) -> None:
            kill_at(step)
            run(folder, "a")
            run(folder, "b")

        code = in_child(doomed)
        if code == 0:
            print(step, "kills")
            return 0
        if code != -signal.SIGKILL or in_child(lambda folder=folder: check(folder)) != 0:  # type: ignore[misc]
            print(f"step {step}: exit code {code}, left in {folder}")
            return 1
        shutil.rmtree(folder)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
