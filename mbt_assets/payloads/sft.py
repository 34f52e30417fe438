"""Supervised fine-tuning of a causal LM on prompts and completions, through TRL's SFTTrainer.

`python -m mbt_assets.payloads.sft --spec spec.json`; the spec is a `TrainSpec`, the rows are `COLUMNS`. What the spec
does not say is trained as in the paper: `DEFAULTS`.
"""

from __future__ import annotations

from typing import Any

from trl import SFTConfig, SFTTrainer

from mbt_assets.payloads.bases import load_base, on_gpu
from mbt_assets.payloads.examples import COLUMNS, IGNORED, MESSAGES, example, tokenized, within
from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.specs import run_payload
from mbt_assets.payloads.train_spec import TrainSpec
from mbt_assets.payloads.training import lora_config, prepare, read_rows, train_and_save, trl_config

__all__ = ["COLUMNS", "DEFAULTS", "IGNORED", "MESSAGES", "example", "fine_tune", "tokenized"]

DEFAULTS: dict[str, Any] = {
    "learning_rate": 1e-4,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 16,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,  # a share of all steps, as save_steps is
    "max_length": 32768,
    "max_grad_norm": 0.3,
    "weight_decay": 0.0,
    "save_steps": 0.1,
    "shuffle_dataset": True,
    "use_liger_kernel": True,
}
# bf16 is TRL's own default on a GPU, unless the spec asks for fp16.
GPU_DEFAULTS: dict[str, Any] = {
    "gradient_checkpointing": True,
    "gradient_checkpointing_kwargs": {"use_reentrant": False},
    "optim": "adamw_torch_fused",
}


def fine_tune(spec: TrainSpec, report: Reporter) -> dict[str, Any]:
    """Fine-tunes `base` on the completions of `train`; the loss is on completion tokens only."""
    prepare(spec)
    config = trl_config(SFTConfig, spec, report, **DEFAULTS, **(GPU_DEFAULTS if on_gpu(spec) else {}))
    rows = read_rows(spec, COLUMNS)
    model, tokenizer, stored = load_base(spec, report)
    data, too_long = within(tokenized(rows, tokenizer), config.max_length, spec.too_long, report)
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=lora_config(spec)
    )
    return train_and_save(trainer, spec, tokenizer, stored, report, rows=len(data), rows_too_long=too_long)


def main() -> None:
    """Entry point."""
    run_payload("sft", TrainSpec, fine_tune)


if __name__ == "__main__":
    main()
