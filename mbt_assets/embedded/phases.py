"""Telling the five metacognitive phases in a trace by their cues: set phrases, and where in the trace they stand.

The numbers 1 to 5 are those of the MQI definition: understanding, planning, execution, self-correction, verification.
"""

from __future__ import annotations

import re

from mbt_assets.scoring.traces import paragraphs, sentences

_UNDERSTANDING = re.compile(
    r"\b(?:noise|irrelevant|unrelated|not relevant|not needed|set aside|ignore|distract\w*|should matter)\b",
    re.IGNORECASE,
)
_PLANNING = re.compile(r"\bplan\b|\bsteps?:|\bfirst\b.{1,200}\bthen\b", re.IGNORECASE | re.DOTALL)
_MONITORING = re.compile(
    r"\b(?:this|that|it|which) (?:fits|matches|agrees|settles)\b|\bas planned\b|\bon track\b|\bis what i (?:was )?look",
    re.IGNORECASE,
)
_HALT = re.compile(r"\b(?:wait|hold on|actually|careful|could mislead|pause)\b", re.IGNORECASE)
_REJECTION = re.compile(r"\b(?:not|instead|rather|wrong|mistake\w*|stands)\b", re.IGNORECASE)
_VERIFICATION = re.compile(r"\b(?:(?:double[- ])?check(?:ing)?|verif\w+|to confirm|looking back)\b", re.IGNORECASE)
_CORRECTION_SENTENCES = 3
_CHECK_SENTENCES = 4


def phases_of(paragraph: str, number: int, total: int) -> set[int]:
    """The phases that paragraph `number` (from 1) of `total` does the work of."""
    count = len(sentences(paragraph))
    rules = {
        1: number * 2 <= total + 1 and _UNDERSTANDING.search(paragraph),
        2: number < max(total, 2) and _PLANNING.search(paragraph),
        3: _MONITORING.search(paragraph) and count > 1,
        4: number > 1 and count <= _CORRECTION_SENTENCES and _HALT.search(paragraph) and _REJECTION.search(paragraph),
        5: number * 2 > total and total > 1 and count <= _CHECK_SENTENCES and _VERIFICATION.search(paragraph),
    }
    return {phase for phase, holds in rules.items() if holds}


def trace_phases(trace: str) -> set[int]:
    """The phases that are distinctly there in a whole trace."""
    parts = paragraphs(trace)
    return {phase for number, part in enumerate(parts, start=1) for phase in phases_of(part, number, len(parts))}
