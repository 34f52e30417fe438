"""Whether the marts that tables and figures are made from are up to date with the lake."""

from __future__ import annotations

from collections.abc import Sequence

from mbt_assets.staleness import Standing, assess
from partitions.grid import CELL_FIGURES, MARTS, Grid, Node
from resources.artifacts import Artifacts

NAMED = 3
"""Cells that are named one by one; of more it says how many."""
CELL_TABLES = ("validation_rollouts", *CELL_FIGURES)


def outdated(grid: Grid, artifacts: Artifacts, marts: Sequence[str] = MARTS) -> str:
    """What has to be said of marts that are not up to date, as one sentence; empty where all are.

    A cell that was never made is no reason: the marts are of the cells that there are. Reads footers alone.

    Args:
        grid: the study's partitions, with what was imported.
        artifacts: finds what is stored.
        marts: those that something is made from.
    """
    standings = assess(grid, artifacts)
    old = [mart for mart in marts if standings[Node(mart)].state != "fresh"]
    if not old:
        return ""
    cells = [key for key in grid.keys("cell_metrics") if _changed(key, old, standings)]
    # Settings may have changed, and no cell.
    why = f"{_first(cells)} changed since" if cells else standings[Node(old[0])].reason
    return (
        f"Outdated numbers: {len(old)} of {len(marts)} marts ({', '.join(old)}) are not up to date: {why}; "
        "`mbt demo` makes them anew, or materialize what is stale in the UI."
    )


def _changed(key: str, marts: Sequence[str], standings: dict[Node, Standing]) -> bool:
    """Whether a cell is out of date itself, or has other figures than a mart was made from."""
    own = {node: standings[node] for node in (Node(table, key) for table in CELL_TABLES) if node in standings}
    if any(standing.state == "stale" for standing in own.values()):
        return True
    now = {str(node): standing.stored.data_version for node, standing in own.items() if standing.stored}
    made = [stored.provenance.inputs for mart in marts if (stored := standings[Node(mart)].stored)]
    figures = [str(Node(table, key)) for table in CELL_FIGURES]
    return any(inputs.get(node) != now.get(node) for inputs in made for node in figures)


def _first(cells: Sequence[str]) -> str:
    named = ", ".join(cells[:NAMED])
    return f"{len(cells)} cell{'s' if len(cells) > 1 else ''} ({named}{', …' if len(cells) > NAMED else ''})"
