"""Which trained checkpoints stay: the last ones of a variant, and every one that something in a lake refers to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson

from mbt_assets.training_notes import PROVENANCE_FILE
from partitions.grid import RETESTS, SCORES, Node
from resources.checkpoints import ADAPTER_CONFIG, CheckpointError, base_of_adapter, current_digest
from resources.home import Home
from resources.lake import Lake
from resources.tables import TABLES

REGISTRIES = ("base_models", "sft_checkpoints", "grpo_checkpoints", "checkpoints")
SCORED = ("train_rollouts", "validation_rollouts", *SCORES, RETESTS)
IN_THE_MAKING = (".partial", ".old")


def prune(home: Home, model: str, mode: str, *, keep: int, newest: Path) -> list[Path]:
    """Remove the checkpoints of a variant that nobody needs any more.

    Args:
        home: whose checkpoints; those of all its studies lie together.
        model: of the variant.
        mode: of the variant.
        keep: how many of the latest stay, whatever refers to them.
        newest: stays too; its row may not be in the lake yet.

    Returns:
        The removed folders.
    """
    folders = trained_folders(home, model, mode)
    old = [folder for folder in folders[keep:] if folder != newest]
    if not old:
        return []
    needed = references(home)
    unneeded = [folder for folder in old if not _is_needed(folder, needed, home)]
    for folder in unneeded:
        # Somebody else may be at it too.
        shutil.rmtree(folder, ignore_errors=True)
    return unneeded


def trained_folders(home: Home, model: str, mode: str) -> list[Path]:
    """The trained checkpoints of a variant, the latest first."""
    found = [
        folder
        for folder in (home.checkpoints / model).glob(f"{mode}-*")
        # `mbt-r-…` is the beginning of `mbt-r-grpo-…` as well.
        if "-" not in folder.name.removeprefix(f"{mode}-")
        and folder.suffix not in IN_THE_MAKING
        and (folder / PROVENANCE_FILE).is_file()
    ]
    return sorted(found, key=_made_at, reverse=True)


def _made_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # removed in the meantime
        return 0.0


def references(home: Home) -> set[str]:
    """Digests and folders of every checkpoint that a lake of this home refers to, or that an adapter belongs on."""
    found: set[str] = set()
    for lake in lakes(home):
        for table in REGISTRIES:
            for column in ("uri", "digest", "parent_digest"):
                found |= _values(lake, table, column)
        for table in SCORED:
            found |= _values(lake, table, "checkpoint_digest")
    for config in home.checkpoints.glob(f"*/*/{ADAPTER_CONFIG}"):
        if config.parent.suffix not in IN_THE_MAKING:
            found.add(base_of_adapter(config.parent)[0])
    return found


def lakes(home: Home) -> Iterator[Lake]:
    """The lakes of all studies that share this home's checkpoints."""
    lake = Lake(home.lake)
    here = lake.root
    yield lake
    others = home.root.glob("*/lake") if home.lake == str(home.folder / "lake") else here.parent.iterdir()
    for folder in others:
        if str(folder) != str(here) and folder.is_dir():
            yield Lake(str(folder))


def _values(lake: Lake, table: str, column: str) -> set[str]:
    if column not in TABLES[table].column_names():
        return set()
    nodes = [Node(table, key) for key in lake.keys(table)]
    return {value for node in nodes for value in lake.values(node, column) if value is not None}


def _is_needed(folder: Path, needed: set[str], home: Home) -> bool:
    if str(folder) in needed:
        return True
    try:
        digest = current_digest(folder, home.digests)
    except CheckpointError:
        digest = ""
    try:
        noted = orjson.loads((folder / PROVENANCE_FILE).read_bytes()).get("digest", "")
    except FileNotFoundError:  # removed in the meantime
        return False
    return bool({digest, noted} & needed)
