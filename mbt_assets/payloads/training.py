"""What all trainers share: TRL's configuration, the rows, resuming, and what is reported in the end.

Nothing here knows a study or what is trained; `sft` and `grpo` do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import pickle
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import datasets
import polars as pl
import torch
from transformers import PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainingArguments
from transformers.utils import logging as transformers_logging
from trl import SFTTrainer

from mbt_assets.payloads.bases import on_gpu
from mbt_assets.payloads.progress import Progress, peak_memory
from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.results import CURVE_PICTURE, curve_of, draw_curve, finite, versions
from mbt_assets.payloads.saving import TRAINER_FOLDER, save_final
from mbt_assets.payloads.specs import PayloadMistake, refuse_unknown
from mbt_assets.payloads.train_spec import TrainSpec, need_packages

LOGS_FOLDER = "logs"
SPEC_COPY = "spec.sha256"
MANAGED = {
    "output_dir",
    "seed",
    "report_to",
    "logging_dir",
    "disable_tqdm",
    "push_to_hub",
    "hub_model_id",
    "resume_from_checkpoint",
}
Config = TypeVar("Config", bound=TrainingArguments)


def prepare(spec: TrainSpec) -> None:
    """Sets this process up for a spec: threads, a quiet log, and where trackers write.

    Raises:
        PayloadMistake: a package that the spec asks for is not installed.
    """
    settle(spec.threads)
    need_packages(spec)
    if spec.report_to:
        folder = Path(spec.log_dir) if spec.log_dir else Path(spec.out_dir) / LOGS_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.update(TENSORBOARD_LOGGING_DIR=str(folder), WANDB_DIR=str(folder))


def settle(threads: int) -> None:
    """Sets this process up: torch's CPU threads, and a log without progress bars or warnings on coming renames."""
    torch.set_num_threads(threads)
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)


