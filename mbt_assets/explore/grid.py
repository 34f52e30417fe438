"""The first page: a heat map of the study's cells, dataset by variant, of any figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from mbt_assets.explore import NotFound
from mbt_assets.explore.figures import called
from mbt_assets.explore.source import Asked, Source
from mbt_assets.explore.view import View
from mbt_assets.staleness import Standing
from mbt_assets.tables.notes import caveat_of
from partitions.grid import Node
from resources.study_frames import variants_frame

LESS_IS_BETTER = {
    *("mean_tokens", "median_tokens", "p95_tokens", "degenerate_rate", "arrival", "redundancy", "n_failed"),
    *("n_truncated", "n_looping", "n_degenerate", "n_empty_reasoning", "n_no_answer", "n_unparseable"),
    *("n_judge_failed", "unscorable_gold", "n_tokens"),
}
FIRST = ("exact_match", "judge_accuracy", "f1", "mean_tokens", "aes", "regulation", "l_obs", "degenerate_rate")
"""Figures that head the menu, in this order."""


@dataclass(frozen=True)
class Entry:
    """What one cell of the heat map shows.

    Args:
        dataset: of the cell.
        variant: of the cell.
        value: the figure, or its difference to the base variant's.
        low: lower end of the 95 % interval of `value`; None where there is none.
        high: upper end.
        plain: the figure itself.
        base: the base variant's figure.
        standing: of the cell's partitions.
        is_base: whether the variant is one that others are compared with.
        heat: -1 (worst shown) to 1 (best shown).
    """

    dataset: str
    variant: str
    value: float | None
    low: float | None
    high: float | None
    plain: float | None
    base: float | None
    standing: Standing
    is_base: bool
    heat: float = 0.0

    @property
    def up(self) -> float:
        """Share of the good colour."""
        return max(self.heat, 0.0)

    @property
    def down(self) -> float:
        """Share of the bad colour."""
        return max(-self.heat, 0.0)


def routes(source: Source, view: View) -> list[Route]:
    """The page's routes."""

    def show(request: Request) -> Response:
        wanted = request.query_params
        with source.asking() as asked:
            figures = figures_of(asked)
            metrics = metrics_of(figures)
            metric = wanted.get("metric") if wanted.get("metric") in metrics else metrics[0]
            assert metric is not None
            is_difference = wanted.get("show") == "difference"
            about = _described(asked, metric)
            tested = _tested(asked, metric) if is_difference else {}
        entries = _entries(source, figures, metric, tested, is_difference)
        entries = heated(entries, metric, is_difference)
        return view.page(
            request,
            "grid.html",
            choices={"metric": metrics, "show": ("difference",), "sort": source.grid.datasets},
            metrics=[(name, called(name)) for name in metrics],
            metric=metric,
            called=called(metric),
            about=about,
            is_difference=is_difference,
            intervals=wanted.get("intervals") == "1",
            find=wanted.get("find", ""),
            models=_models(source, wanted.get("find", "")),
            datasets=source.grid.datasets,
            entries={(entry.dataset, entry.variant): entry for entry in entries},
            less_is_better=metric in LESS_IS_BETTER,
            sort=wanted.get("sort"),
            ranked=_ranked(entries, wanted.get("sort"), wanted.get("find", "")),
            states=_states(entries),
            caveat=caveat_of(source.study),
            has_report=source.report.is_file(),
        )

    def report(request: Request) -> Response:
        if not source.report.is_file():
            raise NotFound("there is no report yet: materialize the asset `report`, or run the job marts_only")
        # It brings its style and its script along, and asks for nothing else.
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
        return FileResponse(source.report, media_type="text/html", headers={"Content-Security-Policy": policy})

    return [Route("/", show), Route("/report", report)]


def figures_of(asked: Asked) -> pl.DataFrame:
    """Every figure of each cell, and its AES, which a mart holds; one row per cell that has been made."""
    if not asked.source.lake.exists(Node("aes")):
        return asked.rows("SELECT * FROM cell_metrics", tables=("cell_metrics",))
    sql = "SELECT cell_metrics.*, aes.aes FROM cell_metrics LEFT JOIN aes USING (dataset, variant)"
    return asked.rows(sql, tables=("cell_metrics", "aes"))


