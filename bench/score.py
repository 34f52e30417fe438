"""Answer scores by the column against how they are scored elsewhere, in one process, in turn.

    plain      `scoring.answers.score`, row by row
    map        exact match, substring match and F1 with `datasets.Dataset.map`, a Python function per row
    hotpotqa   EM and F1 on one reference, as HotpotQA's evaluation script loops over the answers
    groupby    avg@k, maj@k and pass@k in a loop over a pandas group-by, 8 rollouts a question

Rows are made up from a fixed seed, 3 references each. Every round checks that both ways give the same bits. Where other
work runs on the machine, the ratio of processor seconds (of all threads) says more than that of the clock.

    python bench/score.py [--rows 100000] [--questions 12500] [--rounds 5]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import datasets
import polars as pl
from score_ways import dataset_map, groupby_loop, hotpotqa_script

from mbt_assets.scoring.answer_columns import score_frame
from mbt_assets.scoring.answers import SCORE_COLUMNS, score
from mbt_assets.scoring.repeated import repeated_frame

WORDS, ROLLOUTS = 4000, 8
LATIN, OTHER = 0.03, 0.01  # shares of words with letters beyond ASCII, and with what only the slow path knows

Timed = Callable[[], Any]
Comparison = tuple[str, int, Timed, Timed, Callable[[Any, Any], bool]]
"""Name, rows, the fast way, the other, and whether their results are the same."""


def made_up_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    plain = [f"{rng.choice('BCDFG')}ord{i}" for i in range(WORDS)]
    words = ["the", "a", "an", "of", "U.S.", "(born", "1931)", *plain]
    words += [f"Łód{i}ż" for i in range(int(WORDS * LATIN))] + [f"19{i}–{i}" for i in range(int(WORDS * OTHER))]

    def text() -> str:
        return " ".join([*rng.choices(words, k=rng.randint(0, 4)), rng.choice(plain)])

    rows = []
    for number in range(count):
        references = [text() for _ in range(3)]
        prediction = rng.choice([references[0], f"It is {references[1]}.", text(), rng.choice(["yes", "no", ""])])
        rows.append({"id": number, "prediction": prediction, "references": references})
    return rows


def made_up_rollouts(questions: int, seed: int = 0) -> pl.DataFrame:
    rng = random.Random(seed)
    rows = []
    for question in range(questions):
        gold, share = f"gold {rng.randrange(3000)}", rng.random()
        for rollout in range(1, ROLLOUTS + 1):
            right = rng.random() < share
            prediction = gold if right else f"other {rng.randrange(5)}"
            rows.append((f"q{question:06}", rollout, prediction, float(right)))
    return pl.DataFrame(rows, schema=["question_id", "rollout_id", "prediction", "score"], orient="row")


def comparisons(rows: list[dict[str, Any]], rollouts: pl.DataFrame) -> list[Comparison]:
    frame, dataset, table = pl.DataFrame(rows), datasets.Dataset.from_list(rows), rollouts.to_pandas()
    first_only = frame.with_columns(pl.col("references").list.head(1))
    ks = [1, 2, 4, ROLLOUTS]
    return [
        (
            "plain",
            len(rows),
            lambda: score_frame(frame),
            lambda: [score(row["prediction"], row["references"]) for row in rows],
            lambda fast, slow: all(fast[name].to_list() == [getattr(s, name) for s in slow] for name in SCORE_COLUMNS),
        ),
        (
            "map",
            len(rows),
            lambda: score_frame(frame),
            lambda: dataset_map(dataset),
            lambda fast, slow: all(fast[name].to_list() == list(slow[name]) for name in SCORE_COLUMNS[:3]),
        ),
        (
            "hotpotqa",
            len(rows),
            lambda: score_frame(first_only),
            lambda: hotpotqa_script(rows),
            lambda fast, slow: fast.select("exact_match", "f1").rows() == slow,
        ),
        (
            "groupby",
            rollouts.height,
            lambda: repeated_frame(rollouts),
            lambda: groupby_loop(table, ks),
            lambda fast, slow: fast.sort("question_id", "k").rows() == slow,
        ),
    ]


@dataclass(frozen=True)
class Round:
    """Seconds of the two ways in one round: by the clock and of the processor."""

    fast: float
    slow: float
    fast_cpu: float
    slow_cpu: float


def timed(work: Timed) -> tuple[float, float, Any]:
    start, start_cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - start, time.process_time() - start_cpu, result


def spread(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=12_500)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    compared = comparisons(made_up_rows(arguments.rows), made_up_rollouts(arguments.questions))
    for _, _, fast, _, _ in compared:
        fast()  # the first call starts polars' threads
    rounds: dict[str, list[Round]] = {name: [] for name, *_ in compared}
    for _ in range(arguments.rounds):
        for name, _, fast, slow, same in compared:
            (seconds, cpu, ours), (other_seconds, other_cpu, theirs) = timed(fast), timed(slow)
            if not same(ours, theirs):
                raise SystemExit(f"{name}: the two ways differ")
            rounds[name].append(Round(seconds, other_seconds, cpu, other_cpu))
    print(f"{arguments.rounds} rounds: median (lowest to highest)")
    print(
        f"{'':10}{'by the column, rows/s':>32}{'the other way, rows/s':>28}{'times faster':>22}{'times less CPU':>22}"
    )
    for name, count, *_ in compared:
        own = rounds[name]
        rates = spread([count / each.fast for each in own]), spread([count / each.slow for each in own])
        ratios = spread([each.slow / each.fast for each in own], 1)
        cpu_ratios = spread([each.slow_cpu / each.fast_cpu for each in own], 1)
        print(f"{name:10}{rates[0]:>32}{rates[1]:>28}{ratios:>22}{cpu_ratios:>22}")


if __name__ == "__main__":
    main()
