"""What was made of a folder: the facts that its card and its manifest are written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mbt_assets.publishing.choice import Part, Selection
from mbt_assets.publishing.columns import Column
from partitions.grid import Node
from partitions.study import Study
from resources.lake import Stored


@dataclass(frozen=True)
class Config:
    """One configuration, as it was written.

    Attributes:
        part: what it is of.
        files: below the folder.
        rows: in all files.
        questions: different ones.
        data_bytes: of the rows in memory.
        file_bytes: of the files.
        notes: what is not up to date about it, or left out.
        checkpoints: digests of the weights that answered; none for training sets.
    """

    part: Part
    files: tuple[str, ...]
    rows: int
    questions: int
    data_bytes: int
    file_bytes: int
    notes: tuple[str, ...]
    checkpoints: frozenset[str]

    @property
    def name(self) -> str:
        """Of the configuration, and of its folder."""
        return self.part.config


@dataclass(frozen=True)
class Made:
    """A folder whose rows are written, and what they are made of.

    Attributes:
        study: whose rows.
        selection: what was chosen.
        columns: of every configuration.
        configs: in the study's order.
        origins: partitions that were read, and those behind them.
        created_at: ISO 8601, UTC.
        version: of mbt-assets.
        git_commit: of the checkout that it ran from; None where it was none.
    """

    study: Study
    selection: Selection
    columns: tuple[Column, ...]
    configs: tuple[Config, ...]
    origins: Mapping[Node, Stored]
    created_at: str
    version: str
    git_commit: str | None

    @property
    def rows(self) -> int:
        """Of all configurations."""
        return sum(config.rows for config in self.configs)

    @property
    def file_bytes(self) -> int:
        """Of all Parquet files."""
        return sum(config.file_bytes for config in self.configs)

    @property
    def datasets(self) -> list[str]:
        """Datasets of the configurations."""
        return list(dict.fromkeys(config.part.dataset for config in self.configs))
