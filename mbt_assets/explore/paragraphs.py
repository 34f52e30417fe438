"""A trace in the paragraphs that the judges numbered, each with what a judge said of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mbt_assets.scoring.traces import paragraphs

SHOWN = 200
"""Paragraphs that are shown at first."""
SHOWN_CHARACTERS = 60_000
"""Characters of them together that are shown at first."""
LONGEST_GOLD = 200
"""Characters of a gold answer that is looked for in a trace at most."""

Piece = tuple[str, bool]
"""Some text, and whether a gold answer stands there."""


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of a trace.

    Attributes:
        number: from 1, as the judges count.
        pieces: its text, cut where a gold answer stands.
        derives: the judge says that it first derives the gold answer.
        redundant: the judge says that it does no work.
        left_out: characters at its end that are not shown.
    """

    number: int
    pieces: list[Piece]
    derives: bool
    redundant: bool
    left_out: int = 0


@dataclass(frozen=True)
class Trace:
    """A trace as it is shown.

    Attributes:
        paragraphs: those shown, from the first.
        count: paragraphs of the whole trace.
        characters: of the whole trace.
        derives: number of the paragraph that derives the answer; 0 if none does, None where nothing is known.
        redundant: numbers of the redundant paragraphs.
    """

    paragraphs: list[Paragraph]
    count: int
    characters: int
    derives: int | None
    redundant: list[int]

    @property
    def is_cut(self) -> bool:
        """Whether something of it is not shown."""
        return len(self.paragraphs) < self.count or any(paragraph.left_out for paragraph in self.paragraphs)


def marked(text: str, gold: Iterable[str], profile: Mapping[str, Any] | None, whole: bool = False) -> Trace:
    """A trace with the judged paragraphs and the gold answers marked.

    Args:
        text: the trace.
        gold: the gold answer and its aliases.
        profile: row of `rrp_scores` about this very trace; None, or one without scores, where there is none.
        whole: show all of it, however long it is.
    """
    parts = paragraphs(text)
    pattern = gold_pattern(gold)
    derives = profile["answer_paragraph"] if profile else None
    redundant = (profile["redundant_paragraphs"] if profile else None) or []
    wasted = frozenset(redundant)
    left = len(text) if whole else SHOWN_CHARACTERS
    shown = []
    for number, part in enumerate(parts if whole else parts[:SHOWN], 1):
        if left <= 0:
            break
        pieces = cut(part[:left], pattern)
        outside = max(0, len(part) - left)
        shown.append(Paragraph(number, pieces, number == derives, number in wasted, outside))
        left -= len(part)
    return Trace(shown, len(parts), len(text), derives, redundant)


def gold_pattern(gold: Iterable[str]) -> re.Pattern[str] | None:
    """What finds a gold answer as words of their own, in any case; None where there is nothing to find."""
    texts = {text.strip() for text in gold}
    wanted = sorted((text for text in texts if 0 < len(text) <= LONGEST_GOLD), key=len, reverse=True)
    if not wanted:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, wanted))})(?!\w)", re.IGNORECASE)


def cut(text: str, pattern: re.Pattern[str] | None) -> list[Piece]:
    """A text cut into what a pattern finds and what lies between."""
    pieces: list[Piece] = []
    end = 0
    for found in pattern.finditer(text) if pattern else ():
        pieces += [(text[end : found.start()], False), (found[0], True)]
        end = found.end()
    return [piece for piece in [*pieces, (text[end:], False)] if piece[0]]
