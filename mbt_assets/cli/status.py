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
    from mbt_assets.staleness import assess

    platform = platform_of(study, seed)
    standings = assess(platform.axes.grid, platform.artifacts)
    failed = _failed(platform, standings)
    if as_json:
        print(orjson.dumps(_rows(standings, failed)).decode())
        return
    out.print(_asset_table(platform, standings, failed))
    out.print(_cell_table(platform, standings, failed))


def _state(node: Node, standing: Standing, failed: set[Node]) -> str:
    return "failed" if node in failed and standing.state != "fresh" else standing.state


def _rows(standings: dict[Node, Standing], failed: set[Node]) -> list[dict[str, Any]]:
    return [
        {
            "asset": node.asset,
            "partition": node.key or None,
            "state": _state(node, standing, failed),
            "reason": standing.reason,
            "rows": standing.stored.rows if standing.stored else None,
            "made": standing.stored.provenance.created_at if standing.stored else None,
        }
        for node, standing in standings.items()
    ]


def _failed(platform: Platform, standings: dict[Node, Standing]) -> set[Node]:
    """Partitions whose last run failed, as the Dagster instance knows."""
    if not (platform.home.dagster / "dagster.yaml").exists():
        return set()
    import dagster as dg

    from mbt_assets.cli.instance import open_instance
    from partitions.grid import Node

    found: set[Node] = set()
    with open_instance(platform.home) as instance:
        for asset in dict.fromkeys(node.asset for node in standings):
            keys = [
                node.key for node, standing in standings.items() if node.asset == asset and standing.state != "fresh"
            ]
            partitions = platform.axes.partitions_of(asset)
            if not keys or partitions is None:
                continue
            states = instance.get_status_by_partition(dg.AssetKey(asset), keys, partitions) or {}
            found |= {
                Node(asset, key) for key, state in states.items() if state is not None and state.value == "FAILED"
            }
    return found


def _asset_table(platform: Platform, standings: dict[Node, Standing], failed: set[Node]) -> Table:
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


def _cell_table(platform: Platform, standings: dict[Node, Standing], failed: set[Node]) -> Table:
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
        reason = next((standings[n].reason for n, s in zip(nodes, states, strict=True) if s == worst), "")
        table.add_row(*split_key(key), f"[{COLOURS[worst]}]{worst}[/]", reason.replace("[", "\\["))
    return table
