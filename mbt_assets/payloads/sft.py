"""Supervised fine-tuning of a causal LM on prompts and completions, through TRL's SFTTrainer.

`python -m mbt_assets.payloads.sft --spec spec.json`; the spec is a `TrainSpec`, the rows are `COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
import polars as pl
import pyarrow as pa
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.specs import PayloadMistake, run_payload
from mbt_assets.payloads.training import (
    TrainSpec,
    load_base,
    lora_config,
    read_rows,
    settle,
    train_and_save,
    trl_config,
)

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
COLUMNS: dict[str, Any] = {"prompt": MESSAGES, "completion": pl.String()}
IGNORED = -100  # label of a token that takes no part in the loss
CHUNK = 1000  # rows


def fine_tune(spec: TrainSpec, report: Reporter) -> dict[str, Any]:
    """Fine-tunes `base` on the completions of `train`; the loss is on completion tokens only."""
    settle(spec.threads)
    config = trl_config(SFTConfig, spec, report, use_liger_kernel=True, shuffle_dataset=True)
    rows = read_rows(spec, COLUMNS)
    model, tokenizer, stored = load_base(spec, report)
    data = tokenized(rows, tokenizer)
    _say_lengths(data, config.max_length, report)
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=lora_config(spec)
    )
    return train_and_save(trainer, spec, tokenizer, stored, report)


def tokenized(rows: pl.DataFrame, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
    """Tokenizes training rows.

    Args:
        rows: columns `prompt` and `completion`.
        tokenizer: with a chat template.

    Returns:
        Rows of `input_ids` and `labels`, equally long; labels of prompt tokens are -100.

    Raises:
        PayloadMistake: the chat template does not keep the prompt as it is sent at inference.
    """
    return datasets.Dataset(pa.Table.from_batches(_batches(rows, tokenizer)))


def _batches(rows: pl.DataFrame, tokenizer: PreTrainedTokenizerBase) -> Iterator[pa.RecordBatch]:
    ids_type = pa.list_(pa.int32())
    for chunk in rows.select(*COLUMNS).iter_slices(CHUNK):
        pairs = [example(row["prompt"], row["completion"], tokenizer) for row in chunk.iter_rows(named=True)]
        inputs, labels = zip(*pairs, strict=True)
        yield pa.RecordBatch.from_arrays(
            [pa.array(inputs, ids_type), pa.array(labels, ids_type)], names=["input_ids", "labels"]
        )


def example(
    prompt: list[dict[str, str]], completion: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """The token ids of one row and their labels.

    Raises:
        PayloadMistake: the prompt's tokens are no prefix of those of prompt and completion.
    """
    asked = _ids(tokenizer, prompt, add_generation_prompt=True)
    whole = _ids(tokenizer, [*prompt, {"role": "assistant", "content": completion}])
    if whole[: len(asked)] != asked or len(whole) == len(asked):
        same = next(
            (i for i, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b), min(len(asked), len(whole))
        )
        raise PayloadMistake(
            "the prompt's tokens are no prefix of those of prompt and completion: from token "
            f"{same} on the prompt goes {tokenizer.decode(asked[same : same + 12])!r} but the training text "
            f"{tokenizer.decode(whole[same : same + 12])!r}; the model would learn from a context that it never sees. "
            "Give the tokenizer a chat template that keeps prompt and reasoning as they are"
        )
    return whole, [IGNORED] * len(asked) + whole[len(asked) :]


def _ids(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], **options: Any) -> list[int]:
    encoded: Any = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)
    return list(encoded["input_ids"])


def _say_lengths(data: datasets.Dataset, limit: int | None, report: Reporter) -> None:
    lengths = np.asarray(pa.compute.list_value_length(data.data.column("input_ids")))
    report.say(f"{len(lengths)} rows of {lengths.mean():.0f} tokens on average, the longest {lengths.max()}")
    if limit is not None and (cut := int((lengths > limit).sum())):
        report.say(f"{cut} rows are longer than max_length={limit}: their end is cut off")


def main() -> None:
    """Entry point."""
    run_payload("sft", TrainSpec, fine_tune)


if __name__ == "__main__":
    main()
