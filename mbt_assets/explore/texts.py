"""Texts of models and data sets as a page may show them: nothing in them is invisible or turns other text around."""

from __future__ import annotations

import re

_UNSEEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls, but not tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn text around
    "\u200b\u2028\u2029\u2060-\u2064\ufeff\U000e0000-\U000e007f"  # cannot be seen, but joiners, which scripts need
    "\ud800-\udfff\ufffe\uffff"  # are no characters
    "]"
)
_PICTURES = {**{chr(code): chr(0x2400 + code) for code in range(0x20)}, "\x7f": "\u2421"}


def visible(text: str | None) -> str:
    """A text with a picture for each character that shows as nothing, or that changes how others show.

    Controls of ASCII become their pictures (`␀`, `␛`), other characters their number (`⟨U+202E⟩`). Line ends of two
    characters become one; tabs and newlines stay.

    Args:
        text: of a model or a data set; None is shown as the empty text.
    """
    return _UNSEEN.sub(_picture, (text or "").replace("\r\n", "\n"))


def _picture(found: re.Match[str]) -> str:
    character = found[0]
    return _PICTURES.get(character) or f"⟨U+{ord(character):04X}⟩"


def shortened(text: str | None, most: int = 200) -> str:
    """The start of a text, with an ellipsis where something is left out.

    Args:
        text: None is shown as the empty text.
        most: characters of the result.
    """
    whole = text or ""
    return whole if len(whole) <= most else f"{whole[: most - 1].rstrip()}…"
