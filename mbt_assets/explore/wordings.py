"""What one text has of another: their words, cut into what both have, what the first alone has and what the second."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MOST_WORDS = 20_000
"""Words of a text that is compared at most: two such texts take some 50 MB and tenths of a second."""
SHORTEST = 3
"""Words that both texts must share in a row, between two changes, to be shown as the same: "the" alone is none."""
_WORD = re.compile(r"\s*\S+")

Kind = Literal["same", "removed", "added"]


@dataclass(frozen=True)
class Stretch:
    """Words in a row that have the same fate."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Wording:
    """How a text was reworded.

    Attributes:
        stretches: in the order in which they are read.
        kept: words of the first text that the second has in the same order.
        before: words of the first text.
        after: words of the second.
    """

    stretches: list[Stretch]
    kept: int
    before: int
    after: int


def reworded(before: str, after: str) -> Wording | None:
    """How a text became another, word by word; None where one of them is too long to compare.

    White space belongs to the word that follows it, and changes nothing.
    """
    from rapidfuzz.distance import Indel

    words = [_WORD.findall(text.strip()) for text in (before, after)]
    if max(map(len, words)) > MOST_WORDS:
        return None
    bare = [[word.strip() for word in text] for text in words]
    kept, parts = 0, list[Part]()
    for step in Indel.opcodes(*bare):
        same = step.tag == "equal"
        old, new = words[0][step.src_start : step.src_end], words[1][step.dest_start : step.dest_end]
        kept += len(old) if same else 0
        parts.append((old, new, same))
    return Wording(_stretches(_without_crumbs(parts)), kept, len(words[0]), len(words[1]))


Part = tuple[list[str], list[str], bool]


def _without_crumbs(parts: list[Part]) -> list[Part]:
    """The parts with short equal ones between two changes counted to these, and neighbouring changes made one."""
    found: list[Part] = []
    for place, (old, new, same) in enumerate(parts):
        crumb = same and 0 < place < len(parts) - 1 and len(new) < SHORTEST
        if (not same or crumb) and found and not found[-1][2]:
            found[-1] = (found[-1][0] + old, found[-1][1] + new, False)
        else:
            found.append((old, new, same and not crumb))
    return found


def _stretches(parts: list[Part]) -> list[Stretch]:
    stretches: list[Stretch] = []
    for old, new, same in parts:
        if same:
            stretches.append(Stretch("same", "".join(new)))
            continue
        stretches += [Stretch("removed", "".join(old))] if old else []
        stretches += [Stretch("added", "".join(new))] if new else []
    return stretches
