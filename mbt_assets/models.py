"""Base models and the checkpoint registry: what exactly each variant's weights are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from mbt_assets.identities import digest_of, model_identity
from mbt_assets.recipes import recipe
from mbt_assets.registry import Weights, resolve, verified, weights_now
from mbt_assets.stage import Stage, StageSpec
from partitions.grid import Node, registry_origin
from partitions.model_sources import EmbeddedSource, HubSource, PathSource, RulesSource
from partitions.modes import MODES
from partitions.study import variant
from resources.checkpoints import CheckpointError, current_digest, made_once
from resources.launching import RESULT_FILE
from resources.tables import BaseModels, Checkpoints


def _base_models(stage: Stage) -> pl.DataFrame:
    source = stage.study.models[stage.model].source
    if isinstance(source, RulesSource):
        weights = Weights(f"rules://{stage.model}", model_identity(stage.study, stage.model))
    elif isinstance(source, HubSource | PathSource):
        weights = resolve(source, stage.home)
    elif isinstance(source, EmbeddedSource):
        weights = _made_student(stage, dict(source.spec))
    else:
        raise CheckpointError(
            f"{stage.node}: {stage.model} has no weights here (source: imported): its rollouts have to be imported, "
            "with mbt import rollouts"
        )
    row = {"variant": stage.variant, "model": stage.model, **asdict(weights)}
    return pl.DataFrame([row], schema={name: column.dtype for name, column in BaseModels.columns().items()})


def _made_student(stage: Stage, spec: dict[str, Any]) -> Weights:
    made_of = digest_of(recipe(stage.study, stage.node))
    folder = stage.home.checkpoints / stage.model / f"base-{made_of[:16]}"

    def make(working: Path) -> dict[str, Any]:
        payload_spec = {**spec, "out_dir": str(working), "seed": stage.study.seed}
        needs = stage.study.models[stage.model].compute
        return stage.compute.run(stage.context, "make_student", payload_spec, needs=needs)

    folder, result = made_once(folder, make, stage.context.log.info, force=stage.force)
    stage.context.log.info("%s: %s", stage.node, "made" if result else f"{folder} was there already")
    stage.note(**orjson.loads((folder / RESULT_FILE).read_bytes()))
    return Weights(str(folder), current_digest(folder, stage.home.digests))


def _checkpoints(stage: Stage) -> pl.DataFrame:
    weights = weights_now(stage.study, stage.lake, stage.home, stage.variant)
    origin = registry_origin(stage.variant)
    made = stage.lake.read(origin).row(0, named=True) if origin else {}
    if made and made["digest"] != weights.digest:
        stage.context.log.warning("%s: the files of %s are not those that %s made", stage.node, weights.uri, origin)
    # Of files that were put there by hand nobody knows what they were made of.
    ours = made if made and made["digest"] == weights.digest else {}
    stage.note(changed_by_hand=int(bool(made) and not ours))
    row = {
        "variant": stage.variant,
        "model": stage.model,
        "mode": stage.mode,
        "kind": MODES[stage.mode].kind,
        "uri": weights.uri,
        "digest": weights.digest,
        "parent_digest": ours.get("parent_digest"),
        "training_set_digest": ours.get("training_set_digest"),
    }
    return pl.DataFrame([row], schema={name: column.dtype for name, column in Checkpoints.columns().items()})


def checkpoint_of(stage: Stage, slug: str) -> dict[str, Any]:
    """The registry row of a variant, whose weights are still those that were registered.

    Raises:
        CheckpointError: they have changed, are damaged or gone.
    """
    node = Node("checkpoints", slug)
    return verified(stage, stage.lake.read(node).row(0, named=True), node)


def base_of(stage: Stage, model: str) -> dict[str, Any]:
    """The base-model row of a model of the grid, whose weights are still those that were registered.

    Raises:
        CheckpointError: they have changed, are damaged or gone.
    """
    node = Node("base_models", variant(model, "base"))
    return verified(stage, stage.lake.read(node).row(0, named=True), node)


STAGES = [
    StageSpec("base_models", "models", _base_models, ("huggingface",), pool="gpu"),
    StageSpec("checkpoints", "training", _checkpoints),
]
