"""Base models and the checkpoint registry: what exactly each variant's weights are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import polars as pl

from mbt_assets.identities import digest_of, model_identity
from mbt_assets.recipes import recipe
from mbt_assets.stage import Stage, StageSpec
from partitions.grid import Node
from partitions.modes import MODES
from partitions.study import HubSource, PathSource, RulesSource, variant
from resources.checkpoints import CheckpointError, digest_folder, made_once
from resources.compute import RESULT_FILE
from resources.tables import BaseModels, Checkpoints

REGISTRY_COLUMNS = list(Checkpoints.columns())


def _base_models(stage: Stage) -> pl.DataFrame:
    source = stage.study.models[stage.model].source
    row: dict[str, Any] = {"variant": stage.variant, "model": stage.model, "revision": None}
    if isinstance(source, RulesSource):
        row |= {"uri": f"rules://{stage.model}", "digest": model_identity(stage.study, stage.model)}
    elif isinstance(source, HubSource | PathSource):
        row |= resolve(source)
    else:
        row |= _made_student(stage, dict(source.spec))
    return pl.DataFrame([row], schema={name: column.dtype for name, column in BaseModels.columns().items()})


def resolve(source: HubSource | PathSource) -> dict[str, Any]:
    """What a published or local checkpoint is exactly: `uri`, `revision` and `digest`.

    Raises:
        CheckpointError: it cannot be found, or the Hub cannot be reached.
    """
    if isinstance(source, PathSource):
        folder = Path(source.path).absolute()
        return {"uri": str(folder), "revision": None, "digest": digest_folder(folder)}
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        revision = HfApi().model_info(source.repo, revision=source.revision).sha
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"the Hub did not say what {source.repo} is ({type(error).__name__}: {error}): check the name, the network "
            "and HF_TOKEN, or give a local folder as {kind: path, path: …}"
        ) from error
    uri = f"hub://{source.repo}@{revision}"
    return {"uri": uri, "revision": revision, "digest": digest_of(uri)}


def _made_student(stage: Stage, spec: dict[str, Any]) -> dict[str, Any]:
    made_of = digest_of(recipe(stage.study, stage.node))
    folder = stage.home.checkpoints / stage.model / f"base-{made_of[:16]}"

    def make(working: Path) -> dict[str, Any]:
        payload_spec = {**spec, "out_dir": str(working), "seed": stage.study.seed}
        return stage.compute.run(stage.context, "make_student", payload_spec)

    folder, result = made_once(folder, make, stage.context.log.info, force=stage.force)
    stage.context.log.info("%s: %s", stage.node, "made" if result else f"{folder} was there already")
    stage.note(**orjson.loads((folder / RESULT_FILE).read_bytes()))
    return {"uri": str(folder), "digest": digest_folder(folder)}


def _checkpoints(stage: Stage) -> pl.DataFrame:
    kind = MODES[stage.mode].kind
    trained = {"sft": "sft_checkpoints", "grpo": "grpo_checkpoints"}.get(kind)
    if trained:
        return stage.read(trained, stage.variant).select(REGISTRY_COLUMNS)
    base = stage.read("base_models", variant(stage.model, "base")).row(0, named=True)
    where = {"uri": base["uri"], "digest": base["digest"]}
    if kind == "external":
        where = _external(stage)
    row = {"variant": stage.variant, "model": stage.model, "mode": stage.mode, "kind": kind, **where}
    schema = {name: column.dtype for name, column in Checkpoints.columns().items()}
    return pl.DataFrame([row | {"parent_digest": None, "training_set_digest": None}], schema=schema)


def _external(stage: Stage) -> dict[str, Any]:
    entry = stage.study.models[stage.model].external.get(stage.mode)
    if entry is None or entry.source is None:
        raise CheckpointError(
            f"{stage.node}: the study does not say where this checkpoint is: set "
            f"models.{stage.model}.external.{stage.mode}.source to {{kind: path, path: …}} or {{kind: hub, repo: …}}"
        )
    resolved = resolve(entry.source)
    return {"uri": resolved["uri"], "digest": resolved["digest"]}


def checkpoint_of(stage: Stage, slug: str) -> dict[str, Any]:
    """The registry row of a variant."""
    return stage.read("checkpoints", slug).row(0, named=True)


def base_of(stage: Stage, model: str) -> dict[str, Any]:
    """The base-model row of a model of the grid."""
    return stage.lake.read(Node("base_models", variant(model, "base"))).row(0, named=True)


STAGES = [
    StageSpec("base_models", "models", _base_models, ("huggingface",), pool="gpu"),
    StageSpec("checkpoints", "training", _checkpoints),
]
