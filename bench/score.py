"""Rows per second of the answer scores: the columnar path against the plain function, row by row.

Run: `python bench/score.py [--rows 100000] [--rounds 5]`. Rows are made up from a fixed seed, 3 references each; both
ways score the same rows in the same process, in turn, and results are compared before anything is reported.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import polars as pl

from mbt_assets.scoring.answers import SCORE_COLUMNS, score, score_frame

WORDS = 4000
OTHER_THAN_ASCII = 0.03


def made_up_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    words = ["the", "a", "an", "of", "U.S.", "(born", "1931)", *(f"{rng.choice('BCDFG')}ord{i}" for i in range(WORDS))]
    words += [f"Łód{i}ż" for i in range(int(WORDS * OTHER_THAN_ASCII))]

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(1, 5)))

    rows = []
    for number in range(count):
        references = [text() for _ in range(3)]
        prediction = rng.choice([references[0], f"It is {references[1]}.", text(), rng.choice(["yes", "no", ""])])
        rows.append({"id": number, "prediction": prediction, "references": references})
    return rows


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = made_up_rows(arguments.rows)
    frame = pl.DataFrame(rows)
    score_frame(frame.head(1000))
    fast, plain, ratios = [], [], []
    for _ in range(arguments.rounds):
        seconds_fast, scored = timed(lambda: score_frame(frame))
        seconds_plain, expected = timed(lambda: [score(row["prediction"], row["references"]) for row in rows])
        for name in SCORE_COLUMNS:
            if scored[name].to_list() != [getattr(item, name) for item in expected]:
                raise SystemExit(f"{name} differs between the two ways")
        fast.append(arguments.rows / seconds_fast)
        plain.append(arguments.rows / seconds_plain)
        ratios.append(seconds_plain / seconds_fast)
    print(f"{arguments.rows:,} rows, 3 references each, {arguments.rounds} rounds: median (lowest to highest)")
    for name, values in (("score_frame, rows/s", fast), ("score, rows/s", plain), ("ratio", ratios)):
        print(f"{name:>20}: {statistics.median(values):12,.1f} ({min(values):,.1f} to {max(values):,.1f})")


if __name__ == "__main__":
    main()
