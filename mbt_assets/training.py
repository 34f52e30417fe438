"""Training: the checkpoints that SFT and GRPO make, each with a note of what it was made of."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import orjson
import polars as pl

from mbt_assets.identities import digest_of
from mbt_assets.leakage import describe, leaked
from mbt_assets.models import base_of
from mbt_assets.recipes import recipe
from mbt_assets.registry import verified
from mbt_assets.retention import prune
from mbt_assets.stage import Stage, StageSpec
from mbt_assets.training_notes import PROVENANCE_FILE, made_from
from mbt_assets.training_sets import with_prompts
from partitions.grid import Node, cell_key
from partitions.modes import MODES
from partitions.study import Training, variant
from resources.checkpoints import CheckpointError, current_digest, digest_folder, made_once
from resources.lake import rows_digest
from resources.launching import RESULT_FILE
from resources.tables import CURVE, TrainedCheckpoints

CURVE_PICTURE = "curve.png"
LOGGED_AS = {f"reward_{name}": f"rewards/{name}/mean" for name in ("exact_match", "well_formed")}
Trainer = Literal["sft", "grpo"]


def _sft_checkpoints(stage: Stage) -> pl.DataFrame:
    nodes = [Node("training_sets", cell_key(d, stage.variant)) for d in stage.study.training_datasets]
    base = base_of(stage, stage.model)
    rows = pl.concat([stage.read(node.asset, node.key) for node in nodes])
    return _trained(stage, "sft", rows, nodes, base["uri"], base["digest"])


def _grpo_checkpoints(stage: Stage) -> pl.DataFrame:
    nodes = [Node("train_questions", d) for d in stage.study.training_datasets]
    rows = _questions_to_practise(stage)
    parent = MODES[stage.mode].parent
    if parent == "base":
        start = base_of(stage, stage.model)
    else:
        node = Node("sft_checkpoints", variant(stage.model, parent))
        start = verified(stage, stage.lake.read(node).row(0, named=True), node)
    return _trained(stage, "grpo", rows, nodes, start["uri"], start["digest"])


def _questions_to_practise(stage: Stage) -> pl.DataFrame:
    """Training questions with prompt and gold answers; none of them may stand in a validation split."""
    settings = stage.study.training_of(stage.variant, "grpo")
    questions = pl.concat([stage.read("train_questions", d) for d in stage.study.training_datasets])
    pairs = leaked(stage, stage.study.training_datasets)
    if settings.drop_leaked:
        given = questions.height
        questions = questions.join(pairs, on=["dataset", "question_id"], how="anti", maintain_order="left")
        stage.note(dropped_leaked=given - questions.height)
    questions = questions.head(settings.limit) if settings.limit else questions
    pairs = pairs.join(questions, on=["dataset", "question_id"], how="semi")
    if pairs.height:
        raise ValueError(
            f"{stage.node}: {pairs['question_id'].n_unique()} training questions stand in a validation split: "
            f"{describe(pairs)}. Take them out of the training split, or set grpo.drop_leaked: true"
        )
    return with_prompts(questions).select("question_id", "answer", "aliases", "prompt")


def _trained(
    stage: Stage, trainer: Trainer, rows: pl.DataFrame, sources: list[Node], base: str, parent: str
) -> pl.DataFrame:
    """Train from `base` on `rows` and register the result.

    Args:
        stage: the partition.
        trainer: which payload.
        rows: what it trains on.
        sources: the partitions that the rows come from.
        base: registry uri of the checkpoint to start from.
        parent: that checkpoint's digest.
    """
    training_set = rows_digest(rows)
    made_of = digest_of([recipe(stage.study, stage.node), parent, training_set])
    folder = stage.home.checkpoints / stage.model / f"{stage.mode}-{made_of[:16]}"
    settings = stage.study.training_of(stage.variant, trainer)

    def make(working: Path) -> dict[str, Any]:
        rows_file = working.with_name(working.name + ".rows.parquet")
        working.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(rows_file)
        spec = _spec(stage, settings, working) | _loadable(base) | {"train": str(rows_file)}
        needs = stage.study.models[stage.model].compute
        result = stage.compute.run(stage.context, trainer, spec, accelerate=settings.accelerate, needs=needs)
        rows_file.unlink(missing_ok=True)
        note = {"digest": digest_folder(working)}
        note |= made_from(stage, settings, rows, sources, {"uri": base, "digest": parent}, result)
        (working / PROVENANCE_FILE).write_bytes(orjson.dumps(note, option=orjson.OPT_INDENT_2))
        return result

    folder, fresh = made_once(folder, make, stage.context.log.info, force=stage.force)
    if fresh is None:
        stage.context.log.info("%s: %s was trained on the same rows before; it is used again", stage.node, folder)
        os.utime(folder)  # the last to be thrown away
    row = _registered(stage, trainer, folder, parent, training_set)
    _tidy(stage, folder)
    return row


def _tidy(stage: Stage, newest: Path) -> None:
    keep = stage.study.limits.keep_checkpoints
    try:
        removed = prune(stage.home, stage.model, stage.mode, keep=keep, newest=newest)
    except Exception as error:  # whatever it is, it must not cost a training that is done
        stage.context.log.warning("%s: old checkpoints stay: %s: %s", stage.node, type(error).__name__, error)
        return
    for path in removed:
        stage.context.log.info("%s: removed %s: no score refers to it, and newer ones are there", stage.node, path)


def _spec(stage: Stage, settings: Training, working: Path) -> dict[str, Any]:
    return {
        "out_dir": str(working),
        "seed": stage.study.seed,
        "trl": settings.trl,
        "peft": settings.peft,
        "adapter": settings.adapter == "serve",
        "quantize": settings.quantize,
        "too_long": settings.too_long,
        "report_to": settings.report_to,
        "log_dir": str(stage.home.logs / "training" / working.name.removesuffix(".partial")),
        "trust_remote_code": stage.study.models[stage.model].trust_remote_code,
    }


def _loadable(uri: str) -> dict[str, str | None]:
    """What `from_pretrained` takes for a registry uri: a folder or a Hub id, and the revision."""
    if uri.startswith("rules://"):
        raise CheckpointError(f"{uri} has no weights: it cannot be trained")
    if not uri.startswith("hub://"):
        return {"base": uri, "revision": None}
    repo, _, revision = uri.removeprefix("hub://").partition("@")
    return {"base": repo, "revision": revision or None}


def _registered(stage: Stage, kind: str, folder: Path, parent: str, training_set: str) -> pl.DataFrame:
    result = orjson.loads((folder / RESULT_FILE).read_bytes())
    schema = {name: column.dtype for name, column in TrainedCheckpoints.columns().items()}
    curve = [{name: point.get(LOGGED_AS.get(name, name)) for name in CURVE} for point in result["curve"]]
    row = {name: result.get(name) for name in schema} | {
        "curve": curve,
        "variant": stage.variant,
        "model": stage.model,
        "mode": stage.mode,
        "kind": kind,
        "uri": str(folder),
        "digest": current_digest(folder, stage.home.digests),
        "parent_digest": parent,
        "training_set_digest": training_set,
    }
    _show_curve(stage, folder)
    return pl.DataFrame([row], schema=schema)


def _show_curve(stage: Stage, folder: Path) -> None:
    picture = folder / CURVE_PICTURE
    if picture.is_file():
        encoded = base64.b64encode(picture.read_bytes()).decode()
        stage.note(curve=dg.MetadataValue.md(f"![loss over steps](data:image/png;base64,{encoded})"))
    stage.note(folder=dg.MetadataValue.path(str(folder)))


def _figures(frame: pl.DataFrame) -> dict[str, float | int | None]:
    row = frame.row(0, named=True)
    shown = ("rows", "rows_too_long", "steps", "final_loss", "seconds", "tokens", "tokens_per_second", "peak_memory_mb")
    return {name: row[name] for name in shown}


STAGES = [
    StageSpec(name, "training", make, ("pytorch", "huggingface"), pool="gpu", figures=_figures)
    for name, make in (("sft_checkpoints", _sft_checkpoints), ("grpo_checkpoints", _grpo_checkpoints))
]
