"""Seconds that the figures take at the paper study's size: each cell's estimates, and every mart.

Run: `python bench/marts.py [--questions 7405] [--rollouts 1] [--rounds 5]`. Makes up scores of 46 variants × 3 datasets
from a fixed seed in a lake of its own (judges fail on a few, so that figures have gaps), computes each cell's figures
as the graph does, and times the SQL of every mart over them. `--rollouts 10` has ten times the rows.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

import sql
from mbt_assets.marts import declare_sql_tables, sql_over, tables_of
from mbt_assets.scoring import udfs
from mbt_assets.scoring.stats import Bootstrap
from partitions.grid import CELL_SQL, MARTS, SCORES, Grid, Node, cell_key, split_key
from partitions.study import Study
from partitions.study_file import load_study
from resources import warehouse
from resources.lake import Lake
from resources.tables import TABLES

MAIN_MEASURES = (
    *("exact_match", "substring_match", "f1", "f1_plain", "judge_accuracy", "answer_hit_rate", "mean_tokens"),
    *("arrival", "redundancy", "regulation", "l_obs"),
)
FAILING = 0.004


def frame_of(table: str, count: int, **columns: object) -> pl.DataFrame:
    """Rows of a lake table; what is not given is null, or some constant where it may not be."""
    constants = {pl.String: "x", pl.Int64: 1, pl.Float64: 0.5, pl.Boolean: False}
    made = []
    for name, column in TABLES[table].columns().items():
        usual = None if column.nullable else constants.get(column.dtype.base_type())
        given = columns.get(name, usual)
        if isinstance(given, np.ndarray | pl.Series | list):
            made.append(pl.Series(name, given).cast(column.dtype))
        else:
            made.append(pl.Series(name, [given], dtype=column.dtype).new_from_index(0, count))
    return pl.DataFrame(made)


def questions(dataset: str, count: int) -> pl.DataFrame:
    rng = np.random.default_rng([1, len(dataset)])
    ids = sorted(f"{number:024x}" for number in rng.integers(0, 2**60, count))
    empty = pl.Series("documents", [[]] * count, dtype=TABLES["validation_questions"].columns()["documents"].dtype)
    facts = TABLES["validation_questions"].columns()["supporting_facts"].dtype
    tiers = rng.choice(["easy", "medium", "hard"], count).tolist()
    return frame_of(
        "validation_questions",
        count,
        dataset=dataset,
        question_id=ids,
        sample_id=np.arange(1, count + 1),
        aliases=pl.Series([[]] * count, dtype=pl.List(pl.String)),
        documents=empty,
        supporting_facts=pl.Series([[]] * count, dtype=facts),
        tier=tiers,
    )


def rollouts_of(key: str, asked: pl.DataFrame, rollouts: int, seed: int) -> Iterator[tuple[str, pl.DataFrame]]:
    """The score tables of one cell, and its rollouts, whose texts no mart reads."""
    rng = np.random.default_rng([2, seed])
    dataset, slug = split_key(key)
    ids = np.repeat(asked["question_id"].to_numpy(), rollouts)
    count = len(ids)
    tokens = rng.lognormal(6.5, 0.6, count).astype(np.int64)
    right = (rng.random(count) < 0.3 + 0.4 * rng.random()).astype(float)
    keys = {
        "dataset": dataset,
        "variant": slug,
        "question_id": ids,
        "rollout_id": np.tile(np.arange(1, rollouts + 1), len(asked)),
    }
    usage = {"prompt_tokens": 2000, "completion_tokens": tokens, "latency_ms": rng.random(count) * 1e4}
    yield "validation_rollouts", frame_of("validation_rollouts", count, **keys, **usage, finish_reason="stop")
    predictions = [f"answer {number}" for number in rng.integers(0, 4, count)]
    scores = dict.fromkeys(("exact_match", "substring_match", "f1", "f1_plain"), right)
    yield (
        "answer_scores",
        frame_of(
            "answer_scores",
            count,
            **keys,
            **scores,
            normalized_prediction=predictions,
            answer_found=True,
            completion_tokens=tokens,
        ),
    )
    for table in SCORES[1:]:
        scored = rng.random(count) >= FAILING
        status = np.where(scored, "scored", "unparseable")
        judged = {"status": status, "judge": "gemma-4-31b-it", "attempts": 1, "judge_prompt_tokens": 3000}
        judged |= {"judge_completion_tokens": 20, "judge_latency_ms": usage["latency_ms"]}
        own = frame_of(table, count, **keys, **judged, **_values(table, rng, right))
        blank = [name for name, column in TABLES[table].columns().items() if name in VALUES and column.nullable]
        yield table, own.with_columns(pl.when(pl.Series(scored)).then(pl.col(name)).alias(name) for name in blank)


VALUES = (
    *("verdict", "judge_correct", "answer_hit", "answer_paragraph", "first_correct", "redundant_paragraphs"),
    *("redundant_sentences", "total_sentences", "redundant_fraction", "arrival", "regulation", "confidence"),
    *("l_obs", "phases"),
)
"""Columns that only a scored row has."""


def _values(table: str, rng: np.random.Generator, right: np.ndarray) -> dict[str, object]:
    count = len(right)
    if table == "judge_verdicts":
        return {"verdict": np.where(right > 0, "A", "B"), "judge_correct": right}
    if table == "answer_hits":
        return {"answer_hit": (rng.random(count) < 0.7).astype(float)}
    if table == "mqi_scores":
        phases = pl.Series([[1, 3]], dtype=pl.List(pl.Int64)).new_from_index(0, count)
        return {"l_obs": rng.integers(0, 6, count), "phases": phases, "confidence": rng.random(count), "tier": "easy"}
    total = rng.integers(5, 60, count)
    first = np.where(rng.random(count) < 0.2, -1, (total * rng.random(count)).astype(np.int64) + 1)
    redundant = (total * rng.random(count) * 0.5).astype(np.int64)
    arrival = np.where(first < 0, 1.0, np.minimum(first / total, 1))
    delta = redundant / total
    reach, economy = 1 - arrival, 1 - delta
    return {
        "answer_paragraph": np.where(first < 0, 0, first),
        "first_correct": first,
        "redundant_paragraphs": pl.Series([[1]], dtype=pl.List(pl.Int64)).new_from_index(0, count),
        "redundant_sentences": redundant,
        "total_sentences": total,
        "redundant_fraction": delta,
        "arrival": arrival,
        "regulation": 2 * reach * economy / (reach + economy),
        "confidence": rng.random(count),
    }


def fill(lake: Lake, study: Study, count: int, rollouts: int) -> None:
    """Make up the scores of every cell. Written as the lake would, less the check of each row and its digest."""
    grid = Grid(study)
    for dataset in grid.datasets:
        asked = questions(dataset, count)
        write(lake, Node("validation_questions", dataset), asked)
        for number, slug in enumerate(grid.variants):
            key = cell_key(dataset, slug)
            for table, frame in rollouts_of(key, asked, rollouts, number):
                write(lake, Node(table, key), frame)


def write(lake: Lake, node: Node, frame: pl.DataFrame) -> None:
    path = Path(str(lake.path(node)))
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path, compression="zstd")


def cell_figures(lake: Lake, study: Study, most: int | None) -> list[float]:
    """Compute the figures of every cell, or of some, one after the other; gives the seconds of each."""
    grid = Grid(study)
    seconds = []
    for key in grid.keys("cell_metrics")[:most]:
        with contextlib.closing(duckdb.connect()) as connection:
            udfs.register(connection, study.resamples, study.seed)
            connection.register("settings", warehouse.settings_frame(study))
            connection.register("judge_retests", TABLES["judge_retests"].create_empty())
            for table in (*SCORES, "validation_questions"):
                node = Node(table, key if table in SCORES else split_key(key)[0])
                connection.register(table, pl.read_parquet(str(lake.path(node))))
            start = time.perf_counter()
            for name in CELL_SQL:
                frame = connection.sql(sql.load(name).statement).pl()
                write(lake, Node(name, key), frame)
                connection.register(name, frame)
            seconds.append(time.perf_counter() - start)
    return seconds


def intervals(lake: Lake, study: Study) -> tuple[int, float]:
    """Resample the main table's measures of every cell together; gives how many intervals there are and the seconds."""
    pattern = f"{lake.folder('cell_estimates')}/**/*.parquet"
    table = pl.scan_parquet(pattern).filter(pl.col("measure").is_in(MAIN_MEASURES), pl.col("by_question").is_not_null())
    columns = [np.array(values, dtype=float) for values in table.select("by_question").collect()["by_question"]]
    start = time.perf_counter()
    found = Bootstrap(study.resamples, study.seed).mean_of_each(columns)
    seconds = time.perf_counter() - start
    if None in found:
        raise SystemExit("a measure has no interval")
    return len(found), seconds


