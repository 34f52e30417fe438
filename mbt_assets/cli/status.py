"""`mbt status`: the study's cells, and what is materialized, stale or failed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.table import Table

from mbt_assets.cli.common import JsonOption, StudyOption, out, platform_of

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform
    from mbt_assets.staleness import Standing
    from partitions.grid import Node

COLOURS = {"fresh": "green", "stale": "yellow", "failed": "red", "missing": "dim"}


def status(
    study: StudyOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the run with this seed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the study's partitions: how many are fresh, stale, missing or failed, and every cell with its reason."""
    from mbt_assets.cli.failures import failures
    from mbt_assets.staleness import assess

    platform = platform_of(study, seed)
    standings = assess(platform.axes.grid, platform.artifacts)
    failed = failures(platform, [node for node, standing in standings.items() if standing.state != "fresh"])
    if as_json:
        print(orjson.dumps(_rows(standings, failed)).decode())
        return
    out.print(_asset_table(platform, standings, failed))
    out.print(_cell_table(platform, standings, failed))


def _state(node: Node, standing: Standing, failed: dict[Node, str]) -> str:
    return "failed" if node in failed else standing.state


def _reason(node: Node, standing: Standing, failed: dict[Node, str]) -> str:
    return failed.get(node) or standing.reason


def _rows(standings: dict[Node, Standing], failed: dict[Node, str]) -> list[dict[str, Any]]:
    return [
        {
            "asset": node.asset,
            "partition": node.key or None,
            "state": _state(node, standing, failed),
            "reason": _reason(node, standing, failed),
            "rows": standing.stored.rows if standing.stored else None,
            "made": standing.stored.provenance.created_at if standing.stored else None,
        }
        for node, standing in standings.items()
    ]


def _asset_table(platform: Platform, standings: dict[Node, Standing], failed: dict[Node, str]) -> Table:
    table = Table(title=f"study {platform.study.name}: partitions")
    table.add_column("asset")
    for state, colour in COLOURS.items():
        table.add_column(state, justify="right", style=colour)
    counts: dict[str, Counter[str]] = {}
    for node, standing in standings.items():
        counts.setdefault(node.asset, Counter())[_state(node, standing, failed)] += 1
    for asset, count in counts.items():
        table.add_row(asset, *(str(count[state] or "·") for state in COLOURS))
    return table


def _cell_table(platform: Platform, standings: dict[Node, Standing], failed: dict[Node, str]) -> Table:
    from jobs.plan import CELL_ASSETS
    from partitions.grid import Node, split_key

    keys = platform.axes.grid.keys("cell_metrics")
    table = Table(title=f"{len(keys)} cells")
    for column in ("dataset", "variant", "state", "why"):
        table.add_column(column, overflow="fold")
    for key in keys:
        nodes = [Node(asset, key) for asset in CELL_ASSETS]
        states = [_state(node, standings[node], failed) for node in nodes]
        worst = next((s for s in ("failed", "missing", "stale") if s in states), "fresh")
        reasons = [_reason(n, standings[n], failed) for n, s in zip(nodes, states, strict=True) if s == worst]
        reason = reasons[0] if worst != "fresh" else ""
        table.add_row(*split_key(key), f"[{COLOURS[worst]}]{worst}[/]", reason.replace("[", "\\["))
    return table
