"""Answer hits: does the reasoning come by the gold answer anywhere, even if it is rejected later.

What belongs here: reading a judge's YES or NO, and the plain substring check beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mbt_assets.scoring.forms import word_form
from mbt_assets.scoring.replies import one_word

SCORER_VERSION = "answer-hits-1"
HITS = ("YES", "NO")
FORM = word_form("ANSWER_HIT", HITS)


@dataclass(frozen=True, slots=True)
class AnswerHit:
    """One judged hit: `answer_hit` is 1.0 for YES and 0.0 for NO."""

    answer_hit: float


def parse_answer_hit(reply: str) -> AnswerHit:
    """Read an answer-hit reply: exactly YES or NO, with nothing but white space around it.

    Raises:
        JudgeReplyError: `empty_reply` or `bad_value`. The score is then NULL, never a default.
    """
    return AnswerHit(float(one_word(reply, HITS) == "YES"))


def substring_hit(reasoning: str, references: Iterable[str]) -> float:
    """1.0 if the gold answer or an alias stands in the reasoning, both case-folded, else 0.0.

    References are stripped; empty ones hit nothing. An empty reasoning is never a hit.
    """
    folded = reasoning.casefold()
    return float(any(text in folded for text in (reference.strip().casefold() for reference in references) if text))
