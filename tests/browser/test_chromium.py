"""The browser itself: a page of this machine loads, runs its script and can be photographed."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

HTML = b"""<!doctype html><title>Cells</title><button>count</button><p id="n">0</p>
<script>document.querySelector('button').onclick = () => { document.getElementById('n').textContent++ }</script>"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(HTML)

    def log_message(self, *_: object) -> None:
        """The test's output is not the place for an access log."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_loads_runs_its_script_and_is_photographed(page: Page, address: str, tmp_path: Path) -> None:
    page.goto(address)
    assert page.title() == "Cells"
    page.get_by_role("button", name="count").click()
    assert page.locator("#n").inner_text() == "1"
    page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
