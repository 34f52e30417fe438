"""The benchmark `trails` that the project generates, as the registry sees it.

The generator itself is in `trails.py`; this file checks a study's options and hands them on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from mbt_assets.benchmarks import trails
from mbt_assets.benchmarks.records import BareQuestion, Benchmark, BenchmarkError, Row

NAME = "trails"
COUNTS = {"train": 1500, "validation": 200}


def generate(split: str, limit: int | None, seed: int, options: Mapping[str, Any]) -> Iterable[Row]:
    """Questions of one split, the same ones for the same seed and options.

    Args:
        split: `train` or `validation`.
        limit: how many; by default as many as `COUNTS` says.
        seed: of the study.
        options: `distractor_chains`, a whole number from 1 to 39; 1 by default.

    Raises:
        BenchmarkError: an unknown split or option.
    """
    if split not in COUNTS:
        raise BenchmarkError(f"benchmark {NAME}: no split '{split}'; it has {', '.join(COUNTS)}.")
    count = COUNTS[split] if limit is None else limit
    return trails.generate(split, count, seed, distractor_chains=_distractor_chains(options))


def convert(row: Row) -> BareQuestion:
    """A generated row is a question already."""
    return cast(BareQuestion, dict(row))


def source_digest() -> str:
    """Digest of the generator's source: another generator makes other questions from the same seed."""
    return "sha256:" + hashlib.sha256(Path(trails.__file__).read_bytes()).hexdigest()


def _distractor_chains(options: Mapping[str, Any]) -> int:
    if unknown := sorted(set(options) - {"distractor_chains"}):
        raise BenchmarkError(f"benchmark {NAME}: unknown options {', '.join(unknown)}; it knows distractor_chains.")
    chains, most = options.get("distractor_chains", 1), trails.ENTITIES - 1
    if not isinstance(chains, int) or isinstance(chains, bool) or not 1 <= chains <= most:
        raise BenchmarkError(
            f"benchmark {NAME}: distractor_chains should be a whole number from 1 to {most}, not {chains!r}."
        )
    return chains


BENCHMARK = Benchmark(
    name=NAME,
    convert=convert,
    generate=generate,
    source_digest=source_digest,
    facts_in_documents=True,
    license="apache-2.0",
    citation="trails, a benchmark that mbt-assets generates",
)
