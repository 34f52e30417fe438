"""What goes into a published folder: which partitions, under which name each, and whether they are up to date."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from mbt_assets.staleness import Standing
from partitions.grid import SCORES, Grid, Node, cell_key, split_key

Kind = Literal["training-sets", "rollouts"]
TABLES: dict[Kind, str] = {"training-sets": "training_sets", "rollouts": "validation_rollouts"}
"""For each kind of folder, the table whose rows its rows are."""
SPLITS: dict[Kind, str] = {"training-sets": "train", "rollouts": "validation"}
"""For each kind of folder, the one split that its configurations have."""
DEFAULT = "default"
"""The configuration that holds the rows of all others."""
SHOWN = 5
"""Partitions that an error names; it counts the others."""
LONGEST = 80
"""Characters of a configuration's name, which is a folder's too."""


class PublishingError(RuntimeError):
    """A folder that cannot be written or pushed; the message says why and what to do."""


@dataclass(frozen=True)
class Part:
    """One configuration of the folder: a training set, or a cell's rollouts with their scores.

    Attributes:
        node: the partition whose rows these are.
        notes: what is not up to date about it, or is left out of it; empty where all is well.
    """

    node: Node
    notes: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        """Its dataset in the study."""
        return split_key(self.node.key)[0]

    @property
    def variant(self) -> str:
        """Its `model__mode`."""
        return split_key(self.node.key)[1]

    @property
    def config(self) -> str:
        """The configuration's name: `dataset--variant`, with a digest where a path would take a letter for another."""
        plain = f"{self.dataset}--{self.variant}"
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", plain)[:LONGEST].lstrip("._-")
        digest = hashlib.sha256(self.node.key.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return plain if safe == plain else f"{safe}-{digest}"


@dataclass(frozen=True)
class Selection:
    """What is to be published.

    Attributes:
        kind: training sets or rollouts.
        parts: in the study's order.
        left_out: partitions that were chosen but are not there, by key: why.
    """

    kind: Kind
    parts: tuple[Part, ...]
    left_out: dict[str, str]


def choose(
    kind: Kind,
    grid: Grid,
    standings: Mapping[Node, Standing],
    *,
    datasets: Collection[str] = (),
    variants: Collection[str] = (),
    allow_stale: bool = False,
) -> Selection:
    """The partitions to publish.

    Args:
        kind: training sets or rollouts.
        grid: of the study.
        standings: of all its partitions.
        datasets: only these; all where there are none.
        variants: only these; all where there are none.
        allow_stale: also what is out of date or lacks scores, with a note; it stops the others from being published
            otherwise. What was never made is left out in any case.

    Raises:
        PublishingError: there is no such dataset or variant, nothing is there, or something is out of date.
    """
    _check_names(kind, grid, datasets, variants)
    parts: list[Part] = []
    left_out: dict[str, str] = {}
    for key in grid.keys(TABLES[kind]):
        dataset, slug = split_key(key)
        if (datasets and dataset not in datasets) or (variants and slug not in variants):
            continue
        node = Node(TABLES[kind], key)
        standing = standings.get(node, Standing("missing", "never made"))
        if standing.state == "missing":
            left_out[key] = standing.reason
        else:
            parts.append(Part(node, tuple(_faults(kind, node, standings))))
    if not parts:
        raise PublishingError(_nothing(kind, grid, left_out))
    unfit = [part for part in parts if part.notes]
    if unfit and not allow_stale:
        raise PublishingError(_out_of_date(unfit))
    return Selection(kind, tuple(parts), left_out)


def _check_names(kind: Kind, grid: Grid, datasets: Collection[str], variants: Collection[str]) -> None:
    known = grid.axes_of(TABLES[kind])
    for given, there, what in zip((datasets, variants), known, ("dataset", "variant"), strict=True):
        for name in given:
            if name not in (there or ()):
                raise PublishingError(
                    f"no {what} {name!r} with {kind.replace('-', ' ')} in the study {grid.study.name}; "
                    f"there are: {', '.join(there or ()) or 'none'}"
                )


def _faults(kind: Kind, node: Node, standings: Mapping[Node, Standing]) -> list[str]:
    own = [node, *(Node(table, node.key) for table in SCORES)] if kind == "rollouts" else [node]
    known = [(one, standings.get(one, Standing("missing", "never made"))) for one in own]
    return [f"{one.asset} {standing.state}: {standing.reason}" for one, standing in known if standing.state != "fresh"]


def _nothing(kind: Kind, grid: Grid, left_out: Mapping[str, str]) -> str:
    awaited = _listed([f"{key} ({reason})" for key, reason in left_out.items()])
    return (
        f"nothing to publish: the lake of the study {grid.study.name} holds none of the chosen "
        f"{kind.replace('-', ' ')}: {awaited or 'the study has none'}. Make them first (mbt demo, or the UI), or "
        "choose others with --dataset and --variant"
    )


def _out_of_date(parts: list[Part]) -> str:
    told = _listed([f"{part.node.key} ({'; '.join(part.notes)})" for part in parts])
    return (
        f"{len(parts)} of the chosen partitions are not up to date: {told}. Make them again, choose others with "
        "--dataset and --variant, or give --allow-stale to publish them with a note in the card"
    )


def _listed(texts: list[str]) -> str:
    more = f", and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def source_of(grid: Grid, part: Part) -> Node | None:
    """The partition that a training set's rows were chosen from; None for rollouts."""
    if part.node.asset != TABLES["training-sets"]:
        return None
    table, slug = grid.sources[part.variant]
    return Node(table, cell_key(part.dataset, slug))
