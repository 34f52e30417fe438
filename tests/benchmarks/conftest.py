"""A mirror in a temporary folder, and a small Hub over HTTP that serves one dataset folder: the road to the Hub
is tested without the Hub."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pytest

COMMIT = "c0ffee" + "0" * 34


@contextmanager
def tiny_hub(folder: Path, hub_id: str) -> Iterator[str]:
    """Serves `folder` as dataset `hub_id` at the address that it yields; whatever else is asked for is not found."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            api = f"/api/datasets/{hub_id}"
            if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
                self.answer_json({"id": hub_id, "sha": COMMIT, "siblings": []})
            elif path.startswith(f"{api}/tree/{COMMIT}"):
                self.answer_json([entry(p) for p in listed(path.removeprefix(f"{api}/tree/{COMMIT}").strip("/"))])
            elif path.startswith(f"/datasets/{hub_id}/resolve/{COMMIT}/"):
                self.answer_file(folder / path.split(f"/resolve/{COMMIT}/")[1])
            else:
                self.answer_not_found()

        do_HEAD = do_GET

        def do_POST(self) -> None:
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
            self.answer_json([entry(folder / name) for name in wanted if (folder / name).exists()])

        def answer_json(self, value: object) -> None:
            self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def answer_file(self, path: Path) -> None:
            if not path.is_file():
                return self.answer_not_found("EntryNotFound")
            content = path.read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            return self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

        def answer_not_found(self, code: str = "RepoNotFound") -> None:
            self.answer(404, b"", {"X-Error-Code": code})

        def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """The test's output is not the place for an access log."""

    def listed(inside: str) -> list[Path]:
        return sorted((folder / inside).rglob("*"))

    def entry(path: Path) -> dict[str, object]:
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "0" * 40}
        return {"type": "file", "path": name, "oid": "1" * 40, "size": path.stat().st_size}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Mirror:
    """A folder laid out like the Hub, as far as a test has filled it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, hub_id: str, config: str = "default", **splits: list[dict[str, Any]]) -> Path:
        """Writes a repository whose configuration has the given splits, and returns its folder."""
        folder = self.root / hub_id
        (folder / "data").mkdir(parents=True, exist_ok=True)
        lines = ["---", "configs:", f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            lines += [f"  - split: {split}", f"    path: data/{split}-*"]
            pl.DataFrame(rows).write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
        (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
        return folder


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """An empty mirror that `MBT_HUB_MIRROR` names."""
    root = tmp_path / "hub"
    root.mkdir()
    monkeypatch.setenv("MBT_HUB_MIRROR", str(root))
    return Mirror(root)


@pytest.fixture
def real_hub(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mirror with real rows that `MBT_TEST_HUB` names."""
    folder = os.environ.get("MBT_TEST_HUB")
    if not folder:
        pytest.skip("MBT_TEST_HUB names no folder with real benchmark rows, laid out like the Hub")
    monkeypatch.setenv("MBT_HUB_MIRROR", folder)
    return Path(folder)


@pytest.fixture
def serve_hub() -> Callable[[Path, str], Any]:
    """`with serve_hub(folder, hub_id) as url`: a Hub that has this one dataset."""
    return tiny_hub
