"""Verdicts: does the predicted answer mean the gold one, in a judge's eyes.

What belongs here: reading a verdict reply. Rubric: SimpleQA (correct, incorrect, not attempted).
"""

from __future__ import annotations

from dataclasses import dataclass

from mbt_assets.scoring.forms import word_form
from mbt_assets.scoring.replies import one_word

SCORER_VERSION = "verdicts-1"
VERDICTS = ("A", "B", "C")
FORM = word_form("VERDICT", VERDICTS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict: A (correct), B (incorrect) or C (not attempted); `judge_correct` is 1.0 for A, else 0.0."""

    verdict: str
    judge_correct: float


def parse_verdict(reply: str) -> Verdict:
    """Read a verdict: exactly one of the letters A, B, C, with nothing but white space around it.

    Raises:
        JudgeReplyError: `empty_reply` or `bad_value`. The score is then NULL, never a default.
    """
    letter = one_word(reply, VERDICTS)
    return Verdict(letter, float(letter == "A"))
