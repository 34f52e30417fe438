"""The page of one cell: its figures, what went wrong, and the list of its rollouts with filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mbt_assets.explore import NotFound
from mbt_assets.explore.figures import cards_of, failures_of, figures_of, tiers_of, weights_of
from mbt_assets.explore.links import can_be_compared, stored
from mbt_assets.explore.origins import trained_variant
from mbt_assets.explore.rollouts import CHOICES, KNOWN, Chosen, choose
from mbt_assets.explore.source import Asked, Source
from mbt_assets.explore.spreads import pictures
from mbt_assets.explore.view import View, number_of
from partitions.grid import Node, cell_key
from partitions.study import base_of

PAGE = 100
"""Rows of the list that come with the page: all that is seen of it at once where no script runs."""
MOST_ROWS = 500
"""Rows that can be asked for at once."""
LABELS = {
    "answer": "Exact match",
    "judged": "Judge says",
    "kind": "Response",
    "unscored": "Judge's reply",
    "tier": "Difficulty",
    "phase": "Phase",
}
COLUMNS = (
    ("question", "question"),
    ("predicted", "prediction"),
    ("gold", "gold answer"),
    ("exact_match", "match"),
    ("f1", "F1"),
    ("verdict", "judge"),
    ("tokens", "tokens"),
    ("arrival", "arrival"),
    ("redundancy", "redundant"),
    ("l_obs", "level"),
    ("phases", "phases"),
    ("flags", "flags"),
)
"""Columns of the list: what to sort by, and their headings."""
NUMBERS = ("f1", "tokens", "arrival", "redundancy", "l_obs")


def routes(source: Source, view: View) -> list[Route]:
    """The page's routes."""

    def show(request: Request) -> Response:
        dataset, slug = _cell(source, request)
        with source.asking() as asked:
            head = _head(asked, dataset, slug)
        listed = _listed(source, dataset, slug, request.query_params)
        return view.page(request, "cell.html", choices=KNOWN, dataset=dataset, variant=slug, **head, **listed)

    def rows(request: Request) -> Response:
        dataset, slug = _cell(source, request)
        query = request.query_params
        chosen = choose(source.cells, dataset, slug, query)
        start, wanted = number_of(query, "from", 0), min(number_of(query, "count", PAGE), MOST_ROWS)
        rows = chosen.rows(start, wanted).rows(named=True)
        response = view.page(request, "cell_rows.html", dataset=dataset, variant=slug, rows=rows, kept=chosen.query)
        response.headers["X-Version"] = chosen.cell.version
        return response

    return [Route("/cell/{dataset}/{variant}", show), Route("/cell/{dataset}/{variant}/rows", rows)]


def _cell(source: Source, request: Request) -> tuple[str, str]:
    dataset, slug = request.path_params["dataset"], request.path_params["variant"]
    if not source.has_cell(dataset, slug):
        raise NotFound(f"the study has no cell {cell_key(dataset, slug)}: choose one of the grid")
    return dataset, slug


def _head(asked: Asked, dataset: str, slug: str) -> dict[str, Any]:
    """What the page tells of the cell as a whole."""
    source = asked.source
    base = base_of(slug)
    has_base = base != slug and source.has_cell(dataset, base)
    row = figures_of(asked, dataset, slug)
    of_base = figures_of(asked, dataset, base) if has_base else None
    tiers, by_tier = tiers_of(asked, dataset, slug)
    slugs = source.grid.variants
    place = slugs.index(slug) if slug in slugs else 0
    trained = trained_variant(asked, slug)
    there = [
        d for d in source.study.training_datasets if stored(source, Node("training_sets", cell_key(d, trained or "")))
    ]
    return {
        "standing": source.cell_standing(dataset, slug),
        "base": base if has_base else None,
        "compared": base if has_base and can_be_compared(source, dataset, base, slug) else None,
        "row": row,
        "cards": cards_of(asked, dataset, slug, row, of_base) if row else [],
        "tiers": tiers,
        "by_tier": by_tier,
        "weights": weights_of(asked, dataset, slug),
        "before": slugs[place - 1] if place > 0 else None,
        "after": slugs[place + 1] if place + 1 < len(slugs) else None,
        "trained": trained,
        "training": there if trained else [],
    }


def _listed(source: Source, dataset: str, slug: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The list of rollouts, its filters, and what is drawn of it; without rollouts, nothing."""
    try:
        chosen = choose(source.cells, dataset, slug, query)
    except NotFound:
        return {"chosen": None}
    start = min(max(number_of(query, "row", 1) - 1, 0), max(chosen.count - 1, 0))
    return {
        "chosen": chosen,
        "kept": chosen.query,
        "failures": failures_of(chosen),
        "pictures": pictures(chosen, _of_base(source, dataset, slug, query)),
        "start": start,
        "page": PAGE,
        "rows": chosen.rows(start, PAGE).rows(named=True),
        "columns": COLUMNS,
        "numbers": NUMBERS,
        "filters": [(name, LABELS[name], _options(name)) for name in CHOICES],
        "types": [("", "all"), *((kind, kind) for kind in chosen.question_types)],
    }


def _options(name: str) -> list[tuple[str, str]]:
    return [("", "all"), *((value, label) for value, (label, _) in CHOICES[name].items())]


def _of_base(source: Source, dataset: str, slug: str, query: Mapping[str, str]) -> Chosen | None:
    """The base variant's rollouts that the same filter leaves."""
    base = base_of(slug)
    if base == slug:
        return None
    try:
        return choose(source.cells, dataset, base, {**query, "sort": ""})
    except NotFound:
        return None
