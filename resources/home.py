"""Where a study's files lie.

`MBT_HOME` (default: `.mbt` in the working folder) holds everything; `MBT_LAKE` moves the lake alone, and `MBT_ENGINE`
the engine's journals, to an object store if need be.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

GLOB = frozenset("*?[]")


class HomeError(ValueError):
    """A place for files that cannot be used; the message says why."""


@dataclass(frozen=True)
class Home:
    """Folders of one study.

    Attributes:
        root: `MBT_HOME`.
        study: the study's name.
    """

    root: Path
    study: str

    @classmethod
    def from_environment(cls, study: str) -> Home:
        """The home that `MBT_HOME` names; `.mbt` in the working folder when it is not set.

        Raises:
            HomeError: a place's name cannot be told from a pattern of names.
        """
        for name in ("MBT_HOME", "MBT_LAKE", "MBT_ENGINE"):
            if found := GLOB & set(os.environ.get(name, "")):
                raise HomeError(f"{name} holds {' '.join(sorted(found))}, which stands for other files: choose another")
        root = Path(os.environ.get("MBT_HOME") or ".mbt").absolute()
        if GLOB & set(str(root)):
            raise HomeError(f"{root} holds one of * ? [ ], which stand for other files: set MBT_HOME to another folder")
        return cls(root, study)

    @property
    def folder(self) -> Path:
        """This study's own folder."""
        return self.root / self.study

    @property
    def lake(self) -> str:
        """Root of the lake: `MBT_LAKE` with the study's name below it, or a folder here."""
        elsewhere = os.environ.get("MBT_LAKE")
        return f"{elsewhere.rstrip('/')}/{self.study}" if elsewhere else str(self.folder / "lake")

    @property
    def warehouse(self) -> Path:
        """The DuckDB file."""
        return self.folder / "mbt.duckdb"

    @property
    def engine(self) -> str:
        """Journals of the generation engine: `MBT_ENGINE` with the study's name below it, or a folder here."""
        elsewhere = os.environ.get("MBT_ENGINE")
        return f"{elsewhere.rstrip('/')}/{self.study}" if elsewhere else str(self.folder / "engine")

    @property
    def checkpoints(self) -> Path:
        """Trained weights; shared by all studies, since a folder is named by what it was made of."""
        return self.root / "checkpoints"

    @property
    def digests(self) -> Path:
        """Digests of checkpoint folders that were read before; shared by all studies."""
        return self.root / "digests"

    @property
    def logs(self) -> Path:
        """Output of payloads and servers."""
        return self.folder / "logs"

    @property
    def servers(self) -> Path:
        """Records of running model servers and the locks by which processes share them."""
        return self.folder / "servers"

    @property
    def dagster(self) -> Path:
        """`DAGSTER_HOME`."""
        return self.folder / "dagster"
