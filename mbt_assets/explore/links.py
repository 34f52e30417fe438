"""Which stored partition was made of which: the way from a row back to what it comes from.

`sql/views/partition_lineage.sql` says the same of the whole lake; here the footers of some partitions are enough.
"""

from __future__ import annotations

from dataclasses import dataclass

from mbt_assets.explore.source import Source
from partitions.grid import Node, cell_key
from resources.lake import Stored


@dataclass(frozen=True)
class Parent:
    """A partition that another was made from.

    Attributes:
        name: `table[partition]`.
        version_used: its data version when it was read.
        version_stored: its data version now; None where it is not stored, or not of the study.
    """

    name: str
    version_used: str
    version_stored: str | None

    @property
    def is_current(self) -> bool:
        """Whether its rows are still those that were read."""
        return self.version_used == self.version_stored


def stored(source: Source, node: Node) -> Stored | None:
    """What lies in the lake for a partition of the study; None where there is nothing."""
    standing = source.standings.get(node)
    return standing.stored if standing else source.lake.stored(node)


def parents_of(source: Source, node: Node) -> list[Parent]:
    """The partitions that a stored one was made from; none where it is not stored, or came from elsewhere."""
    found = stored(source, node)
    used = found.provenance.inputs if found else {}
    return [Parent(name, version, _version(source, name)) for name, version in sorted(used.items())]


def _version(source: Source, name: str) -> str | None:
    asset, _, key = name.removesuffix("]").partition("[")
    found = stored(source, Node(asset, key))
    return found.data_version if found else None


def is_made_of(source: Source, child: Node, parent: Node) -> bool:
    """Whether a stored partition was made of the very rows that another holds now."""
    below, above = stored(source, child), stored(source, parent)
    return bool(below and above) and below.provenance.inputs.get(str(parent)) == above.data_version  # type: ignore[union-attr]


def outdated(source: Source, tables: tuple[str, ...], dataset: str, variant: str) -> list[str]:
    """Those tables of scores of a cell whose rows were made of other rollouts than those that are there now."""
    key = cell_key(dataset, variant)
    rollouts = Node("validation_rollouts", key)
    there = [table for table in tables if stored(source, Node(table, key)) is not None]
    return [table for table in there if not is_made_of(source, Node(table, key), rollouts)]


def can_be_compared(source: Source, dataset: str, *variants: str) -> bool:
    """Whether the page Compare can show these variants: the answers of each have scores."""
    return all(stored(source, Node("answer_scores", cell_key(dataset, variant))) is not None for variant in variants)
