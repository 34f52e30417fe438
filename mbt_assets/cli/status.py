"""`mbt status`: the study's cells, and what is materialized, stale, running or failed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mbt_assets.cli.common import JsonOption, StudyOption, grid_now, out, platform_of, print_json, working

if TYPE_CHECKING:
    from mbt_assets.cli.activity import Activity
    from mbt_assets.definitions import Platform
    from mbt_assets.staleness import Standing
    from partitions.grid import Node

COLOURS = {"fresh": "green", "stale": "yellow", "running": "cyan", "failed": "red", "missing": "dim"}


def status(
    study: StudyOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the run with this seed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the study's partitions: how many are fresh, stale, running, failed or missing, and every cell with why."""
    from mbt_assets.cli.activity import activities
    from mbt_assets.staleness import assess

    platform = platform_of(study, seed)
    with working("reading the lake"):
        standings = assess(grid_now(platform), platform.artifacts)
    known = activities(platform, [node for node, standing in standings.items() if standing.state != "fresh"])
    if as_json:
        print_json(_rows(standings, known))
        return
    out.print(_asset_table(platform, standings, known))
    out.print(_cell_table(platform, standings, known))


def _state(node: Node, standing: Standing, known: dict[Node, Activity]) -> str:
    return known[node].state if node in known else standing.state


def _reason(node: Node, standing: Standing, known: dict[Node, Activity]) -> str:
    return (known[node].reason if node in known else "") or standing.reason


def _rows(standings: dict[Node, Standing], known: dict[Node, Activity]) -> list[dict[str, Any]]:
    return [
        {
            "asset": node.asset,
            "partition": node.key or None,
            "state": _state(node, standing, known),
            "reason": _reason(node, standing, known),
            "rows": standing.stored.rows if standing.stored else None,
            "source": (standing.stored.provenance.source or None) if standing.stored else None,
            "made": standing.stored.provenance.created_at if standing.stored else None,
        }
        for node, standing in standings.items()
    ]


def _asset_table(platform: Platform, standings: dict[Node, Standing], known: dict[Node, Activity]) -> Table:
    table = Table(title=f"study {platform.study.name}: partitions")
    table.add_column("asset")
    for state, colour in COLOURS.items():
        table.add_column(state, justify="right", style=colour)
    counts: dict[str, Counter[str]] = {}
    for node, standing in standings.items():
        counts.setdefault(node.asset, Counter())[_state(node, standing, known)] += 1
    for asset, count in counts.items():
        table.add_row(asset, *(str(count[state] or "·") for state in COLOURS))
    return table


def _with_source(reason: str, rollouts: Standing) -> str:
    """A cell's reason, and where its rollouts came from if they were not made here."""
    made = rollouts.stored.provenance if rollouts.stored else None
    return "; ".join(filter(None, (reason, f"rollouts {made.source}" if made and made.imported else "")))


def _cell_table(platform: Platform, standings: dict[Node, Standing], known: dict[Node, Activity]) -> Table:
    from jobs.plan import CELL_ASSETS
    from partitions.grid import Node, split_key

    keys = platform.axes.grid.keys("cell_metrics")
    table = Table(title=f"{len(keys)} cells")
    for column in ("dataset", "variant", "state", "why"):
        table.add_column(column, overflow="fold")
    for key in keys:
        nodes = [Node(asset, key) for asset in CELL_ASSETS]
        states = [_state(node, standings[node], known) for node in nodes]
        worst = next((s for s in ("running", "failed", "missing", "stale") if s in states), "fresh")
        reasons = [_reason(n, standings[n], known) for n, s in zip(nodes, states, strict=True) if s == worst]
        reason = _with_source(reasons[0] if worst != "fresh" else "", standings[nodes[0]])
        table.add_row(*split_key(key), f"[{COLOURS[worst]}]{worst}[/]", reason.replace("[", "\\["))
    return table
