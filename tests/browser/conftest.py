"""A page of a real, headless Chromium for the tests of the web interface.

The tests use a Chromium that is on the machine (Debian's, or the one that `MBT_CHROMIUM` names); Playwright's own
download is never used. Where there is none the tests are skipped and say what is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No sandbox: root in a container may not make one. The rest keeps the browser from calling home.
CHROMIUM_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_MS = 90_000


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium to drive; skips the test if there is none."""
    named = os.environ.get("MBT_CHROMIUM")
    if named:
        if path := shutil.which(named):
            return path
        pytest.fail(f"MBT_CHROMIUM names {named!r}, which is no program that can be run; correct or unset it")
    for name in CHROMIUM_NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium: install one (Debian: apt-get install chromium) or name it in MBT_CHROMIUM")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One headless browser for all tests of a file.

    Not of the session: while Playwright is open its event loop runs in this thread, and `asyncio.run` of any later
    test would be refused.
    """
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the extra `dev`")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_ARGS), headless=True)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page without cookies; the test fails if the page threw a script error that nobody caught."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    uncaught: list[str] = []
    page.on("pageerror", lambda error: uncaught.append(str(error)))
    yield page
    context.close()
    assert not uncaught, f"uncaught script errors: {uncaught}"