def read_rows(spec: TrainSpec, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Reads the training rows and checks that they have the columns, at least one row, and no nulls.

    Raises:
        PayloadMistake: the file is missing or its rows are not as declared.
    """
    try:
        rows = pl.read_parquet(spec.train)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise PayloadMistake(f"cannot read the training rows {spec.train}: {error}") from error
    for name, dtype in columns.items():
        if rows.schema.get(name) != dtype:
            found = rows.schema.get(name, "not there")
            raise PayloadMistake(f"{spec.train}: column {name!r} is {found}; it must be {dtype}")
        if rows[name].null_count():
            raise PayloadMistake(
                f"{spec.train}: column {name!r} has nulls, first in row {rows[name].is_null().arg_max()}"
            )
    if rows.is_empty():
        raise PayloadMistake(f"{spec.train} has no rows: there is nothing to train on")
    return rows


def trl_config(config_type: type[Config], spec: TrainSpec, report: Reporter, **defaults: Any) -> Config:
    """Builds TRL's configuration: the payload's defaults, then the spec's fields over them.

    Raises:
        PayloadMistake: a field that TRL does not have, that the payload sets itself, or with a value TRL refuses.
    """
    known = [field.name for field in dataclasses.fields(config_type) if field.init]
    where = f"spec.trl ({config_type.__name__})"
    refuse_unknown(spec.trl, known, where)
    if taken := sorted(MANAGED & spec.trl.keys()):
        raise PayloadMistake(f"{where}: {', '.join(taken)} cannot be given; the payload sets it")
    values = {
        "logging_steps": 0.05,  # a share of all steps
        "save_total_limit": 1,
        **({} if on_gpu(spec) else _CPU_DEFAULTS),
        **defaults,
        **spec.trl,
        "report_to": spec.report_to or "none",
        "disable_tqdm": True,
        "use_liger_kernel": _liger(
            spec, spec.trl.get("use_liger_kernel", defaults.get("use_liger_kernel", False)), report
        ),
        "output_dir": str(Path(spec.out_dir) / TRAINER_FOLDER),
        "seed": spec.seed,
    }
    try:
        return config_type(**values)
    except (ValueError, TypeError) as error:
        raise PayloadMistake(f"{where}: {error}") from error


def lora_config(spec: TrainSpec) -> Any:
    """The LoRA configuration of the spec, or None where all weights are trained."""
    if spec.peft is None:
        return None
    from peft import LoraConfig

    refuse_unknown(
        spec.peft, [field.name for field in dataclasses.fields(LoraConfig) if field.init], "spec.peft (LoraConfig)"
    )
    return LoraConfig(**{"task_type": "CAUSAL_LM", **spec.peft})


def train_and_save(
    trainer: Trainer,
    spec: TrainSpec,
    tokenizer: PreTrainedTokenizerBase,
    stored: torch.dtype,
    report: Reporter,
    *,
    rows: int | None = None,
    rows_too_long: int = 0,
) -> dict[str, Any]:
    """Trains, from the last saved step where there is one, and leaves the final folder.

    Args:
        trainer: TRL's, not yet trained.
        spec: what it was made of.
        tokenizer: saved beside the weights.
        stored: dtype of the weights in the final folder.
        report: gets a line at every log.
        rows: how many rows are trained on; as many as the trainer has when None.
        rows_too_long: how many rows were longer than `max_length`.

    Returns:
        What goes into `result.json`: final_loss (of the last log), steps, tokens (trained on), seconds (wall clock,
        that of earlier runs up to the step gone on from included), tokens_per_second (of training alone), rows,
        rows_too_long, peak_memory_mb (of the process that had most), parameters, trained_parameters, attention,
        liger, versions, and the curve, which is also drawn into `curve.png`.
    """
    started = time.monotonic()
    # GRPOTrainer's count is saved with its steps, SFTTrainer's is not.
    progress = Progress(report, counts_anew=isinstance(trainer, SFTTrainer))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress)
    size = _size(trainer)
    trained_rows = len(trainer.train_dataset) if rows is None else rows  # type: ignore[arg-type]
    step = _last_step(trainer, spec, report)
    try:
        trainer.train(resume_from_checkpoint=step)
    except pickle.UnpicklingError as error:
        # The optimizer's state is a pickle of tensors; one that holds anything else is refused, not run.
        raise PayloadMistake(f"{step} holds more than tensors and is not loaded: delete that folder") from error
    memory = float(trainer.accelerator.gather(torch.tensor([peak_memory()], device=trainer.accelerator.device)).max())
    curve = curve_of(trainer.state.log_history)
    save_final(trainer, spec, tokenizer, stored, report.is_main)
    if report.is_main:
        draw_curve(curve, Path(spec.out_dir) / CURVE_PICTURE)
    return {
        "final_loss": finite(progress.loss),
        "steps": trainer.state.global_step,
        "tokens": progress.tokens,
        "seconds": round(progress.earlier_seconds + time.monotonic() - started, 3),
        "tokens_per_second": round(progress.tokens / max(progress.seconds, 1e-9), 1),
        "rows": trained_rows,
        "rows_too_long": rows_too_long,
        "peak_memory_mb": round(memory, 1),
        **size,
        "attention": trainer.model.config._attn_implementation,  # type: ignore[union-attr]
        "liger": bool(trainer.args.use_liger_kernel),
        "versions": versions(),
        "curve": curve,
    }


_CPU_DEFAULTS = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
}


def _liger(spec: TrainSpec, wanted: bool, report: Reporter) -> bool:
    there = on_gpu(spec) and importlib.util.find_spec("liger_kernel") is not None
    if not wanted or spec.use_liger is False:
        return False
    if not there:
        report.say("Liger needs a GPU and the liger-kernel package: using the model's own layers")
    return there


def _size(trainer: Trainer) -> dict[str, int]:
    # Before the training, which may spread the weights over processes.
    model: Any = trainer.model
    return {"parameters": model.num_parameters(), "trained_parameters": model.num_parameters(only_trainable=True)}


def _last_step(trainer: Trainer, spec: TrainSpec, report: Reporter) -> str | None:
    """The newest complete step of an earlier run of the same spec; anything else in the folder is removed."""
    folder = Path(spec.out_dir) / TRAINER_FOLDER
    mark = folder / SPEC_COPY
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(spec), sort_keys=True).encode()).hexdigest()
    if report.is_main:
        if folder.exists() and (not mark.is_file() or mark.read_text() != digest):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(digest)
        for step in folder.glob("checkpoint-*"):
            if not _is_complete(step):
                shutil.rmtree(step)
    trainer.accelerator.wait_for_everyone()
    complete = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    if not complete:
        return None
    report.say(f"resuming from {complete[-1].name} of an earlier run")
    return os.fspath(complete[-1])


def _is_complete(step: Path) -> bool:
    # The trainer writes its state last: a step without a whole one was cut off while it was saved.
    try:
        return isinstance(json.loads((step / "trainer_state.json").read_text()), dict)
    except (OSError, ValueError):
        return False
