"""Degeneration: responses that never end well.

What belongs here: signs, readable from one response, that the model ran in circles or was cut off.
"""

from __future__ import annotations

from collections import Counter

SCORER_VERSION = "degeneration-1"
WINDOW_TOKENS = 8
LOOP_REPEATS = 6


def looping(text: str) -> bool:
    """Whether the text repeats itself.

    Args:
        text: The whole response, reasoning included.

    Returns:
        True if some window of 8 white-space tokens stands at 6 or more places (windows may overlap). Texts shorter
        than 13 tokens cannot loop.
    """
    tokens = text.split()
    if len(tokens) < WINDOW_TOKENS + LOOP_REPEATS - 1:
        return False
    windows = Counter(zip(*(tokens[offset:] for offset in range(WINDOW_TOKENS)), strict=False))
    return max(windows.values()) >= LOOP_REPEATS


def truncated(finish_reason: str | None) -> bool:
    """Whether the server stopped for length: the finish reason is `length`. None (a failed request) is not."""
    return finish_reason == "length"


def degenerate(text: str, finish_reason: str | None) -> bool:
    """Whether the response is truncated, looping or both."""
    return truncated(finish_reason) or looping(text)
