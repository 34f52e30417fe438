"""Rows that somebody else generated, read as ours: their columns under our names, their text in our parts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mbt_assets.scoring.answers import THINK_CLOSE, THINK_OPEN, split_reasoning

Row = Mapping[str, Any]
LARGEST = 2**63 - 1
"""The largest whole number that a table holds."""
CUT_OFF, WHOLE = "length", "stop"
CUT_OFF_NAMES = frozenset(
    {
        "length",
        "max_length",
        "max_model_length",
        "model_length",
        "max_tokens",
        "max_new_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        "max_tokens_reached",
        "token_limit",
        "context_length",
        "context_length_exceeded",
        "model_context_window_exceeded",
        "truncated",
    }
)
"""What programs and services call a response that the token limit ended."""
OTHER_NAMES = frozenset(
    {
        "stop",
        "stopped",
        "stop_sequence",
        "stop_token",
        "eos",
        "eos_token",
        "end_of_text",
        "end_turn",
        "finish",
        "finished",
        "complete",
        "completed",
        "tool_calls",
        "tool_use",
        "function_call",
        "content_filter",
        "safety",
        "recitation",
        "refusal",
        "abort",
        "cancelled",
        "error",
    }
)
"""What they call other endings, none of which the token limit was."""


@dataclass(frozen=True)
class Columns:
    """Reads values of foreign rows by our names.

    Attributes:
        theirs: our name of each column that is read, with theirs.
        fault: makes the error of a problem, which names the row.
    """

    theirs: Mapping[str, str]
    fault: Callable[[str], Exception]

    def value(self, row: Row, ours: str) -> Any:
        """The value of a column; None where the row has no such column, or nothing in it."""
        value = row.get(self.theirs[ours]) if ours in self.theirs else None
        # What pandas writes for a number that is missing.
        return None if isinstance(value, float) and math.isnan(value) else value

    def number(self, row: Row, ours: str, place: str, *, least: int = 1) -> int:
        """A whole number of a row.

        Args:
            row: the row.
            ours: our name of the column.
            place: names the row in the error.
            least: the smallest that there is.
        """
        value = self.value(row, ours)
        if isinstance(value, float) and value.is_integer():
            # A column of numbers with gaps becomes floats in many programs.
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= LARGEST:
            limit = f" to {LARGEST}" if isinstance(value, int) and value > LARGEST else ""
            raise self.fault(
                f"{place}: {self.theirs[ours]} is {_short(value)}, and should be a whole number from {least}{limit}"
            )
        return value

    def text(self, row: Row, ours: str, place: str) -> str | None:
        """A text of a row; None where there is none."""
        value = self.value(row, ours)
        if value is not None and not isinstance(value, str):
            raise self.fault(f"{place}: {self.theirs[ours]} should be text, and is {_short(value)}")
        return value

    def ending(self, row: Row) -> str:
        """Why a response ended: `length` where the token limit did it, whatever the row calls that.

        Of rows that do not say, those that are not valid were cut off by the limit, and others are whole.
        """
        said = self.value(row, "finish_reason")
        if not said:
            return CUT_OFF if self.value(row, "valid") is False else WHOLE
        return CUT_OFF if _plain(said) in CUT_OFF_NAMES else said


def known_ending(reason: str) -> bool:
    """Whether it is known if this finish reason means that the token limit ended the response."""
    return _plain(reason) in CUT_OFF_NAMES | OTHER_NAMES


def response_parts(text: str, reasoning: str | None) -> dict[str, str]:
    """A response with its parts, as columns.

    Args:
        text: what the model wrote, with or without its reasoning.
        reasoning: the reasoning alone, where it is known.
    """
    reasoning, content = split_reasoning(text, reasoning)
    whole = text if reasoning in text else whole_response(reasoning, content)
    return {"response": whole, "reasoning": reasoning, "content": content}


def whole_response(reasoning: str, content: str) -> str:
    """A response put together from its parts."""
    return f"{THINK_OPEN}\n{reasoning}\n{THINK_CLOSE}\n\n{content}" if reasoning else content


def _plain(reason: Any) -> str:
    """A finish reason less the ways of writing it: `FinishReason.MAX_TOKENS` is `max_tokens`."""
    words = re.sub(r"[\s-]+", "_", str(reason).strip().lower()).rpartition(".")[2]
    return words.removeprefix("finish_reason_")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}…"
