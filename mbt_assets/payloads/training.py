"""What all trainers share: the model, TRL's configuration, progress, resuming, and the final folder.

Nothing here knows a study or what is trained; `sft` and `grpo` do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import datasets
import polars as pl
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.utils import is_flash_attn_2_available
from transformers.utils import logging as transformers_logging

from mbt_assets.payloads.progress import Progress
from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.specs import PayloadMistake, refuse_unknown

TRAINER_FOLDER = "trainer"
SPEC_COPY = "spec.sha256"
MANAGED = {"output_dir", "seed", "report_to", "disable_tqdm", "push_to_hub", "hub_model_id", "resume_from_checkpoint"}
Config = TypeVar("Config", bound=TrainingArguments)


@dataclasses.dataclass
class TrainSpec:
    """Spec of a trainer payload.

    Attributes:
        base: folder or Hub id of the model to start from.
        train: Parquet file with the training rows.
        out_dir: gets the final weights and tokenizer; steps in between are kept under `trainer/`.
        trl: fields of TRL's configuration class, as they are.
        peft: fields of peft's LoraConfig; adapters are merged into the weights at the end. None trains all weights.
        revision: git revision of a Hub base.
        attn_implementation: a transformers name, or `auto`: FlashAttention 2 on a GPU where installed.
        use_liger: `auto` or false; Liger needs a GPU and its package.
        threads: CPU threads of torch.
        trust_remote_code: run Python that comes with the checkpoint.
    """

    base: str
    train: str
    out_dir: str
    seed: int = 42
    trl: dict[str, Any] = dataclasses.field(default_factory=dict)
    peft: dict[str, Any] | None = None
    revision: str | None = None
    attn_implementation: str = "auto"
    use_liger: str | bool = "auto"
    threads: int = 1
    trust_remote_code: bool = False


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


def load_base(spec: TrainSpec, report: Reporter) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, torch.dtype]:
    """Loads the model to start from, in float32 (mixed precision is the trainer's), and its tokenizer.

    Returns:
        Model, tokenizer, and the dtype that the base's weights are stored in.

    Raises:
        PayloadMistake: the base is no loadable checkpoint, or its tokenizer has no chat template.
    """
    options: dict[str, Any] = {"revision": spec.revision, "trust_remote_code": spec.trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(spec.base, **options)
        model = AutoModelForCausalLM.from_pretrained(
            spec.base, dtype="auto", attn_implementation=_attention(spec, report), **options
        )
    except (OSError, ValueError, KeyError) as error:
        raise PayloadMistake(f"cannot load the base {spec.base}: {error}") from error
    if tokenizer.chat_template is None:
        raise PayloadMistake(f"the tokenizer of {spec.base} has no chat template; training needs an instruct model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    stored = model.dtype
    return model.float(), tokenizer, stored


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
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 0.05,  # a share of all steps
        "save_total_limit": 1,
        **({} if torch.cuda.is_available() else _CPU_DEFAULTS),
        **defaults,
        **spec.trl,
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
    trainer: Trainer, spec: TrainSpec, tokenizer: PreTrainedTokenizerBase, stored: torch.dtype, report: Reporter
) -> dict[str, Any]:
    """Trains, from the last saved step where there is one, and leaves the final folder.

    Returns:
        final_loss (of the last log), steps, tokens (trained on), seconds (wall clock of this run).
    """
    started = time.monotonic()
    progress = Progress(report)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress)
    resume = _last_step(Path(spec.out_dir), spec, report)
    trainer.train(resume_from_checkpoint=resume)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if spec.peft is not None:
        model = model.merge_and_unload()
    trainer.accelerator.wait_for_everyone()
    if report.is_main:
        out_dir = Path(spec.out_dir)
        model.to(stored).save_pretrained(out_dir)
        tokenizer.save_pretrained(out_dir)
        shutil.rmtree(out_dir / TRAINER_FOLDER, ignore_errors=True)
    return {
        "final_loss": progress.loss,
        "steps": trainer.state.global_step,
        "tokens": progress.tokens,
        "seconds": round(time.monotonic() - started, 3),
    }


_CPU_DEFAULTS = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
}


def _attention(spec: TrainSpec, report: Reporter) -> str | None:
    there = torch.cuda.is_available() and is_flash_attn_2_available()
    if spec.attn_implementation == "auto":
        if not there:
            report.say("FlashAttention 2 needs a GPU and the flash-attn package: using PyTorch's own attention")
        return "flash_attention_2" if there else None
    if spec.attn_implementation == "flash_attention_2" and not there:
        raise PayloadMistake("attn_implementation is flash_attention_2, which needs a GPU and flash-attn; give 'auto'")
    return spec.attn_implementation


def _liger(spec: TrainSpec, wanted: bool, report: Reporter) -> bool:
    there = torch.cuda.is_available() and importlib.util.find_spec("liger_kernel") is not None
    if not wanted or spec.use_liger is False:
        return False
    if not there:
        report.say("Liger needs a GPU and the liger-kernel package: using the model's own layers")
    return there


def _last_step(out_dir: Path, spec: TrainSpec, report: Reporter) -> str | None:
    """The newest complete step of an earlier run of the same spec; anything else in the folder is removed."""
    folder = out_dir / TRAINER_FOLDER
    mark = folder / SPEC_COPY
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(spec), sort_keys=True).encode()).hexdigest()
    if report.is_main:
        if folder.exists() and (not mark.is_file() or mark.read_text() != digest):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(digest)
    # The trainer writes trainer_state.json last: a step without it was cut off while it was saved.
    complete = sorted(
        (path.parent for path in folder.glob("checkpoint-*/trainer_state.json")),
        key=lambda path: int(path.name.rpartition("-")[2]),
    )
    if not complete:
        return None
    report.say(f"resuming from {complete[-1].name} of an earlier run")
    return os.fspath(complete[-1])
