"""Which rows may come from a data set on the Hub, by which columns, and what is wrong with a study's entries."""

from __future__ import annotations

from collections.abc import Iterator

from partitions.grid import Grid, Node
from partitions.study import Location, Study

TEXTS = {
    "train_rollouts": "response",
    "gold_solutions": "solution",
    "synthesized_traces": "trace",
    "rewritten_traces": "trace",
}
"""For each of these tables, our column of the text that was generated."""

_COMMON = {
    "sample_id": "sample_id",
    "finish_reason": "finish_reason",
    "valid": "valid",
    "question_id": "question_id",
    "question": "question",
    "answer": "answer",
}
COLUMNS: dict[str, dict[str, str]] = {
    "train_rollouts": {
        **_COMMON,
        "rollout_id": "rollout_id",
        "response": "response",
        "reasoning": "reasoning_trace",
    },
    "gold_solutions": {**_COMMON, "solution": "solution"},
    "synthesized_traces": {**_COMMON, "trace": "synthesized_trace"},
    "rewritten_traces": {
        **_COMMON,
        "rollout_id": "rollout_id",
        "trace_id": "trace_id",
        "trace": "refined_trace",
    },
}
"""For each table, what is read of a data set: our name of a column, and what it is usually called there."""


def required_columns(table: str) -> tuple[str, str]:
    """Our names of the columns that a data set must have; the others are used where they are there."""
    return ("sample_id", TEXTS[table])


def published_problems(study: Study) -> Iterator[tuple[Location, str]]:
    """What is wrong with a study's `published`: where, and why with what to do."""
    grid = Grid(study)
    for name, entry in study.published.items():
        location: Location = ("published", name)
        table = name.partition("[")[0]
        if table not in COLUMNS:
            yield location, f"rows of {name!r} cannot come from the Hub: only those of {', '.join(COLUMNS)} can"
            continue
        there = [str(Node(table, key)) for key in grid.keys(table)]
        if name not in there:
            known = ", ".join(there) or "none"
            yield location, f"{name!r} is no partition of this study; of that table it has: {known}"
        for ours in entry.columns:
            if ours not in COLUMNS[table]:
                known = ", ".join(COLUMNS[table])
                yield (*location, "columns", ours), f"{ours!r} is no column of {table} that is read; those are: {known}"