def marts(lake: Lake, study: Study) -> dict[str, float]:
    """Seconds of every mart, each on a connection of its own, in one process with cold draws: as one run makes them."""
    udfs.forget_draws()
    seconds = {}
    for name in MARTS:
        start = time.perf_counter()
        file = sql.load(name)
        with sql_over(lake, study, tables_of(file)) as connection:
            rows = connection.sql(file.statement).pl()
            seconds[name] = time.perf_counter() - start
        if rows.is_empty():
            raise SystemExit(f"{name} has no rows")
    return seconds


def spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=7405)
    parser.add_argument("--rollouts", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", type=int, help="of a lake that is there: compute the figures of so many cells again")
    parser.add_argument("--folder", type=Path, help="a lake that an earlier run with this option made, or is to make")
    arguments = parser.parse_args()
    study = load_study("paper")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        lake = Lake(folder)
        if not (folder / "cell_metrics").exists():
            start = time.perf_counter()
            fill(lake, study, arguments.questions, arguments.rollouts)
            declare_sql_tables(lake, study)
            print(f"made up {len(study.variants) * len(study.datasets)} cells in {time.perf_counter() - start:.0f} s")
        seconds = cell_figures(lake, study, arguments.cells)
        print(
            f"figures of {len(seconds)} cells of {arguments.questions} questions × {arguments.rollouts} rollouts, "
            f"{study.resamples} resamples, one after the other: {sum(seconds):.1f} s; first {seconds[0]:.2f} s, then "
            f"each {spread(seconds[1:] or seconds)}; peak {peak_mb():.0f} MB"
        )
        each = [intervals(lake, study) for _ in range(arguments.rounds)]
        times = spread([seconds for _, seconds in each])
        print(f"{each[0][0]} intervals of the main measures of all cells together: {times}; peak {peak_mb():.0f} MB")
        rounds = [marts(lake, study) for _ in range(arguments.rounds)]
        totals = [sum(found.values()) for found in rounds]
        print(f"all marts: {spread(totals)}")
        for name in MARTS:
            print(f"  {name:>14}: {spread([found[name] for found in rounds])}")
        print(f"peak memory {peak_mb():.0f} MB")


if __name__ == "__main__":
    main()
