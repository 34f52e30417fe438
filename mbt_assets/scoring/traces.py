"""Reasoning traces as text: where a trace stands in a reply, its paragraphs, its sentences, its markers.

What belongs here: cutting and marking traces. What a judge says about them is in `rrp` and `mqi`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

EXTRACTOR_VERSION = "traces-1"
"""Raise it when `extract_trace` changes; where traces are cut or marked otherwise, raise the version of `rrp`."""

TRACE_OPEN, TRACE_CLOSE = "<trace>", "</trace>"
MARKER_NONE = "[[M00]]"
MARKER_END = "[[M_END]]"

_NEWLINE = re.compile(r"\r\n?")
_BLANK_LINES = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def extract_trace(text: str) -> str | None:
    """The stripped text between the last `<trace>` and the first `</trace>` after it.

    Returns:
        The trace, or None if either tag is missing or nothing but white space stands between them.
    """
    _, opened, rest = text.rpartition(TRACE_OPEN)
    inside, closed, _ = rest.partition(TRACE_CLOSE)
    return (inside.strip() or None) if opened and closed else None


def paragraphs(text: str) -> list[str]:
    """Split a trace on blank lines (lines of white space only), stripped, empties dropped. Paragraph k is item k - 1.

    An empty trace has no paragraphs.
    """
    return [part.strip() for part in _BLANK_LINES.split(_NEWLINE.sub("\n", text)) if part.strip()]


def sentences(paragraph: str) -> list[str]:
    """Split a paragraph after `.`, `!` or `?` followed by white space; at least one sentence for any paragraph."""
    return _SENTENCE_END.split(paragraph.strip())


def sentence_counts(trace: str) -> list[int]:
    """The number of sentences in each paragraph of a trace, each at least 1."""
    return [len(sentences(paragraph)) for paragraph in paragraphs(trace)]


def marker(number: int) -> str:
    """The marker of paragraph `number` (from 1): `[[M01]]`, `[[M12]]`, `[[M123]]`; 0 is `[[M00]]`, no paragraph."""
    return f"[[M{number:02d}]]"


def mark(trace: str, numbers: Sequence[int] | None = None) -> str:
    """The trace as the RRP judge sees it: a marker on its own line after each paragraph but the last.

    Paragraphs stay separated by blank lines. A marker that the trace itself wrote is defused (`[[M` becomes `[M`),
    so that it cannot pass for one of ours. An empty trace stays empty.

    Args:
        trace: The trace.
        numbers: The markers' numbers, one for each paragraph but the last; 1, 2, … where it is None.
    """
    parts = [part.replace("[[M", "[M") for part in paragraphs(trace)]
    if numbers is None:
        numbers = range(1, len(parts))
    marked = [f"{part}\n{marker(number)}" for number, part in zip(numbers, parts[:-1], strict=True)]
    return "\n\n".join(marked + parts[-1:])
