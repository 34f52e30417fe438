"""Training sets, and the checkpoints that SFT and GRPO make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl

from mbt_assets import prompts
from mbt_assets.checks import NOT_EMPTY
from mbt_assets.identities import digest_of
from mbt_assets.models import base_of
from mbt_assets.recipes import recipe
from mbt_assets.scoring.answers import extract_answer, score
from mbt_assets.stage import Stage, StageSpec
from partitions.grid import cell_key
from partitions.modes import MODES
from partitions.study import variant
from resources.checkpoints import CheckpointError, digest_folder, made_once
from resources.compute import RESULT_FILE
from resources.lake import rows_digest
from resources.tables import TrainedCheckpoints, TrainingSets

SetRows = list[dict[str, Any]]


def completion_of(trace: str, answer: str) -> str:
    """The text a student is trained to write: the trace inside think tags, then the answer inside answer tags."""
    return f"<think>\n{trace}\n</think>\n\n<answer>{answer}</answer>"


def _complete(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("error").is_null() & (pl.col("finish_reason") != "length"))


def _from_rollouts(rows: pl.DataFrame, only_correct: bool) -> pl.DataFrame:
    """Complete (and correct) rollouts as they are: the server's reasoning, then its content."""
    complete = _complete(rows).filter(pl.col("reasoning") != "")
    if only_correct:
        right = [
            score(extract_answer(row["content"])[0], [row["answer"], *row["aliases"]]).exact_match == 1
            for row in complete.iter_rows(named=True)
        ]
        complete = complete.filter(pl.Series(right, dtype=pl.Boolean))
    text = [
        f"<think>\n{row['reasoning'].strip()}\n</think>\n\n{row['content'].strip()}"
        for row in complete.iter_rows(named=True)
    ]
    return complete.with_columns(pl.Series("completion", text, dtype=pl.String), trace_id=pl.lit(0, pl.Int64))


def _from_traces(rows: pl.DataFrame) -> pl.DataFrame:
    """Complete traces, each closed with the gold answer."""
    complete = _complete(rows).drop_nulls("trace")
    text = [completion_of(row["trace"], row["answer"]) for row in complete.iter_rows(named=True)]
    zero = [pl.lit(0, pl.Int64).alias(name) for name in ("rollout_id", "trace_id") if name not in complete.columns]
    return complete.with_columns(pl.Series("completion", text, dtype=pl.String), *zero)


def _training_sets(stage: Stage) -> pl.DataFrame:
    mode = MODES[stage.mode]
    table, rows_variant = stage.grid.sources[stage.variant]
    questions = stage.read("train_questions", stage.dataset).select(
        "question_id", "sample_id", "question", "documents", "answer", "aliases"
    )
    rows = stage.read(table, cell_key(stage.dataset, rows_variant))
    joined = rows.join(questions, on="question_id", how="inner", validate="m:1", maintain_order="left")
    if joined.height != rows.height:
        raise ValueError(f"{stage.node}: {rows.height - joined.height} rows of {table} answer no training question")
    made = _from_rollouts(joined, mode.only_correct) if table == "train_rollouts" else _from_traces(joined)
    kept = _limited(stage, made)
    stage.note(rows_in=rows.height, rows_complete=made.height, rows_out=kept.height)
    messages = [
        prompts.render("answer", documents=row["documents"], question=row["question"])
        for row in kept.iter_rows(named=True)
    ]
    schema = {name: column.dtype for name, column in TrainingSets.columns().items()}
    return kept.with_columns(
        pl.Series("prompt", messages, dtype=schema["prompt"]),
        dataset=pl.lit(stage.dataset),
        variant=pl.lit(stage.variant),
    ).select(list(schema))


def _limited(stage: Stage, rows: pl.DataFrame) -> pl.DataFrame:
    settings = stage.study.training_of(stage.model, "sft")
    if settings.num_rollouts:
        rows = rows.filter(pl.col("rollout_id") <= settings.num_rollouts)
    if settings.num_traces:
        rows = rows.filter(pl.col("trace_id") <= settings.num_traces)
    rows = rows.sort("sample_id", "rollout_id", "trace_id")
    return rows.head(settings.limit) if settings.limit else rows


def _sft_checkpoints(stage: Stage) -> pl.DataFrame:
    sets = [stage.read("training_sets", cell_key(d, stage.variant)) for d in stage.study.training_datasets]
    base = base_of(stage, stage.model)
    return _trained(stage, "sft", pl.concat(sets), base["uri"], base["digest"])


