"""Decoding one batch of prompts with a causal LM: sampling per row, finished rows dropped and handed on at once.

A row's random numbers come from its own seed and prompt, so what it says does not depend on its batch mates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

GREEDY_BELOW = 1e-5
STOP_LOOKBACK = 8
"""Tokens beyond its own length in characters that are decoded to find a stop string: more than a split word needs."""


@dataclass
class Row:
    """One sequence to generate.

    Attributes:
        prompt: token ids.
        limit: most tokens to generate.
        temperature: 0 takes the likeliest token.
        top_p: keep the likeliest tokens up to this share of probability.
        top_k: keep so many of the likeliest tokens; 0 keeps all.
        seed: of this row's random numbers.
        choice: number of the row among those of one request, which share a seed and a prompt.
        stop: strings that end the text; they are cut off.
        tokens: what was generated, the end token included.
        text: `tokens` as text, without the end token.
        finish_reason: `stop` or `length`, when it is done.
    """

    prompt: list[int]
    limit: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    choice: int = 0
    stop: Sequence[str] = ()
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str = ""

    def uniforms(self) -> np.ndarray:
        """One number in [0, 1) per token to come; equal seeds on different prompts draw differently."""
        made_of = hashlib.sha256(f"{self.seed}:{self.choice}:{self.prompt}".encode()).digest()
        return np.random.default_rng(int.from_bytes(made_of[:16], "big")).random(self.limit, dtype=np.float32)


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    unwanted: Callable[[Row], bool] = lambda row: False,
) -> Iterator[Row]:
    """Generates every row to its end, filling in tokens, text and finish reason.

    Args:
        model: a causal LM with attention layers only.
        tokenizer: the model's.
        rows: decoded together, left-padded to the longest prompt.
        unwanted: asked after every token; a row that nobody waits for any more is dropped unfinished.

    Yields:
        Rows as they finish.
    """
    ends = _end_tokens(model, tokenizer)
    live = list(rows)
    ids, mask = _left_padded(live, tokenizer.pad_token_id or 0)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    draws = [row.uniforms() for row in live]
    settings = _settings(live)
    while live:
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        uniform = torch.from_numpy(np.stack([draw[len(row.tokens)] for draw, row in zip(draws, live, strict=True)]))
        chosen = sample(logits.float(), *settings, uniform)
        for row, token in zip(live, chosen.tolist(), strict=True):
            _advance(row, token, ends, tokenizer)
        for row in live:
            if row.finish_reason:
                row.text = _text(row, ends, tokenizer)
                yield row
        keep = [i for i, row in enumerate(live) if not row.finish_reason and not unwanted(row)]
        if not keep:
            return
        if len(keep) < len(live):
            live, draws = [live[i] for i in keep], [draws[i] for i in keep]
            index = torch.tensor(keep)
            cache.batch_select_indices(index)
            chosen, mask, positions = chosen[index], mask[index], positions[index]
            settings = _settings(live)
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(live), 1)], 1)
        positions = positions[:, -1:] + 1


def sample(
    logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, top_k: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    """One token per row by inverse transform sampling, from the top_p share of the top_k tokens.

    Args:
        logits: rows × vocabulary.
        temperature: per row; below GREEDY_BELOW the likeliest token is taken.
        top_p: per row, in (0, 1].
        top_k: per row; 0 keeps all.
        uniform: per row, in [0, 1).

    Returns:
        Token ids, one per row.
    """
    # Where every row has a top_k, the tail of the vocabulary need not be sorted.
    most = min(int(top_k.max()), logits.shape[-1]) if bool((top_k > 0).all()) else logits.shape[-1]
    scaled = logits / temperature.clamp(min=GREEDY_BELOW)[:, None]
    highest, order = scaled.topk(most, -1)
    rank = torch.arange(most)[None, :]
    limit = torch.where(top_k > 0, top_k, most)[:, None]
    probabilities = highest.masked_fill(rank >= limit, -torch.inf).softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    allowed = (before < top_p[:, None]) & (rank < limit)
    kept = torch.where(allowed, probabilities, 0.0)
    reached = kept.cumsum(-1)
    place = (reached <= uniform[:, None] * reached[:, -1:]).sum(-1)
    place = torch.where(temperature < GREEDY_BELOW, 0, place.clamp(max=allowed.sum(-1) - 1))
    return order.gather(1, place[:, None])[:, 0]


def _settings(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.tensor([row.temperature for row in rows]),
        torch.tensor([row.top_p for row in rows]),
        torch.tensor([row.top_k for row in rows]),
    )


def _left_padded(rows: Sequence[Row], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(row.prompt) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row.prompt) :] = torch.tensor(row.prompt)
        mask[i, width - len(row.prompt) :] = 1
    return ids, mask


def _advance(row: Row, token: int, ends: set[int], tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a row its next token, and its finish reason if that was the last."""
    row.tokens.append(token)
    if token in ends or _stopped(row, tokenizer):
        row.finish_reason = "stop"
    elif len(row.tokens) >= row.limit:
        row.finish_reason = "length"


def _stopped(row: Row, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the latest token completed a stop string; the end of the text is enough to tell."""
    if not row.stop:
        return False
    tail = row.tokens[-(max(map(len, row.stop)) + STOP_LOOKBACK) :]
    return _stop_at(str(tokenizer.decode(tail, skip_special_tokens=True)), row.stop) >= 0


def _stop_at(text: str, stops: Sequence[str]) -> int:
    """Where the first stop string begins; -1 if there is none."""
    return min((at for at in (text.find(stop) for stop in stops) if at >= 0), default=-1)


def _text(row: Row, ends: set[int], tokenizer: PreTrainedTokenizerBase) -> str:
    ended = row.tokens and row.tokens[-1] in ends
    text = str(tokenizer.decode(row.tokens[:-1] if ended else row.tokens, skip_special_tokens=True))
    at = _stop_at(text, row.stop)
    return text if at < 0 else text[:at]


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    configured = model.generation_config.eos_token_id if model.generation_config else None
    listed = configured if isinstance(configured, list) else [configured]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}
