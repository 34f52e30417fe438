"""Texts from elsewhere as Markdown that shows just them: names in a card come from studies and may hold anything."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from mbt_assets.tables.render import markdown_text

UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
"""Categories of characters that cannot be seen, or that turn others around."""


def visible(text: str) -> str:
    """A text in one line, with characters that cannot be seen written as what they are."""
    return "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in UNSEEN else letter
        for letter in " ".join(text.split())
    )


def plain(text: Any) -> str:
    """Any text as Markdown that shows just that text, also in a cell of a table."""
    return markdown_text(visible(str(text)))


def fenced(text: str, language: str) -> str:
    """A block of code, whatever stands in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