def _grpo_checkpoints(stage: Stage) -> pl.DataFrame:
    questions = pl.concat([stage.read("train_questions", d) for d in stage.study.training_datasets])
    limit = stage.study.training_of(stage.model, "grpo").limit
    questions = questions.head(limit) if limit else questions
    messages = [
        prompts.render("answer", documents=row["documents"], question=row["question"])
        for row in questions.iter_rows(named=True)
    ]
    prompt = pl.Series("prompt", messages, dtype=TrainingSets.columns()["prompt"].dtype)
    rows = questions.select("question_id", "answer", "aliases").with_columns(prompt)
    parent = MODES[stage.mode].parent
    if parent == "base":
        base = base_of(stage, stage.model)
        return _trained(stage, "grpo", rows, base["uri"], base["digest"])
    start = stage.read("sft_checkpoints", variant(stage.model, parent)).row(0, named=True)
    return _trained(stage, "grpo", rows, start["uri"], start["digest"])


def _trained(stage: Stage, trainer: Literal["sft", "grpo"], rows: pl.DataFrame, base: str, parent: str) -> pl.DataFrame:
    """Train from `base` on `rows` and register the result."""
    training_set = rows_digest(rows)
    made_of = digest_of([recipe(stage.study, stage.node), parent, training_set])
    folder = stage.home.checkpoints / stage.model / f"{stage.mode}-{made_of[:16]}"
    settings = stage.study.training_of(stage.model, trainer)

    def make(working: Path) -> dict[str, Any]:
        working.parent.mkdir(parents=True, exist_ok=True)
        rows_file = working.with_name(working.name + ".rows.parquet")
        rows.write_parquet(rows_file)
        spec = {
            **_loadable(base),
            "train": str(rows_file),
            "out_dir": str(working),
            "seed": stage.study.seed,
            "trl": settings.trl_of(stage.mode),
            "peft": settings.peft,
            "trust_remote_code": stage.study.models[stage.model].trust_remote_code,
        }
        gpus = stage.study.models[stage.model].compute.gpus
        result = stage.compute.run(stage.context, trainer, spec, accelerate=settings.accelerate, gpus=gpus)
        rows_file.unlink(missing_ok=True)
        return result

    folder, fresh = made_once(folder, make, stage.context.log.info, force=stage.force)
    if fresh is None:
        stage.context.log.info("%s: %s was trained on the same rows before; it is used again", stage.node, folder)
    result = orjson.loads((folder / RESULT_FILE).read_bytes())
    return _registered(stage, trainer, folder, result, parent, training_set, rows.height)


def _loadable(uri: str) -> dict[str, str | None]:
    """What `from_pretrained` takes for a registry uri: a folder or a Hub id, and the revision."""
    if uri.startswith("rules://"):
        raise CheckpointError(f"{uri} has no weights: it cannot be trained")
    if not uri.startswith("hub://"):
        return {"base": uri, "revision": None}
    repo, _, revision = uri.removeprefix("hub://").partition("@")
    return {"base": repo, "revision": revision or None}


def _registered(
    stage: Stage, kind: str, folder: Path, result: dict[str, Any], parent: str, training_set: str, rows: int
) -> pl.DataFrame:
    row = {
        "variant": stage.variant,
        "model": stage.model,
        "mode": stage.mode,
        "kind": kind,
        "uri": str(folder),
        "digest": digest_folder(folder),
        "parent_digest": parent,
        "training_set_digest": training_set,
        "rows": rows,
        "steps": result["steps"],
        "final_loss": result.get("final_loss"),
        "seconds": result["seconds"],
    }
    schema = {name: column.dtype for name, column in TrainedCheckpoints.columns().items()}
    return pl.DataFrame([row], schema=schema)


def _training_figures(frame: pl.DataFrame) -> dict[str, float | int | None]:
    row = frame.row(0, named=True)
    return {name: row[name] for name in ("rows", "steps", "final_loss", "seconds")}


STAGES = [
    StageSpec("training_sets", "training", _training_sets, checks=(NOT_EMPTY,)),
    StageSpec(
        "sft_checkpoints",
        "training",
        _sft_checkpoints,
        ("pytorch", "huggingface"),
        pool="gpu",
        figures=_training_figures,
    ),
    StageSpec(
        "grpo_checkpoints",
        "training",
        _grpo_checkpoints,
        ("pytorch", "huggingface"),
        pool="gpu",
        figures=_training_figures,
    ),
]
