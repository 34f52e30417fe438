"""Milliseconds that the explorer's pages take at the paper study's size, in a real browser.

Run: `python bench/explore.py [--folder FOLDER] [--big 14] [--rounds 7]`. Makes up the paper study's 138 cells of 7 405
rollouts, one of them with texts of 4 000 characters, and a cell of 7 405 × 14 = 103 670 such rollouts; then runs
`mbt explore` as its user does, and Debian's Chromium. Times are medians with their range: of the first paint of each
page, and of a filter, a text search, a sort and a jump to the end of the list, from the click until the browser has
painted what it led to. Beside it: the same filter and search where a partition is loaded whole and filtered in Python.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import explore_lake  # noqa: E402
from bench.explore_lake import BIG, DATASET, USUAL  # noqa: E402
from mbt_assets.definitions import Platform, build_platform  # noqa: E402
from partitions.grid import Node, cell_key  # noqa: E402
from partitions.study_file import load_study  # noqa: E402
from resources.home import Home  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, (os.environ.get("MBT_CHROMIUM", ""), "chromium"))), None)
LINEAGE = "SELECT variant, avg(exact_match) AS em, avg(completion_tokens) AS tokens FROM lineage GROUP BY ALL"
WORDS = ("house", "qu", "tra", "ion", "ze", "mor", "ack", "ule", "ent", "ist", "ob", "gra")
SORTS = ("tokens", "arrival", "redundancy", "f1", "l_obs", "exact_match", "verdict", "predicted", "gold", "flags")
FILTERS = (("answer", "right"), ("answer", "wrong"), ("judged", "A"), ("tier", "hard"), ("phase", "1"), ("judged", "B"))
PAINT = """async () => {
  const of = () => performance.getEntriesByName('first-contentful-paint')[0];
  while (!of()) await new Promise((done) => setTimeout(done, 5));
  return of().startTime;
}"""
SERVED = "(() => { const t = performance.getEntriesByType('navigation')[0]; return t.responseEnd - t.requestStart; })()"
SWAPPED = """
  const list = document.getElementById('list');
  const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const swapped = new Promise((done) => new MutationObserver((_, seen) => {
    if (document.getElementById('list') === list) return;
    seen.disconnect();
    done();
  }).observe(document.body, { childList: true, subtree: true }));
  const start = performance.now();
"""
CHOOSE = f"""async ([name, value]) => {{ {SWAPPED}
  const field = document.querySelector(`#filters [name=${{name}}]`);
  field.value = value;
  field.dispatchEvent(new Event('change', {{ bubbles: true }}));
  await swapped; await painted();
  return performance.now() - start;
}}"""
SORT = f"""async ([name]) => {{ {SWAPPED}
  document.querySelector(`#list a[data-swap="${{name}}"]`).click();
  await swapped; await painted();
  return performance.now() - start;
}}"""
TO_END = """async () => {
  const box = document.querySelector('.rollouts');
  const last = Number(box.dataset.count) - 1;
  const start = performance.now();
  box.scrollTop = box.scrollHeight;
  while (!box.querySelector(`tr[data-place="${last}"]`)) await new Promise((done) => requestAnimationFrame(done));
  await new Promise((done) => requestAnimationFrame(done));
  return performance.now() - start;
}"""


def spread(milliseconds: list[float]) -> str:
    return f"{statistics.median(milliseconds):6.0f} ms ({min(milliseconds):.0f} to {max(milliseconds):.0f})"


@contextlib.contextmanager
def serving(home: Path) -> Iterator[tuple[str, int]]:
    """`mbt explore` as a process; gives its address and number."""
    command = [sys.executable, "-m", "mbt_assets.cli.main", "explore", "--study", "paper", "--port", "0"]
    environment = os.environ | {"MBT_HOME": str(home)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                yield found[0], process.pid
                break
        else:
            raise SystemExit(f"mbt explore ended with {process.wait()}")
    finally:
        process.terminate()
        process.wait()


def peak_mb(pid: int) -> float:
    """Most memory that a process had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def paints(page: Any, address: str, rounds: int) -> tuple[float, list[float], list[float]]:
    """First paint of a page that nobody has asked for yet, then of each further visit, and what its server took."""
    first, painted, served = 0.0, [], []
    for number in range(rounds + 1):
        reply = page.goto(address)
        if not reply.ok:
            raise SystemExit(f"{address} answers {reply.status}")
        paint = page.evaluate(PAINT)
        if number == 0:
            first = paint
            continue
        painted.append(paint)
        served.append(page.evaluate(SERVED))
    return first, painted, served


def list_times(page: Any, address: str, rounds: int) -> dict[str, list[float]]:
    """What changes of the list take: each time another one, which nothing was kept of."""
    found: dict[str, list[float]] = {"filter": [], "search": [], "sort": [], "to the end": []}
    for number in range(rounds):
        page.goto(address)
        found["to the end"].append(page.evaluate(TO_END))
        page.goto(address)
        found["filter"].append(page.evaluate(CHOOSE, list(FILTERS[number % len(FILTERS)])))
        page.goto(address)
        found["search"].append(page.evaluate(CHOOSE, ["find", WORDS[number % len(WORDS)]]))
        page.goto(address)
        found["sort"].append(page.evaluate(SORT, [SORTS[number % len(SORTS)]]))
    return found


