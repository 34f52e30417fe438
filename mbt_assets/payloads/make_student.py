"""Makes the embedded study's student: a tiny Qwen3 that can look facts up, and cannot stop wandering.

`python -m mbt_assets.payloads.make_student --spec spec.json`; the spec is a `StudentSpec`. First it learns recall, on
random key/value pairs and then on random documents, without which fine-tuning stalls; then it is fine-tuned on drafts
that explore a distractor and override a right conclusion half the time. `student_lessons` makes the rows.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM, set_seed
from trl import SFTConfig, SFTTrainer

from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.sft import tokenized
from mbt_assets.payloads.specs import PayloadMistake, refuse_unknown, run_payload
from mbt_assets.payloads.student_lessons import draft_rows, pair_rows, recital_rows
from mbt_assets.payloads.student_tokenizer import CONTEXT, build_tokenizer
from mbt_assets.payloads.training import TrainSpec, settle, train_and_save, trl_config

PAIR_RATE, RECITAL_RATE = 2e-3, 4e-3  # peak learning rates
ARCHITECTURE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
}


@dataclasses.dataclass
class StudentSpec:
    """Spec of the payload.

    Attributes:
        recall_steps: steps on random key/value pairs.
        recital_steps: steps on random documents.
        draft_steps: steps of `batch_size` drafts; every draft is on a new question.
        learning_rate: peak on drafts.
        model: fields of Qwen3Config that differ from `ARCHITECTURE`.
    """

    out_dir: str
    seed: int = 42
    recall_steps: int = 600
    recital_steps: int = 400
    draft_steps: int = 400
    batch_size: int = 16
    learning_rate: float = 4e-3
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    threads: int = 1


def make_student(spec: StudentSpec, report: Reporter) -> dict[str, Any]:
    """Makes tokenizer and model, teaches the three lessons, and saves the checkpoint into `out_dir`."""
    started = time.monotonic()
    settle(spec.threads)
    set_seed(spec.seed)
    tokenizer = build_tokenizer()
    model = new_model(spec.model, tokenizer)
    report.say(f"a Qwen3 of {model.num_parameters()} parameters, {len(tokenizer)} words")
    rng = random.Random(f"recitals|{spec.seed}")
    learn(model, lambda: pair_rows(len(tokenizer)), spec.recall_steps, PAIR_RATE, "recall", report)
    learn(model, lambda: recital_rows(tokenizer, rng), spec.recital_steps, RECITAL_RATE, "recital", report)
    result = learn_drafts(model, tokenizer, spec, report)
    result.update(parameters=model.num_parameters(), vocabulary=len(tokenizer))
    return {**result, "seconds": round(time.monotonic() - started, 3)}


def new_model(architecture: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> Qwen3ForCausalLM:
    """A Qwen3 with random weights, drawn from torch's current seed.

    Raises:
        PayloadMistake: `architecture` has a field that Qwen3Config lacks, or values that do not fit together.
    """
    refuse_unknown(architecture, [field.name for field in dataclasses.fields(Qwen3Config)], "spec.model (Qwen3Config)")
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        **ARCHITECTURE,
        **architecture,
    }
    try:
        return Qwen3ForCausalLM(Qwen3Config(**values))
    except (ValueError, TypeError, RuntimeError) as error:
        raise PayloadMistake(f"spec.model makes no Qwen3: {error}") from error


def learn(
    model: Qwen3ForCausalLM,
    batch: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    rate: float,
    lesson: str,
    report: Reporter,
) -> float:
    """Trains on batches of right-padded tokens and labels, both (rows, length).

    Args:
        model: trained in place.
        batch: draws the next batch.
        steps: number of batches.
        rate: peak learning rate.
        lesson: name for the progress lines.
        report: gets a line every 100 steps.

    Returns:
        The last batch's loss; NaN without a step.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    model.train()
    loss = math.nan
    for step in range(1, steps + 1):
        tokens, labels = batch()
        output = model(input_ids=tokens, labels=labels).loss
        optimizer.zero_grad()
        output.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loss = float(output.detach())
        if step % 100 == 0 or step == steps:
            report.say(f"{lesson} step {step}/{steps} loss {loss:.4f}")
    return loss


def learn_drafts(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, spec: StudentSpec, report: Reporter
) -> dict[str, Any]:
    """Fine-tunes on wandering drafts and saves the final checkpoint."""
    settings = TrainSpec(base="", train="", out_dir=spec.out_dir, seed=spec.seed, trl=_trl(spec))
    config = trl_config(SFTConfig, settings, report)
    data = tokenized(draft_rows(spec.draft_steps, spec.batch_size, spec.seed), tokenizer)
    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
    return train_and_save(trainer, settings, tokenizer, model.dtype, report)


def _trl(spec: StudentSpec) -> dict[str, Any]:
    return {
        "max_steps": spec.draft_steps,
        "per_device_train_batch_size": spec.batch_size,
        "learning_rate": spec.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 50,
        "adam_beta2": 0.98,
        "weight_decay": 0.01,
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",  # the rows come in batches already
        "max_length": CONTEXT,
    }


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: 50 steps up, flat, and linearly down over the last 40 percent."""
    return min(1.0, (step + 1) / 50, max(0.05, (1 - step / max(steps, 1)) / 0.4))


def main() -> None:
    """Entry point."""
    run_payload("make_student", StudentSpec, make_student)


if __name__ == "__main__":
    main()
