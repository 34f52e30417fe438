"""One small study by hand, the explorer over it, and a browser that is strict about what the pages do."""

from __future__ import annotations

import os
import shutil
from urllib.parse import urlsplit

import httpx2
import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No sandbox: root in a container may not make one. The rest keeps the browser from calling home.
CHROMIUM_ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
CHROMIUM_ARGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
TIMEOUT_MS = 60_000


@pytest.fixture(scope="session")
def study_home(tmp_path_factory):
    """The study of `explored`; tests read it, those that change something take `own_home`."""
    pytest.importorskip("vl_convert", reason="no explorer: install the extra `explore`")
    from explored import explored

    return explored(tmp_path_factory.mktemp("explored"))


@pytest.fixture
def own_home(study_home, tmp_path):
    """A copy of the study that a test may change."""
    from explored import copy_of

    return copy_of(study_home, tmp_path / "home")


@pytest.fixture(scope="module")
def explorer(study_home):
    """Address of the real app over the study."""
    from explored import served

    with served(study_home.platform) as address:
        yield address


@pytest.fixture(scope="module")
def web(explorer):
    """The explorer for those who look at its answers without a browser."""
    with httpx2.Client(base_url=explorer, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def chromium_path():
    """Path of the Chromium to drive; skips the test if there is none."""
    names = [named] if (named := os.environ.get("MBT_CHROMIUM")) else CHROMIUM_NAMES
    path = next((path for name in names if (path := shutil.which(name))), None)
    return path or pytest.skip("no Chromium: install one (Debian: apt-get install chromium) or set MBT_CHROMIUM")


@pytest.fixture(scope="module")
def browser(chromium_path):
    """One headless browser for all tests of a file: while it is open, `asyncio.run` is refused in this thread."""
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the extra `dev`")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser, explorer):
    """Opens pages that fail the test on an error of a script, and on any request to another host.

    `tab(color_scheme="dark", viewport={"width": 360, "height": 800})` gives a page; paths are enough as addresses.
    """
    opened, faults = [], []

    def note_request(request):
        if urlsplit(request.url).netloc not in ("", urlsplit(explorer).netloc):
            faults.append(f"asked {request.url}")

    def note_console(message):
        # A page that answers 404 is told of as an error of the console, too.
        if message.type == "error" and "the server responded with a status of" not in message.text:
            faults.append(message.text)

    def open_tab(**settings):
        context = browser.new_context(base_url=explorer, viewport=settings.pop("viewport", None), **settings)
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.on("request", note_request)
        page.on("console", note_console)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        opened.append(context)
        return page

    yield open_tab
    for context in opened:
        context.close()
    assert not faults, faults


@pytest.fixture
def page(tab):
    """A page in light colours, as wide as a laptop."""
    return tab(viewport={"width": 1280, "height": 900}, color_scheme="light")
