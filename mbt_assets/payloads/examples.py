"""Training rows as tokens: a prompt as it is sent at inference, and the completion that the loss is on.

A chat template may change what it is given without a word; here that is a mistake that stops the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import polars as pl
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.specs import PayloadMistake

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
COLUMNS: dict[str, Any] = {"prompt": MESSAGES, "completion": pl.String()}
IGNORED = -100  # label of a token that takes no part in the loss
CHUNK = 1000  # rows
SHOWN = 60  # characters of a text in a message


def tokenized(rows: pl.DataFrame, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
    """Tokenizes training rows.

    Args:
        rows: columns `prompt` and `completion`.
        tokenizer: with a chat template.

    Returns:
        Rows of `input_ids` and `labels`, equally long; labels of prompt tokens are -100.

    Raises:
        PayloadMistake: the chat template does not keep a row as it is; the message says which row.
    """
    return datasets.Dataset(pa.Table.from_batches(_batches(rows, tokenizer)))


def within(data: datasets.Dataset, limit: int | None, too_long: str, report: Reporter) -> tuple[datasets.Dataset, int]:
    """Leaves out the rows that cannot be trained on at a length.

    Args:
        data: rows as `tokenized` makes them.
        limit: most tokens of a row; None for no limit.
        too_long: `drop` leaves longer rows out; `cut` keeps those that have a completion token within the limit,
            whose end TRL cuts off.
        report: told lengths and numbers.

    Returns:
        The rows that stay, and how many were longer.

    Raises:
        PayloadMistake: none stays.
    """
    lengths, prompts = _lengths(data)
    report.say(f"{len(lengths)} rows of {lengths.mean():.0f} tokens on average, the longest {lengths.max()}")
    longer = 0 if limit is None else int((lengths > limit).sum())
    if not longer:
        return data, 0
    stays = lengths <= limit if too_long == "drop" else prompts < limit
    left_out = int((~stays).sum())
    if left_out == len(stays):
        raise PayloadMistake(f"all {left_out} rows are longer than max_length={limit}: give spec.trl a larger one")
    text = "they are left out" if too_long == "drop" else f"their end is cut off, {left_out} are left out"
    report.say(f"{longer} rows are longer than max_length={limit}: {text}")
    return (data.select(np.flatnonzero(stays)) if left_out else data), longer


def example(
    prompt: list[dict[str, str]], completion: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """The token ids of one row and their labels.

    Raises:
        PayloadMistake: the chat template does not keep prompt and completion as they are.
    """
    return _examples([prompt], [completion], tokenizer, 0)[0]


def _batches(rows: pl.DataFrame, tokenizer: PreTrainedTokenizerBase) -> Iterator[pa.RecordBatch]:
    ids_type = pa.list_(pa.int32())
    for number, chunk in enumerate(rows.select(*COLUMNS).iter_slices(CHUNK)):
        pairs = _examples(chunk["prompt"].to_list(), chunk["completion"].to_list(), tokenizer, number * CHUNK)
        inputs, labels = zip(*pairs, strict=True)
        yield pa.RecordBatch.from_arrays(
            [pa.array(inputs, ids_type), pa.array(labels, ids_type)], names=["input_ids", "labels"]
        )


def _examples(
    prompts: Sequence[list[dict[str, str]]], completions: Sequence[str], tokenizer: PreTrainedTokenizerBase, first: int
) -> list[tuple[list[int], list[int]]]:
    """Ids and labels of rows, of which the first has the number `first`."""
    pairs = list(zip(prompts, completions, strict=True))
    texts = [_texts(prompt, completion, tokenizer, first + i) for i, (prompt, completion) in enumerate(pairs)]
    asked = _ids([text for text, _ in texts], tokenizer)
    whole = _ids([text for _, text in texts], tokenizer)
    return [_labelled(a, b, tokenizer, first + i) for i, (a, b) in enumerate(zip(asked, whole, strict=True))]


def _texts(
    prompt: list[dict[str, str]], completion: str, tokenizer: PreTrainedTokenizerBase, row: int
) -> tuple[str, str]:
    """What the template makes of the prompt alone, as it is sent at inference, and of prompt and completion."""
    asked = str(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))
    answered = [*prompt, {"role": "assistant", "content": completion}]
    whole = str(tokenizer.apply_chat_template(answered, tokenize=False))
    place = 0
    for i, message in enumerate(prompt):
        text = message["content"].strip()
        place = asked.find(text, place)
        if place < 0:
            raise _changed(row, f"message {i} of the prompt ({message['role']})", text[:SHOWN], asked[-SHOWN:])
        place += len(text)
    if not whole.startswith(asked):
        same = _common(asked, whole)
        raise _changed(row, "the prompt", asked[same : same + SHOWN], whole[same : same + SHOWN])
    said = whole[len(asked) :]
    if not said.startswith(completion):
        same = _common(completion, said)
        raise _changed(row, "the completion", completion[same : same + SHOWN], said[same : same + SHOWN])
    end = said[len(completion) :]
    if not end.strip() or str(tokenizer.decode(_ids([end], tokenizer)[0], skip_special_tokens=True)).strip():
        raise _changed(row, "the completion's end", completion[-SHOWN:], said[-SHOWN:])
    return asked, whole


def _changed(row: int, what: str, given: str, made: str) -> PayloadMistake:
    return PayloadMistake(
        f"row {row}: the chat template does not keep {what} as it is: it goes {given!r}, and the template makes "
        f"{made!r} of it; the model would learn another text than the row's. Leave the row out, or give the tokenizer "
        "a chat template that keeps prompt and reasoning as they are"
    )


def _common(a: str, b: str) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _ids(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    # The template has put the special tokens in already.
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def _labelled(
    asked: list[int], whole: list[int], tokenizer: PreTrainedTokenizerBase, row: int
) -> tuple[list[int], list[int]]:
    if whole[: len(asked)] != asked or len(whole) == len(asked):
        raise PayloadMistake(
            f"row {row}: the prompt's tokens are no prefix of those of prompt and completion: at its end, "
            f"{tokenizer.decode(asked[-12:])!r}, a token reaches into the completion; the model would learn from a "
            "context that it never sees. Let the completion begin where a token does"
        )
    return whole, [IGNORED] * len(asked) + whole[len(asked) :]


def _lengths(data: datasets.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each row, and of its prompt."""
    labels = data.data.column("labels").combine_chunks()
    ends = np.asarray(labels.offsets)
    masked = np.concatenate([[0], np.cumsum(np.asarray(labels.flatten()) == IGNORED)])
    return np.diff(ends), np.diff(masked[ends - ends[0]])
