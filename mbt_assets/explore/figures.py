"""The figures of one cell: with their intervals, beside the base variant's, by difficulty, and what went wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from mbt_assets.explore.rollouts import STATUSES, Chosen
from mbt_assets.explore.source import Asked
from mbt_assets.explore.view import words
from partitions.grid import cell_key

FIGURES = {
    "exact_match": "exact match",
    "f1": "F1",
    "judge_accuracy": "judge accuracy",
    "answer_hit_rate": "answer in the reasoning",
    "mean_tokens": "mean tokens",
    "degenerate_rate": "degenerate",
    "arrival": "arrival ρ",
    "redundancy": "redundancy δ",
    "regulation": "regulation R",
    "l_obs": "observed level",
}
"""Figures of `cell_metrics` that are shown, and what they are called."""
OTHERS = {
    "aes": "AES",
    "substring_match": "substring match",
    "f1_plain": "F1 without the yes/no rule",
    "median_tokens": "median tokens",
    "p95_tokens": "95th percentile of tokens",
    "n_questions": "questions",
    "n_rollouts": "rollouts",
    "unscorable_gold": "questions without a gold answer to score by",
    "n_failed": "failed requests",
    "n_truncated": "truncated responses",
    "n_looping": "looping responses",
    "n_degenerate": "degenerate responses",
    "n_empty_reasoning": "responses without reasoning",
    "n_no_answer": "responses without answer tags",
    "n_tokens": "responses with known tokens",
    "n_verdicts": "scored verdicts",
    "n_hits": "scored answer hits",
    "n_rrp": "scored profiles (RRP)",
    "n_mqi": "scored levels (MQI)",
    "n_unparseable": "judge's replies that did not parse",
    "n_judge_failed": "failed requests to the judge",
}
"""Further figures of `cell_metrics` and its marts that the grid can show."""
PHASE_FIGURES = {f"phase_{number}": f"phase {number}" for number in range(1, 6)}
TIERS = ("all", "easy", "medium", "hard")
KINDS = {
    "truncated": "truncated: the server stopped for length",
    "looping": "looping: 8 tokens repeated 6 times or more",
    "degenerate": "degenerate: truncated or looping",
    "empty_reasoning": "no reasoning",
    "no_answer": "no answer tags",
}
"""What is wrong with responses, by the name that the filter has for it."""


@dataclass(frozen=True)
class Card:
    """One figure.

    Attributes:
        name: column of `cell_metrics`.
        label: what it is called.
        value: None where there is none.
        interval: ends of its 95 % interval.
        base: the base variant's.
        difference: to the base variant's.
        difference_interval: ends of its 95 % interval, where the study has one for the very figures.
    """

    name: str
    label: str
    value: float | None
    interval: tuple[float, float] | None
    base: float | None
    difference: float | None
    difference_interval: tuple[float, float] | None


def called(name: str) -> str:
    """What a figure is called: `maj_8` maj@8, and those that a study's own SQL adds by their columns' names."""
    of_n = re.fullmatch(r"(avg|maj|pass)_(\d+)", name)
    return f"{of_n[1]}@{of_n[2]}" if of_n else FIGURES.get(name) or OTHERS.get(name) or words(name)


def figures_of(asked: Asked, dataset: str, slug: str) -> dict[str, Any] | None:
    """The row of `cell_metrics` of a cell; None where it was never made."""
    stored = asked.partition_if_stored("cell_metrics", dataset, slug)
    return asked.row(f"SELECT * FROM {stored}", (), ("cell_metrics",)) if stored else None


def cards_of(asked: Asked, dataset: str, slug: str, row: dict[str, Any], base: dict[str, Any] | None) -> list[Card]:
    """The cell's figures.

    Args:
        asked: the warehouse.
        dataset: of the cell.
        slug: variant of the cell.
        row: of `figures_of` the cell.
        base: of `figures_of` the base's cell; None where it is this one or is not there.
    """
    sql = "SELECT metric, difference, difference_lo, difference_hi FROM significance WHERE dataset = ? AND variant = ?"
    found = asked.rows(sql, [dataset, slug], ("significance",)).rows(named=True) if base else []
    tested = {of["metric"]: of for of in found}
    return [_card(name, label, row, base, tested.get(name)) for name, label in FIGURES.items()]


def _card(
    name: str, label: str, row: dict[str, Any], base: dict[str, Any] | None, tested: dict[str, Any] | None
) -> Card:
    value, other = row.get(name), base.get(name) if base else None
    difference = None if value is None or other is None else value - other
    # The mart may be of other rows than the cell: its interval is not of this difference then.
    ends = None
    if difference is not None and tested and abs((tested["difference"] or 0.0) - difference) < 1e-9:
        ends = _ends(tested["difference_lo"], tested["difference_hi"])
    return Card(name, label, value, _ends(row.get(f"{name}_lo"), row.get(f"{name}_hi")), other, difference, ends)


def _ends(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def tiers_of(asked: Asked, dataset: str, slug: str) -> tuple[list[str], list[tuple[str, dict[str, Any]]]]:
    """A cell's figures by difficulty.

    Returns:
        The tiers that it has, and for each figure its label and its row of `cell_estimates` by tier.
    """
    stored = asked.partition_if_stored("cell_estimates", dataset, slug)
    if stored is None:
        return [], []
    sql = f"SELECT * EXCLUDE (by_question) FROM {stored} WHERE judge IN ('', ?)"
    rows = asked.rows(sql, [asked.source.study.judges[0]], ("cell_estimates",)).rows(named=True)
    by_measure: dict[str, dict[str, Any]] = {}
    for row in rows:
        by_measure.setdefault(row["measure"], {})[row["tier"]] = row
    tiers = [tier for tier in TIERS if any(tier in found for found in by_measure.values())]
    labels = {**FIGURES, **PHASE_FIGURES}
    return tiers, [(label, by_measure[name]) for name, label in labels.items() if name in by_measure]


def failures_of(rollouts: Chosen) -> dict[str, Any]:
    """What went wrong in a cell, filtered or not.

    Args:
        rollouts: any list of the cell.

    Returns:
        `errors`: pairs of an error's kind and how many requests failed so. `kinds`: triples of a filter's value, label
        and number of responses. `judged`: for each score its name, the filter's prefix, and numbers by status.
    """
    errors = rollouts.ask(
        "SELECT error_kind, count(*) AS n FROM cell WHERE failed GROUP BY ALL ORDER BY n DESC, error_kind"
    )
    counts = ", ".join(
        f"count(*) FILTER (WHERE {'NOT answer_found' if kind == 'no_answer' else kind} AND NOT failed) AS {kind}"
        for kind in KINDS
    )
    kinds = rollouts.ask(f"SELECT count(exact_match) AS scored, {counts} FROM cell").row(0, named=True)
    return {
        "errors": errors.rows(),
        "kinds": [(kind, label, kinds[kind]) for kind, label in KINDS.items()] if kinds["scored"] else [],
        "judged": [
            (name, column.removesuffix("_status"), _by_status(rollouts, column)) for name, column in STATUSES.items()
        ],
    }


def _by_status(rollouts: Chosen, column: str) -> dict[str, int]:
    sql = f"SELECT {column} AS status, count(*) AS n FROM cell WHERE {column} IS NOT NULL GROUP BY ALL"
    return dict(rollouts.ask(sql).select(pl.col("status"), pl.col("n")).iter_rows())


def weights_of(asked: Asked, dataset: str, slug: str) -> dict[str, Any]:
    """Which weights answered, and which are registered now.

    Returns:
        `used`: digests of the weights that answered; `registered`: the variant's row of `checkpoints`, or None; `key`:
        of the cell's partitions.
    """
    rollouts = asked.partition_if_stored("validation_rollouts", dataset, slug)
    sql = f"SELECT DISTINCT checkpoint_digest FROM {rollouts} ORDER BY ALL"
    used = asked.rows(sql, (), ("validation_rollouts",))["checkpoint_digest"].to_list() if rollouts else []
    stored = asked.partition_if_stored("checkpoints", variant=slug)
    registered = asked.row(f"SELECT * FROM {stored}", (), ("checkpoints",)) if stored else None
    return {"used": used, "registered": registered, "key": cell_key(dataset, slug)}
