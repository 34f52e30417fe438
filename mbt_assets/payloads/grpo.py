"""Reinforcement of a causal LM by group-relative policy optimisation, through TRL's GRPOTrainer.

`python -m mbt_assets.payloads.grpo --spec spec.json`; the spec is a `TrainSpec`, the rows are `COLUMNS`. Two rewards,
logged each under its own name: the exact answer, and the format that lets the answer be found.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from typing import Any

import datasets
import polars as pl
from trl import GRPOConfig, GRPOTrainer

from mbt_assets.payloads.bases import load_base, on_gpu
from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.sft import MESSAGES
from mbt_assets.payloads.specs import PayloadMistake, run_payload
from mbt_assets.payloads.train_spec import TrainSpec
from mbt_assets.payloads.training import lora_config, prepare, read_rows, train_and_save, trl_config
from mbt_assets.scoring.answers import extract_answer, score, split_reasoning

COLUMNS: dict[str, Any] = {"prompt": MESSAGES, "answer": pl.String(), "aliases": pl.List(pl.String)}
WELL_FORMED = re.compile(r"\s*<think>\s*\S.*?</think>\s*<answer>[^<>]+</answer>\s*", re.DOTALL)
FORMAT_WEIGHT = 0.2  # the exact answer weighs 1

Completions = Sequence[list[dict[str, str]]]


def reinforce(spec: TrainSpec, report: Reporter) -> dict[str, Any]:
    """Trains `base` on the rewards of its own completions of the prompts of `train`."""
    prepare(spec)
    config = trl_config(
        GRPOConfig,
        spec,
        report,
        reward_weights=[1.0, FORMAT_WEIGHT],
        save_steps=0.1,  # a share of all steps
        use_vllm=_vllm(spec, report),
        vllm_mode="colocate",
    )
    rows = read_rows(spec, COLUMNS)
    model, tokenizer, stored = load_base(spec, report)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[exact_match, well_formed],
        args=config,
        train_dataset=datasets.Dataset(rows.select(*COLUMNS).to_arrow(compat_level=pl.CompatLevel.oldest())),
        processing_class=tokenizer,
        peft_config=lora_config(spec),
    )
    return train_and_save(trainer, spec, tokenizer, stored, report)


def exact_match(
    completions: Completions, answer: Sequence[str], aliases: Sequence[Sequence[str]], **others: Any
) -> list[float | None]:
    """1.0 for each completion whose extracted answer is the gold answer or an alias after normalisation, else 0.0."""
    return [
        score(extract_answer(split_reasoning(_text(said))[1])[0], [gold, *known]).exact_match
        for said, gold, known in zip(completions, answer, aliases, strict=True)
    ]


def well_formed(completions: Completions, **others: Any) -> list[float | None]:
    """1.0 for each completion that is reasoning inside think tags and one answer inside answer tags, else 0.0."""
    return [float(WELL_FORMED.fullmatch(_text(said)) is not None) for said in completions]


def _text(messages: list[dict[str, str]]) -> str:
    """The text of a completion.

    Where TRL parses the reply into fields, reasoning stands apart from content: it is put back in front.
    """
    message = messages[-1]
    reasoning, content = message.get("reasoning_content"), message.get("content") or ""
    return f"<think>\n{reasoning}\n</think>\n\n{content}" if reasoning else content


def _vllm(spec: TrainSpec, report: Reporter) -> bool:
    """Whether vLLM writes the completions: as the spec says, or where it can."""
    there = on_gpu(spec) and importlib.util.find_spec("vllm") is not None
    wanted = spec.trl.get("use_vllm", there)
    if wanted and not there:
        raise PayloadMistake(
            "spec.trl asks for use_vllm, which needs a GPU and the vllm package; leave it out to use transformers"
        )
    if "use_vllm" not in spec.trl:
        report.say("completions are written by " + ("vLLM" if there else "transformers: vLLM needs a GPU and vllm"))
    return wanted


def main() -> None:
    """Entry point."""
    run_payload("grpo", TrainSpec, reinforce)


if __name__ == "__main__":
    main()
