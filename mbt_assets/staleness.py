"""Which partitions are there, missing or out of date, read from the lake alone.

A partition is stale when its recipe changed, a parent has other rows than it was made from, or a parent is itself
missing or stale. The lake's footers say what each was made of, so nothing has to be remembered elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from mbt_assets.recipes import fingerprint, imported_recipe, recipe
from partitions.grid import CELL_ASSETS, MARTS, Grid, Node
from resources.artifacts import Artifacts
from resources.lake import FAILED_CHECK, Provenance, Stored

State = Literal["fresh", "stale", "missing"]
IMPORT_AGAIN = "these rows are imported: import them again (mbt import rollouts … --replace), or mbt import forget them"


@dataclass(frozen=True)
class Standing:
    """How one partition stands, and why it is not fresh."""

    state: State
    reason: str = ""
    stored: Stored | None = None


def assess(grid: Grid, artifacts: Artifacts, nodes: Iterable[Node] | None = None) -> dict[Node, Standing]:
    """The standing of every partition of a study.

    Args:
        grid: the study's partitions and edges.
        artifacts: finds what is stored.
        nodes: look at these alone, parents first; parents outside them count as fresh if they are there.
    """
    chosen = list(grid.nodes if nodes is None else nodes)
    outside = {parent for node in chosen for parent in grid.parents(node)} - set(chosen)
    wanted = [*outside, *chosen]
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(wanted, pool.map(artifacts.stored, wanted), strict=True))
    # What the lake says, whatever the grid was told: rows may have been imported since.
    imported = {node.key for node, stored in found.items() if stored is not None and stored.provenance.imported}
    grid = Grid(grid.study, grid.imported | imported)
    standings = {node: Standing("fresh" if found[node] else "missing", "", found[node]) for node in outside}
    for node in chosen:
        standings[node] = _standing(grid, artifacts, node, found[node], standings)
    return {node: standings[node] for node in chosen}


def cell_standing(standings: Mapping[Node, Standing], key: str) -> Standing:
    """The worst standing of what a cell consists of: missing before stale before fresh.

    Args:
        standings: by `assess`.
        key: of the cell.
    """
    own = [standings[node] for node in (Node(asset, key) for asset in CELL_ASSETS) if node in standings]
    worst: tuple[State, ...] = ("missing", "stale", "fresh")
    return min(own, key=lambda standing: worst.index(standing.state), default=Standing("missing", "never made"))


def _standing(
    grid: Grid, artifacts: Artifacts, node: Node, stored: Stored | None, known: dict[Node, Standing]
) -> Standing:
    if stored is None:
        awaited = node.asset == "validation_rollouts" and grid.awaits_import(node.key)
        return Standing("missing", "to be imported (mbt import rollouts)" if awaited else "never made")
    versions: dict[str, str] = {}
    for parent in grid.parents(node):
        standing = known[parent]
        if standing.stored is None and node.asset in MARTS:
            continue
        if standing.state != "fresh" or standing.stored is None:
            return Standing("stale", f"{parent} is {standing.state}", stored)
        versions[str(parent)] = standing.stored.data_version
    if stored.provenance.imported:
        now = imported_recipe(stored.provenance.recipe)
    else:
        now = recipe(grid.study, node) | artifacts.bound_to(node)
    if fingerprint(now, versions) == stored.provenance.fingerprint:
        return Standing("fresh", "", stored)
    again = f"; {IMPORT_AGAIN}" if stored.provenance.imported else ""
    return Standing("stale", _difference(stored.provenance, now, versions) + again, stored)


def _difference(made: Provenance, now: dict[str, object], versions: dict[str, str]) -> str:
    if made.fingerprint.startswith(FAILED_CHECK):
        return made.fingerprint
    settings = [key for key in {**made.recipe, **now} if made.recipe.get(key) != now.get(key)]
    if settings:
        return f"{', '.join(settings)} changed"
    parents = [name for name in {**made.inputs, **versions} if made.inputs.get(name) != versions.get(name)]
    return f"{', '.join(parents)} changed" if parents else "made by another version"
