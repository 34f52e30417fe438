"""What has to run, in which order, to bring a part of the study up to date. Pure functions of the grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from partitions.grid import CELL_ASSETS, CELL_FIGURES, MARTS, WHOLE, Grid, Node, split_key

FINAL_ASSETS = (*MARTS, "warehouse", "report")


@dataclass(frozen=True)
class Unit:
    """Partitions that one Dagster run makes, in order: one partition, a whole cell, or all marts.

    Attributes:
        name: what a person sees.
        nodes: parents before their children.
    """

    name: str
    nodes: tuple[Node, ...]

    @property
    def key(self) -> str:
        """The partition key of the run; empty where there is none."""
        return self.nodes[0].key

    @property
    def shows_what_there_is(self) -> bool:
        """Whether it can be made although some of what it needs failed: marts show the cells that there are."""
        return self.nodes[0].asset in MARTS


def unit_of(node: Node) -> str:
    """Which unit a partition is made in."""
    if node.asset in CELL_ASSETS:
        return f"cell[{node.key}]"
    return "marts" if node.asset in FINAL_ASSETS else str(node)


def units(grid: Grid, nodes: Iterable[Node]) -> list[Unit]:
    """Group partitions into units; both stay in the order of the grid."""
    wanted = set(nodes)
    grouped: dict[str, list[Node]] = {}
    for node in grid.nodes:
        if node in wanted:
            grouped.setdefault(unit_of(node), []).append(node)
    return [Unit(name, tuple(members)) for name, members in grouped.items()]


def dependencies(grid: Grid, planned: list[Unit]) -> dict[str, set[str]]:
    """For each unit, the planned units that must be done before it."""
    names = {unit.name for unit in planned}
    return {
        unit.name: {unit_of(parent) for node in unit.nodes for parent in grid.parents(node)} & names - {unit.name}
        for unit in planned
    }


def descendants(needs: dict[str, set[str]]) -> dict[str, int]:
    """For each unit, how many others wait for it, directly or not."""
    above: dict[str, set[str]] = {}

    def all_needs(name: str) -> set[str]:
        if name not in above:
            above[name] = set(needs[name]).union(*(all_needs(need) for need in needs[name]))
        return above[name]

    counts = dict.fromkeys(needs, 0)
    for name in needs:
        for need in all_needs(name):
            counts[need] += 1
    return counts


def ancestors(grid: Grid, targets: Iterable[Node]) -> set[Node]:
    """The targets and everything that they are made from."""
    found: set[Node] = set()
    waiting = list(targets)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(grid.parents(node))
    return found


def slice_of(grid: Grid, *, datasets: set[str] | None = None, variants: set[str] | None = None) -> set[Node]:
    """Every partition that some cells need, and the marts that show them.

    A metric is relative to the base variant of the same model, so each chosen variant brings its base along. Cells
    whose rollouts nobody can make here, and nobody has imported yet, are left out.

    Args:
        grid: the study's grid.
        datasets: datasets of the cells; all when None.
        variants: variants of the cells; all when None.
    """
    if datasets is None and variants is None:
        return {node for node in grid.nodes if node.asset not in CELL_ASSETS or not grid.awaits_import(node.key)}
    chosen = set(grid.variants if variants is None else variants)
    chosen |= {base for base, _ in grid.base_pairs(sorted(chosen))} & set(grid.variants)
    # Not all of a cell's figures are made from one another.
    cells = {
        Node(figures, key)
        for key in grid.keys("cell_metrics")
        for figures in CELL_FIGURES
        if (datasets is None or split_key(key)[0] in datasets)
        and split_key(key)[1] in chosen
        and not grid.awaits_import(key)
    }
    return ancestors(grid, cells)


def final_nodes() -> set[Node]:
    """The marts, the warehouse and the report."""
    return {Node(asset, WHOLE) for asset in FINAL_ASSETS}
