"""How a study takes published training sets in the place of rows that a model would be asked for."""

from __future__ import annotations

from typing import Any

import yaml

from mbt_assets.publishing.choice import source_of
from mbt_assets.publishing.columns import TRACE
from mbt_assets.publishing.made import Made
from mbt_assets.publishing.markdown import fenced
from partitions.grid import Grid
from partitions.published import TEXTS

REPO = "OWNER/NAME"
COLUMNS = {"train_rollouts": {"response": "completion"}}
"""What a text is called here that is no trace: our reader's name of it, and ours."""


class _Dumper(yaml.SafeDumper):
    """Writes every entry out, so that each can be copied alone."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def read_back(made: Made) -> str:
    """The `published` entries of a study, as a block of YAML; empty where there is nothing to read back."""
    entries = entries_of(made)
    if not entries:
        return ""
    return fenced(yaml.dump({"published": entries}, Dumper=_Dumper, sort_keys=False, width=1000), "yaml")


def entries_of(made: Made, repo: str = REPO) -> dict[str, dict[str, Any]]:
    """The entries of a study's `published`, by the partition that each stands for."""
    grid = Grid(made.study)
    sources = [(source_of(grid, config.part), config.name) for config in made.configs]
    return {
        str(source): {"repo": repo, "config": name, "columns": COLUMNS.get(source.asset, {"trace": TRACE})}
        for source, name in sources
        if source is not None and source.asset in TEXTS
    }
