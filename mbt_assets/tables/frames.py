"""The rows behind the tables and figures: marts joined in the study's order, and how response lengths spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from mbt_assets.tables.layout import LAYOUTS, TOKENS, Layout
from mbt_assets.tables.marks import BASE
from partitions.grid import Grid
from partitions.study import Study, split_variant

if TYPE_CHECKING:
    import duckdb

CELL = ["dataset", "variant"]
REPLIES = ("n_scored", "n_unparseable", "n_failed", "n_too_long")
"""What can become of a judge's reply; the sum of those that a mart has is how many it was asked for."""
COUNTS = ("n_questions", "n_rollouts", "n_answers", TOKENS, "n_verdicts", "n_scored")
QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}

# Lengths are counted in bins first, so that memory does not grow with the rollouts: bins of one token up to 256, and
# of less than 1 % of the length above. Sampling sketches need no more memory, but give another answer every time.
LENGTHS = f"""
WITH binned AS (
    SELECT dataset, variant,
           completion_tokens - completion_tokens % (1 << greatest(len(bin(completion_tokens)) - 8, 0)) AS tokens
    FROM answer_scores
    WHERE NOT failed AND completion_tokens IS NOT NULL
),
counted AS (SELECT dataset, variant, tokens, count(*) AS n FROM binned GROUP BY ALL),
ranked AS (
    SELECT *, sum(n) OVER (cell ORDER BY tokens) AS upto, sum(n) OVER cell AS total
    FROM counted WINDOW cell AS (PARTITION BY dataset, variant)
)
SELECT dataset, variant, any_value(total)::BIGINT AS n,
       {", ".join(f"min(tokens) FILTER (upto >= {share} * total) AS {name}" for name, share in QUANTILES.items())}
FROM ranked GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Marts:
    """What tables and figures are made from.

    Attributes:
        frames: marts by name; one that is not there leaves out what it would add.
        lengths: dataset, variant, n and the quantiles of `QUANTILES` of the response tokens.
    """

    frames: dict[str, pl.DataFrame] = field(default_factory=dict)
    lengths: pl.DataFrame | None = None


def read_marts(connection: duckdb.DuckDBPyConnection, layouts: Sequence[str], lengths: bool = True) -> Marts:
    """Read from the warehouse what some tables, and the figures that go with them, are made from.

    Args:
        connection: to the warehouse.
        layouts: names of the tables.
        lengths: whether to look at every rollout's length too.
    """
    # Dagster comes with it: what only needs the names of tables is not to wait for that.
    from resources import warehouse

    frames = {name: warehouse.query(connection, f"SELECT * FROM {name}") for name in marts_of(layouts)}
    return Marts(frames, warehouse.query(connection, LENGTHS) if lengths else None)


def marts_of(layouts: Sequence[str]) -> list[str]:
    """The marts that some tables are made from: beside their own, that with the counts and that with the tests."""
    return list(dict.fromkeys(["main_results", *(LAYOUTS[name].mart for name in layouts), "significance"]))


def rows_of(layout: Layout, marts: Marts, study: Study, datasets: Sequence[str] | None = None) -> pl.DataFrame:
    """Every column of a table's mart, and the tests of its figures, for each cell of the study in the study's order.

    A cell that the mart has no row of has one here, with nothing in it. Of several judges the primary one is taken,
    and of several tiers `all`. `n_rollouts` are the responses that were asked for, `n_answers` those that came,
    `most_questions` the most that a cell of the dataset has, and `base_n_…` the counts of the model's base. A tested
    metric m adds m_difference with its ends, m_mcnemar_p and m_n_questions.

    Args:
        layout: of the table.
        marts: its own, and where they are there `main_results` and `significance`.
        study: names datasets, variants and the primary judge.
        datasets: show only these; all of the study when None.
    """
    frame = cells_of(study, datasets).join(_primary(marts.frames[layout.mart], study), on=CELL, how="left")
    if layout.mart != "main_results" and "main_results" in marts.frames:
        counts = marts.frames["main_results"].select(
            *CELL,
            "n_questions",
            "n_rollouts",
            # A mart that an older version made does not count them.
            *([TOKENS] if TOKENS in marts.frames["main_results"].columns else []),
            n_answers=pl.col("n_rollouts") - pl.col("n_failed"),
            verdicts="n_verdicts",
        )
        frame = frame.join(counts, on=CELL, how="left")
    frame = _with_base(_counted(layout, frame))
    if "significance" in marts.frames:
        for metric in layout.tests:
            frame = frame.join(_tests(marts.frames["significance"], metric), on=CELL, how="left")
    return frame


def _primary(frame: pl.DataFrame, study: Study) -> pl.DataFrame:
    """A mart's rows of the primary judge and of all tiers; what the cell's slug says anyway is left out."""
    if "judge" in frame.columns:
        frame = frame.filter(pl.col("judge") == study.judges[0])
    if "tier" in frame.columns:
        frame = frame.filter(pl.col("tier") == "all")
    return frame.drop("model", "mode")


def _counted(layout: Layout, frame: pl.DataFrame) -> pl.DataFrame:
    """With `n_rollouts` and `n_answers`, as far as the marts at hand tell."""
    if layout.mart == "main_results":
        return frame.with_columns(n_answers=pl.col("n_rollouts") - pl.col("n_failed"))
    if "verdicts" in frame.columns:
        frame = frame.rename({"verdicts": "n_verdicts"})
    if "n_rollouts" not in frame.columns and "n_scored" in frame.columns:
        asked = [name for name in REPLIES if name in frame.columns]
        return frame.with_columns(n_rollouts=pl.sum_horizontal(asked))
    return frame


def _with_base(frame: pl.DataFrame) -> pl.DataFrame:
    """With the counts of each cell's base variant, and the most questions that a cell of its dataset has."""
    counts = [name for name in COUNTS if name in frame.columns]
    base = frame.filter(mode="base").select("dataset", "model", *(pl.col(name).alias(BASE + name) for name in counts))
    frame = frame.join(base, on=["dataset", "model"], how="left", maintain_order="left")
    if "n_questions" not in counts:
        return frame
    return frame.with_columns(most_questions=pl.col("n_questions").max().over("dataset"))


def cells_of(study: Study, datasets: Sequence[str] | None = None) -> pl.DataFrame:
    """dataset, model, mode and variant of every cell, in the study's order."""
    rows = [
        (dataset, *split_variant(slug), slug)
        for dataset in study.datasets
        if datasets is None or dataset in datasets
        for slug in Grid(study).variants
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(["dataset", "model", "mode", "variant"], pl.String), orient="row")


def _tests(significance: pl.DataFrame, metric: str) -> pl.DataFrame:
    names = ["difference", "difference_lo", "difference_hi", "mcnemar_p", "n_questions"]
    tests = significance.filter(pl.col("metric") == metric)
    return tests.select(*CELL, *(pl.col(name).alias(f"{metric}_{name}") for name in names))


def lengths_of(marts: Marts, study: Study, datasets: Sequence[str] | None = None) -> pl.DataFrame:
    """The quantiles of the response tokens for each cell of the study, in the study's order."""
    cells = cells_of(study, datasets)
    if marts.lengths is None:
        return cells.with_columns(pl.lit(None, pl.Float64).alias(name) for name in QUANTILES)
    return cells.join(marts.lengths, on=CELL, how="left")