def metrics_of(figures: pl.DataFrame) -> list[str]:
    """Names of the figures that some cell has, the usual ones first."""
    ends = [name for name in figures.columns if name.endswith(("_lo", "_hi"))]
    there = [
        name
        for name, dtype in figures.schema.items()
        if dtype.is_numeric() and name not in ends and (figures[name].count() or not figures.height)
    ]
    return [name for name in FIRST if name in there] + [name for name in there if name not in FIRST]


def _described(asked: Asked, metric: str) -> str:
    sql = "SELECT comment FROM duckdb_columns() WHERE table_name IN ('cell_metrics', 'aes') AND column_name = ?"
    row = asked.row(sql, [metric], tables=())
    return (row or {}).get("comment") or ""


def _tested(asked: Asked, metric: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The paired difference to the base with its interval, where the study has one for this figure."""
    if not asked.source.lake.exists(Node("significance")):
        return {}
    sql = "SELECT dataset, variant, difference, difference_lo, difference_hi FROM significance WHERE metric = ?"
    rows = asked.rows(sql, [metric], tables=("significance",)).iter_rows(named=True)
    return {(row["dataset"], row["variant"]): row for row in rows}


def _entries(
    source: Source,
    figures: pl.DataFrame,
    metric: str,
    tested: dict[tuple[str, str], dict[str, Any]],
    is_difference: bool,
) -> list[Entry]:
    rows = {(row["dataset"], row["variant"]): row for row in figures.iter_rows(named=True)}
    base_of = dict(variants_frame(source.study).select("variant", "base_variant").iter_rows())
    found = []
    for dataset in source.grid.datasets:
        for slug in source.grid.variants:
            row = rows.get((dataset, slug), {})
            base = rows.get((dataset, base_of.get(slug, slug)), {}).get(metric)
            plain = row.get(metric)
            value, low, high = plain, row.get(f"{metric}_lo"), row.get(f"{metric}_hi")
            if is_difference:
                value = None if plain is None or base is None or base_of.get(slug) == slug else plain - base
                low, high = _ends(value, tested.get((dataset, slug)))
            standing = source.cell_standing(dataset, slug)
            found.append(Entry(dataset, slug, value, low, high, plain, base, standing, base_of.get(slug) == slug))
    return found


def _ends(value: float | None, row: dict[str, Any] | None) -> tuple[float | None, float | None]:
    """The interval of a difference, where the mart's is of the very figures that are shown."""
    if value is None or row is None or row["difference"] is None or abs(row["difference"] - value) > 1e-9:
        return None, None
    return row["difference_lo"], row["difference_hi"]


def heated(entries: list[Entry], metric: str, is_difference: bool) -> list[Entry]:
    """The entries with their heat: from the worst to the best value shown, or to either side of no difference."""
    values = [entry.value for entry in entries if entry.value is not None]
    if not values:
        return entries
    sign = -1 if metric in LESS_IS_BETTER else 1
    low, high = min(values), max(values)
    most = max(abs(low), abs(high)) or 1.0

    def heat(value: float | None) -> float:
        if value is None:
            return 0.0
        if is_difference:
            return round(sign * value / most, 3)
        share = (value - low) / (high - low) if high > low else 0.0
        return round(share if sign > 0 else 1 - share, 3)

    return [Entry(**{**entry.__dict__, "heat": heat(entry.value)}) for entry in entries]


def _models(source: Source, find: str) -> list[tuple[str, list[str]]]:
    """Variants by model, in the study's order, those alone whose name holds a text."""
    groups: dict[str, list[str]] = {}
    for slug in source.grid.variants:
        if find.lower() in slug.lower():
            groups.setdefault(slug.split("__")[0], []).append(slug)
    return list(groups.items())


def _ranked(entries: list[Entry], sort: str | None, find: str) -> list[str]:
    """Variants by their value on a dataset, the greatest first; empty where the study's order is wanted."""
    of_dataset = [entry for entry in entries if entry.dataset == sort and find.lower() in entry.variant.lower()]
    order = sorted(of_dataset, key=lambda entry: (entry.value is None, -(entry.value or 0.0)))
    return [entry.variant for entry in order]


def _states(entries: list[Entry]) -> dict[str, int]:
    states = [entry.standing.state for entry in entries]
    return {state: states.count(state) for state in ("fresh", "stale", "missing")}
