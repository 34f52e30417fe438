"""What the embedded student is taught before any study: rows of its three lessons, all random, all seeded.

Pairs and recitals are tensors for a plain loop, drafts are prompts and completions for fine-tuning.
"""

from __future__ import annotations

import random

import polars as pl
import torch
from transformers import PreTrainedTokenizerBase

from mbt_assets import prompts
from mbt_assets.benchmarks.trails import draft, record, trail
from mbt_assets.payloads.sft import IGNORED

RESPONSE = "<think>\n{trace}\n</think>\n\n<answer>{answer}</answer>"
PAIR_ROWS, PAIRS = 64, 8
RECITAL_ROWS, RECITAL_DISTRACTORS = 16, 3
# Two distractor chains now and then: with one alone a fact can be told by elimination, without looking it up.
DRAFT_DISTRACTORS = (1, 1, 2)
# Now and then a batch answers under the system prompt, or that prompt would be nothing but noise to the student.
SYSTEM_PROMPT_SHARE = 0.1


def pair_rows(vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch of the first lesson, drawn from torch's seed: recall of a value by its key.

    Args:
        vocabulary: number of token ids; keys and values are any of them but 0.

    Returns:
        Tokens and labels, both (64, 32): 8 random pairs key value, then the same pairs in another order, where only
        the values carry a label.
    """
    pairs = torch.rand(PAIR_ROWS, vocabulary - 1).argsort(1)[:, : 2 * PAIRS] + 1
    pairs = pairs.view(PAIR_ROWS, PAIRS, 2)
    order = torch.rand(PAIR_ROWS, PAIRS).argsort(1)
    again = pairs.gather(1, order[..., None].expand(-1, -1, 2))
    tokens = torch.cat([pairs, again], 1).flatten(1)
    labels = tokens.clone()
    labels[:, : 2 * PAIRS] = IGNORED
    labels[:, ::2] = IGNORED
    return tokens, labels


def recital_rows(tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch of the second lesson: the facts of eight random documents are said again in another order.

    In a draft only a few of a hundred tokens have to be looked up; here every fact has, so that it is learned sooner.

    Returns:
        Tokens and labels, both (16, length): the documents carry no label, the facts do.
    """
    rows = [_recital(tokenizer, rng) for _ in range(RECITAL_ROWS)]
    width = max(len(documents) + len(facts) for documents, facts in rows)
    tokens = torch.full((RECITAL_ROWS, width), tokenizer.pad_token_id, dtype=torch.long)
    labels = torch.full((RECITAL_ROWS, width), IGNORED, dtype=torch.long)
    for i, (documents, facts) in enumerate(rows):
        start, end = len(documents), len(documents) + len(facts)
        tokens[i, :end] = torch.tensor(documents + facts)
        labels[i, start:end] = torch.tensor(facts)
    return tokens, labels


def draft_rows(batches: int, size: int, seed: int) -> pl.DataFrame:
    """The third lesson: wandering drafts, in the order in which they are to be learned.

    The system prompt makes a row three times as long, so a whole batch has it or none: no padding is wasted. Sorting
    rows by length would do that too, but it would also part the drafts that end right from the longer ones that end
    wrong, and a batch of one kind alone teaches the student to end that way always.

    Args:
        batches: number of batches.
        size: rows of a batch.
        seed: of everything drawn.

    Returns:
        Prompts of new questions and a draft for each: columns `prompt` (messages) and `completion`.
    """
    rng = random.Random(f"drafts|{seed}")
    rows = []
    for number in range(batches * size):
        if number % size == 0:
            template = "answer_metacognitive" if rng.random() < SYSTEM_PROMPT_SHARE else "answer"
        drawn = trail(rng, rng.choice(DRAFT_DISTRACTORS))
        question = record(drawn, f"draft-{number:06d}", number)
        trace, answer = draft(drawn, rng)
        messages = prompts.render(template, documents=question["documents"], question=question["question"])
        rows.append({"prompt": messages, "completion": RESPONSE.format(trace=trace, answer=answer)})
    return pl.DataFrame(rows)


def _recital(tokenizer: PreTrainedTokenizerBase, rng: random.Random) -> tuple[list[int], list[int]]:
    documents = record(trail(rng, RECITAL_DISTRACTORS), "recital", 1)["documents"]
    facts = [document["sentences"][0] for document in documents]
    listed = "\n".join(
        f"[{i}] {document['title']}: {fact}" for i, (document, fact) in enumerate(zip(documents, facts, strict=True), 1)
    )
    again = " ".join(rng.sample(facts, len(facts)))
    return list(tokenizer(listed + "\n\n").input_ids), list(tokenizer(again).input_ids)
