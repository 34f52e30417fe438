"""Judge replies: the strict reading that all judged scores share.

What belongs here: the error every parser raises, and the reading of `KEY: value` lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_KEY_LINE = re.compile(r"([A-Z][A-Z_]*):(.*)", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")

EMPTY = "empty_reply"
UNEXPECTED_TEXT = "unexpected_text"
MISSING_KEY = "missing_key"
DUPLICATE_KEY = "duplicate_key"
BAD_VALUE = "bad_value"
OUT_OF_RANGE = "out_of_range"


class JudgeReplyError(ValueError):
    """A judge's reply that does not parse. Its score is NULL; it is never replaced by a default.

    Attributes:
        reason: A short code for counting, such as `missing_key:CONFIDENCE` or `marker_beyond_trace`.
        detail: What was found instead, for a person to read.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


def shown(text: str, limit: int = 80) -> str:
    """A text in quotes, cut to `limit` characters, for an error's detail."""
    return repr(text if len(text) <= limit else text[:limit] + "…")


def one_word(reply: str, allowed: Sequence[str]) -> str:
    """Read a reply that must be exactly one of the allowed words, white space around it aside.

    Raises:
        JudgeReplyError: `empty_reply`, or `bad_value` for anything else: other case, punctuation, explanations.
    """
    word = reply.strip()
    if not word:
        raise JudgeReplyError(EMPTY)
    if word not in allowed:
        raise JudgeReplyError(BAD_VALUE, f"expected one of {', '.join(allowed)}, got {shown(word)}")
    return word


def key_lines(reply: str, keys: Sequence[str], last_is_text: bool = False) -> dict[str, str]:
    """Read a reply of one `KEY: value` line per key, in any order; blank lines are skipped.

    Args:
        reply: The judge's reply.
        keys: The keys, each expected exactly once.
        last_is_text: The last key is free text: it may go on over further lines.

    Raises:
        JudgeReplyError: `empty_reply`, `missing_key:KEY`, `duplicate_key:KEY`, or `unexpected_text` for a line that is
            none of the keys.
    """
    if not reply.strip():
        raise JudgeReplyError(EMPTY)
    values: dict[str, str] = {}
    current: str | None = None
    for line in filter(None, map(str.strip, reply.splitlines())):
        match = _KEY_LINE.fullmatch(line)
        if match and match[1] in keys:
            current = match[1]
            if current in values:
                raise JudgeReplyError(f"{DUPLICATE_KEY}:{current}")
            values[current] = match[2].strip()
        elif last_is_text and current == keys[-1]:
            values[current] = f"{values[current]}\n{line}".strip()
        else:
            raise JudgeReplyError(UNEXPECTED_TEXT, shown(line))
    for key in keys:
        if key not in values:
            raise JudgeReplyError(f"{MISSING_KEY}:{key}")
    return values


def confidence_of(values: dict[str, str]) -> float:
    """Read `CONFIDENCE`, a plain decimal number in [0, 1].

    Raises:
        JudgeReplyError: `bad_value:CONFIDENCE` if it is not a number, `out_of_range:CONFIDENCE` if it is above 1.
    """
    value = values["CONFIDENCE"]
    if not _NUMBER.fullmatch(value) or not value.isascii():
        raise JudgeReplyError(f"{BAD_VALUE}:CONFIDENCE", f"expected a number in [0, 1], got {shown(value)}")
    if float(value) > 1:
        raise JudgeReplyError(f"{OUT_OF_RANGE}:CONFIDENCE", f"expected a number in [0, 1], got {value}")
    return float(value)
