"""`provenance.json` of a trained checkpoint: what it was made of, for whoever finds the folder alone."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

import mbt_assets
from mbt_assets.stage import Stage
from partitions.grid import Node
from partitions.study import Training
from resources.lake import rows_digest

PROVENANCE_FILE = "provenance.json"


def made_from(
    stage: Stage,
    settings: Training,
    rows: pl.DataFrame,
    sources: list[Node],
    base: dict[str, str],
    result: dict[str, Any],
) -> dict[str, Any]:
    """The content of a checkpoint's `provenance.json`.

    Args:
        stage: the partition that was trained for.
        settings: of the trainer, in this mode.
        rows: what it was trained on.
        sources: the partitions that the rows come from.
        base: `uri` and `digest` of the checkpoint that training started from.
        result: what the payload says of its run.
    """
    stored = {str(node): stage.lake.stored(node) for node in sources}
    return {
        "variant": stage.variant,
        "study": stage.study.name,
        "base": {**base, "model": stage.study.models[stage.model].source.model_dump()},
        "training_set": {
            "digest": rows_digest(rows),
            "rows": rows.height,
            "partitions": {name: found.data_version for name, found in stored.items() if found},
        },
        "settings": settings.model_dump(exclude={"by_mode"})
        | {"gpus": stage.study.models[stage.model].compute.training_gpus},
        "seed": stage.study.seed,
        "versions": {"mbt-assets": mbt_assets.__version__, **result.get("versions", {})},
        "git_commit": git_commit(),
        "run_id": stage.context.run.run_id,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "result": {name: value for name, value in result.items() if name not in ("curve", "versions")},
    }


def git_commit() -> str | None:
    """The commit of the checkout that this code runs from, with `-dirty` where it was edited; None if it is none."""
    root = Path(mbt_assets.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None
