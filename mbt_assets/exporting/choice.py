"""What goes into an export: which tables, which cells, with or without long texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from partitions.grid import SCORES, Grid, Node, split_key
from resources.lake import Lake
from resources.tables import LAKE_TABLES, SQL_TABLES

GROUPS: dict[str, tuple[str, ...]] = {"marts": SQL_TABLES, "scores": SCORES}
"""Names that stand for several tables."""
TEXTS = frozenset(
    {"documents", "response", "reasoning", "content", "solution", "trace", "prompt", "completion", "reply"}
)
"""Columns of long texts: nearly all of an export's bytes, and no figure needs them."""


class ExportError(RuntimeError):
    """An export that cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Choice:
    """What goes into an export.

    Attributes:
        tables: lake tables, in the order of `LAKE_TABLES`.
        texts: whether the columns of TEXTS do.
        nodes: the partitions that the wanted cells need, `cell_metrics` among them; None for the whole study. Tables
            without partitions come with their rows of these cells.
    """

    tables: tuple[str, ...] = LAKE_TABLES
    texts: bool = True
    nodes: frozenset[Node] | None = None

    def wants(self, node: Node) -> bool:
        """Whether a partition of one of the tables goes into the export."""
        if self.nodes is None or not node.key:
            return True
        # What is computed of a cell but is no part of its metrics stands in no other partition's parents.
        return node in self.nodes or node.key in self.cells

    @property
    def cells(self) -> frozenset[str]:
        """Keys of the chosen cells; none for the whole study."""
        return frozenset(node.key for node in self.nodes or () if node.asset == "cell_metrics")

    @property
    def axes(self) -> tuple[frozenset[str], frozenset[str]]:
        """Datasets and variants of the chosen partitions; none for the whole study."""
        pairs = [split_key(node.key) for node in self.nodes or () if "|" in node.key]
        return frozenset(dataset for dataset, _ in pairs), frozenset(slug for _, slug in pairs)

    def columns(self, declared: Iterable[str]) -> list[str]:
        """Those of a table's columns that go into the export."""
        return [name for name in declared if self.texts or name not in TEXTS]

    def stored(self, grid: Grid, lake: Lake) -> list[Node]:
        """The partitions of the study that are in the lake and go into the export."""
        nodes = []
        for table in self.tables:
            there = set(lake.keys(table))
            nodes += [Node(table, key) for key in grid.keys(table) if key in there and self.wants(Node(table, key))]
        return nodes


def chosen_tables(names: Iterable[str]) -> tuple[str, ...]:
    """Lake tables by name, or by the name of a group of them; all where there is no name.

    Raises:
        ExportError: there is no such table.
    """
    wanted: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in LAKE_TABLES:
            known = ", ".join((*GROUPS, *LAKE_TABLES))
            raise ExportError(f"there is no table {name!r} to export; there are {known}")
        wanted.update(GROUPS.get(name, (name,)))
    return tuple(table for table in LAKE_TABLES if not wanted or table in wanted)
