"""What axe-core finds wrong with a page of the real browser: faults that keep somebody from using it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

SERIOUS = ("serious", "critical")
# Tags of the rules that are asked: the Web Content Accessibility Guidelines 2.2, levels A and AA, and axe's own advice.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SHOWN = 5


def serious_faults(page: Page) -> list[str]:
    """The serious and critical faults of a page as it stands now, one line each: `rule: what (where)`.

    Args:
        page: already loaded, in the colours and at the size that are to be looked at.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core: install the extra `dev`")
    options = {"resultTypes": ["violations"], "runOnly": RULES}
    found = axe.Axe().run(page, options=options).response["violations"]
    return [_line(fault) for fault in found if fault["impact"] in SERIOUS]


def _line(fault: dict) -> str:
    places = [" ".join(map(str, node["target"])) for node in fault["nodes"]]
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return f"{fault['id']}: {fault['help']} ({', '.join(places[:SHOWN])}{more})"
