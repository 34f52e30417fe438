"""Benchmarks: one file each, found by the `BENCHMARK` that it defines, all read through `load`.

A file added to this folder is a new benchmark; nothing else has to name it but a study.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import islice
from pkgutil import iter_modules
from typing import Any, cast

from mbt_assets.benchmarks import hub
from mbt_assets.benchmarks.records import Benchmark, BenchmarkError, Question, Row

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkError", "Question", "load", "resolved_revision", "source_state"]


def _discover() -> dict[str, Benchmark]:
    found: dict[str, Benchmark] = {}
    for module in iter_modules(__path__):
        benchmark = getattr(import_module(f"{__name__}.{module.name}"), "BENCHMARK", None)
        if benchmark is None:
            continue
        if benchmark.name in found:
            raise BenchmarkError(f"two files of {__name__} define the benchmark '{benchmark.name}'; rename one.")
        found[benchmark.name] = benchmark
    return found


BENCHMARKS: dict[str, Benchmark] = _discover()


def load(
    benchmark: str,
    split: str,
    *,
    hub_id: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    seed: int = 42,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Question]:
    """The questions of one split, in the benchmark's order.

    Args:
        benchmark: name in `BENCHMARKS`; it is also each question's `dataset`.
        split: name of the split.
        hub_id: dataset repository to read instead of the benchmark's own; it must have the same columns.
        config: configuration to read instead of the benchmark's own.
        revision: branch, tag or commit on the Hub, or what `resolved_revision` returned; the newest by default.
        limit: the first so many questions; all by default.
        seed: of a generated benchmark; published ones are not sampled.
        options: of a generated benchmark.

    Returns:
        An iterator of questions; `sample_id` is the 1-based position in the split.

    Raises:
        BenchmarkError: the benchmark, split, column or source is not there, or two questions share an id. What can be
            seen before the first row is raised at the call, the rest while iterating.
    """
    chosen = _benchmark(benchmark)
    if chosen.generate is not None:
        rows = iter(chosen.generate(split, limit, seed, options or {}))
    else:
        _refuse_options(benchmark, options)
        rows = hub.open_rows(_hub_id(chosen, hub_id), config or chosen.hub_config, split, revision)
    return _questions(chosen, split, islice(rows, limit))


def resolved_revision(
    benchmark: str,
    *,
    hub_id: str | None = None,
    revision: str | None = None,
    seed: int = 42,
    options: Mapping[str, Any] | None = None,
) -> str:
    """What exactly a benchmark's rows come from, to be kept beside them.

    Returns:
        `hub:<commit>`, `mirror:sha256:<digest>` or, for a generated benchmark, `generated:sha256:<digest>` of the
        generator with its seed and options.

    Raises:
        BenchmarkError: the benchmark is unknown, or its source is not there.
    """
    chosen = _benchmark(benchmark)
    if chosen.generate is None:
        return hub.resolved_revision(_hub_id(chosen, hub_id), revision)
    source = chosen.source_digest() if chosen.source_digest else ""
    made_of = json.dumps([source, seed, dict(options or {})], sort_keys=True, default=str)
    return f"generated:sha256:{hashlib.sha256(made_of.encode()).hexdigest()}"


def source_state(benchmark: str, *, hub_id: str | None = None) -> str:
    """What a benchmark's rows would come from now, told at once: another word means that they may have changed.

    Returns:
        As `hub.source_state`; for a generated benchmark the digest of its generator; empty for one that nobody knows,
        which is told when its rows are asked for.
    """
    chosen = BENCHMARKS.get(benchmark)
    if chosen is None:
        return ""
    if chosen.generate is not None:
        return chosen.source_digest() if chosen.source_digest else ""
    return hub.source_state(_hub_id(chosen, hub_id))


def _questions(benchmark: Benchmark, split: str, rows: Iterator[Row]) -> Iterator[Question]:
    positions: dict[str, int] = {}
    for position, row in enumerate(rows, start=1):
        question = {**benchmark.convert(row), "dataset": benchmark.name, "sample_id": position}
        question_id = str(question["question_id"])
        if question_id in positions:
            raise BenchmarkError(
                f"benchmark {benchmark.name}: split '{split}' has the id {question_id!r} twice, in rows "
                f"{positions[question_id]} and {position}. Ids are keys: leave one of the rows out."
            )
        positions[question_id] = position
        yield cast(Question, question)


def _benchmark(name: str) -> Benchmark:
    if name not in BENCHMARKS:
        raise BenchmarkError(f"there is no benchmark '{name}'; known are {', '.join(sorted(BENCHMARKS))}.")
    return BENCHMARKS[name]


def _hub_id(benchmark: Benchmark, override: str | None) -> str:
    hub_id = override or benchmark.hub_id
    if hub_id is None:
        raise BenchmarkError(f"benchmark {benchmark.name} has no dataset repository; name one with hub_id.")
    return hub_id


def _refuse_options(name: str, options: Mapping[str, Any] | None) -> None:
    if options:
        raise BenchmarkError(f"benchmark {name} takes no options; remove {', '.join(sorted(options))}.")
