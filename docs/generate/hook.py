"""mkdocs' hook: the reference pages, which are made from the code that they describe."""

from __future__ import annotations

from typing import Any

import command_reference
import study_reference
import table_reference

PAGES = {
    "reference/study.md": study_reference.page,
    "reference/tables.md": table_reference.page,
    "reference/commands.md": command_reference.page,
}
"""What makes the greater part of a page's Markdown."""
MARK = "<!-- made -->"
"""In these pages: from here on stands what whoever reads the file itself is told instead."""


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Add to a reference page what is made from the code."""
    make = PAGES.get(page.file.src_uri)
    if make is None:
        return markdown
    head, mark, _instead = markdown.partition(MARK)
    if not mark:
        raise ValueError(f"docs/{page.file.src_uri} has lost its mark {MARK}: put it where the tables belong")
    return head + make()