def whole(platform: Platform, variant: str, word: str) -> int:
    """The other way: the cell's rollouts, questions and scores in memory whole, filtered there."""
    lake, key = platform.artifacts.lake, cell_key(DATASET, variant)
    rollouts = pl.read_parquet(str(lake.path(Node("validation_rollouts", key))))
    questions = pl.read_parquet(str(lake.path(Node("validation_questions", DATASET))))
    scores = pl.read_parquet(str(lake.path(Node("answer_scores", key)))).select("question_id", "rollout_id", "f1")
    joined = rollouts.join(questions, on="question_id").join(scores, on=["question_id", "rollout_id"])
    held = pl.any_horizontal(pl.col(name).str.to_lowercase().str.contains(word, literal=True) for name in TEXTS)
    return joined.filter(held).head(100).height


def paged(platform: Platform, variant: str, word: str) -> int:
    """The explorer's way, without its page."""
    from mbt_assets.explore.rollouts import choose
    from mbt_assets.explore.source import Source

    global _source
    _source = _source or Source(platform)
    return choose(_source.cells, DATASET, variant, {"find": word}).rows(0, 100).height


TEXTS = ("question", "answer", "reasoning", "content")
_source: Any = None


def way(name: str, home: str, variant: str, words: tuple[str, ...], sent: Any) -> None:
    """Times one way in a process of its own, and tells its memory."""
    platform = build_platform(load_study("paper"), Home(Path(home), "paper"))
    run: Callable[[Platform, str, str], int] = {"whole": whole, "paged": paged}[name]
    seconds = []
    for word in words:
        start = time.perf_counter()
        run(platform, variant, word)
        seconds.append(1000 * (time.perf_counter() - start))
    # Not what getrusage tells: a process starts there with the peak of the one that started it.
    sent.send((seconds, peak_mb(os.getpid())))


def ways(home: Path, variant: str, rounds: int) -> None:
    context = multiprocessing.get_context("spawn")
    for name in ("paged", "whole"):
        here, there = context.Pipe()
        process = context.Process(target=way, args=(name, str(home), variant, WORDS[: rounds + 1], there))
        process.start()
        times, peak = here.recv()
        process.join()
        told = "DuckDB, a page of rows" if name == "paged" else "loaded whole into polars"
        print(f"  search, {told}: first {times[0]:.0f} ms, then {spread(times[1:])}; peak {peak:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=int, default=7405)
    parser.add_argument("--big", type=int, default=14, help="rollouts of each question in the big cell")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="a home that an earlier run with this option made, or is to make")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch:
        home = (arguments.folder or Path(scratch)).absolute()
        platform = build_platform(load_study("paper"), Home(home, "paper"))
        if not platform.home.warehouse.exists():
            start = time.perf_counter()
            explore_lake.fill(platform, arguments.questions, arguments.big)
            print(f"made up the study in {time.perf_counter() - start:.0f} s", flush=True)
        asked = pl.read_parquet(str(platform.artifacts.lake.path(Node("validation_questions", DATASET))))["question_id"]
        cells = {USUAL: arguments.questions, BIG: arguments.questions * arguments.big}
        with serving(home) as (address, pid), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            pages = {
                "Grid": "/",
                "Grid, difference": "/?show=difference&metric=mean_tokens",
                **{f"Cell of {count:,}": f"/cell/{DATASET}/{slug}" for slug, count in cells.items()},
                **{
                    f"Trace in a cell of {count:,}": f"/trace/{DATASET}/{slug}/{asked[len(asked) // 2]}/1"
                    for slug, count in cells.items()
                },
                "Compare": "/compare?" + urlencode({"dataset": DATASET, "a": USUAL, "b": BIG}),
                "Query": "/query",
                f"Query over {len(platform.study.variants) * 3} cells": "/query?" + urlencode({"sql": LINEAGE}),
            }
            print("first paint")
            for name, path in pages.items():
                first, painted, served = paints(page, address + path, arguments.rounds)
                line = f"  {name:>28}: first {first:6.0f} ms, then {spread(painted)}"
                print(f"{line}; of this the server {spread(served)}", flush=True)
            print(f"server's memory: peak {peak_mb(pid):.0f} MB")
            for slug, count in cells.items():
                print(f"list of {count:,} rollouts with texts of {explore_lake.PARAGRAPHS} paragraphs")
                for name, times in list_times(page, f"{address}/cell/{DATASET}/{slug}", arguments.rounds).items():
                    print(f"  {name:>10}: {spread(times)}", flush=True)
            print(f"server's memory: peak {peak_mb(pid):.0f} MB")
            browser.close()
        for slug, count in cells.items():
            print(f"{count:,} rollouts, each way in a process of its own")
            ways(home, slug, arguments.rounds)


if __name__ == "__main__":
    main()
