"""Metacognitive Quality Index: how much of the five-phase behaviour a trace shows, for the tokens it takes.

What belongs here: reading the MQI judge's reply, and the index of a cell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mbt_assets.scoring.forms import CONFIDENCE, Form, whole_number, whole_numbers
from mbt_assets.scoring.replies import BAD_VALUE, OUT_OF_RANGE, JudgeReplyError, confidence_of, key_lines, shown

SCORER_VERSION = "mqi-1"
KEYS = ("L_OBS", "PHASES", "CONFIDENCE")
PHASES = (
    "understanding and filtering",
    "planning",
    "execution and monitoring",
    "self-correction",
    "verification",
)

FORM = Form("mqi", dict(zip(KEYS, (whole_number(0, 5), whole_numbers(1, 5), CONFIDENCE), strict=True)))

_INTEGER = re.compile(r"\d{1,3}", re.ASCII)
_SEPARATOR = re.compile(r"\s*,\s*|\s+")


@dataclass(frozen=True, slots=True)
class MqiReply:
    """What the judge said: `l_obs` from 0 to 5, sorted `phases` out of 1..5, `confidence` of the answer in [0, 1]."""

    l_obs: int
    phases: list[int]
    confidence: float


def parse_mqi(reply: str) -> MqiReply:
    """Read an MQI reply: the three lines of `KEYS`, each once.

    `L_OBS` is an integer from 0 to 5; `PHASES` a list of numbers from 1 to 5 separated by commas or white space, or
    the word NONE (a phase named twice counts once); `CONFIDENCE` a decimal number in [0, 1].

    Raises:
        JudgeReplyError: `empty_reply`, `unexpected_text`, `missing_key:…`, `duplicate_key:…`, `bad_value:…` or
            `out_of_range:…`. The score is then NULL, never a default.
    """
    values = key_lines(reply, KEYS)
    listed = [] if values["PHASES"] == "NONE" else _SEPARATOR.split(values["PHASES"])
    return MqiReply(
        l_obs=_integer(values["L_OBS"], "L_OBS", 0),
        phases=sorted({_integer(item, "PHASES", 1) for item in listed}),
        confidence=confidence_of(values),
    )


def _integer(value: str, key: str, lowest: int) -> int:
    """An integer from `lowest` to 5."""
    if not _INTEGER.fullmatch(value):
        raise JudgeReplyError(f"{BAD_VALUE}:{key}", f"expected an integer from {lowest} to 5, got {shown(value)}")
    if not lowest <= int(value) <= 5:
        raise JudgeReplyError(f"{OUT_OF_RANGE}:{key}", f"expected an integer from {lowest} to 5, got {value}")
    return int(value)


def mqi(l_obs: Sequence[float], mean_tokens: float, base_tokens: float) -> float | None:
    """A cell's MQI = mean(L_obs) * T_b / T.

    Args:
        l_obs: The scored L_obs of the cell, each from 0 to 5.
        mean_tokens: T, the cell's mean response tokens.
        base_tokens: T_b, the base variant's mean response tokens on the same dataset.

    Returns:
        The index, at least 0 and without an upper bound; None without a scored trace or with T = 0.
    """
    return sum(l_obs) / len(l_obs) * base_tokens / mean_tokens if l_obs and mean_tokens else None


def mqi_per_sample(l_obs: Sequence[float], tokens: Sequence[float], base_tokens: float) -> float | None:
    """The mean of L_obs_i * T_b / T_i over the scored rollouts with at least one token; None if there are none.

    Args:
        l_obs: The scored L_obs.
        tokens: T_i, response tokens of the same rollouts, in the same order.
        base_tokens: T_b, the base variant's mean response tokens on the same dataset.
    """
    terms = [level * base_tokens / count for level, count in zip(l_obs, tokens, strict=True) if count]
    return sum(terms) / len(terms) if terms else None
