"""Markdown of the reference pages: tables and text that cannot break them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown, in which a line break or a bar would end the cell."""
    lines = [head, ["---"] * len(head), *([cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Markdown as the content of one cell."""
    return " ".join(text.split()).replace("|", "\\|")


def prose(text: str) -> str:
    """Text that was not written as Markdown: what Markdown or HTML would take for its own is escaped, code is kept."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text.replace("`", "\\`"))
    return "`".join(part if place % 2 else _escaped(part) for place, part in enumerate(parts))


def _escaped(text: str) -> str:
    for character in "*_[]":
        text = text.replace(character, f"\\{character}")
    return text.replace("<", "&lt;")
