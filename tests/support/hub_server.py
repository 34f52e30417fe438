"""As much of the Hugging Face Hub as its client and `datasets` ask for: real HTTP, and any fault asked of it.

Point a process at it with `HF_ENDPOINT` (and an own `HF_HOME`): the client reads both when it is imported.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from aiohttp import web
from threaded_server import ThreadedServer

Kind = Literal["model", "dataset"]
BIG = (".safetensors", ".bin", ".pth", ".parquet")
"""What the Hub keeps in its large file storage, under a SHA-256; the rest is in git, under git's own digest."""
NAME = "{repo:[^/]+/[^/]+}"
GIBBERISH = "0" * 40
FAULT = web.RequestKey("fault", object)


@dataclass
class Fault:
    """What happens to the next requests that match.

    Attributes:
        match: regular expression searched in `METHOD /path`.
        times: to how many of them.
        status: answered with this, and `headers`.
        after: the connection is cut after so many bytes of the body.
        hold: not cut, but held there until `HubServer.release`.
    """

    match: str
    times: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    after: int | None = None
    hold: bool = False


@dataclass
class Repo:
    """One repository: the files of each commit, the newest commit last."""

    kind: Kind
    name: str
    gated: bool = False
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    announced: dict[str, int] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """The newest."""
        return list(self.commits)[-1]

    def put(self, files: dict[str, bytes]) -> str:
        """Make a new commit of these files, and `main` stand for it."""
        made_of = f"{self.kind} {self.name} {len(self.commits)}"
        commit = hashlib.sha1(made_of.encode()).hexdigest()
        self.commits[commit] = dict(files)
        return commit


class HubServer(ThreadedServer):
    """Serves repositories on loopback.

    Attributes:
        requests: `METHOD /path` of every request, in order; clear it at will.
        sent: bytes of file content that went out, by path in `owner/name/file`.
        token: whoever sends it may read gated repositories.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[str] = []
        self.sent: dict[str, int] = {}
        self.token = "hf_that_is_let_in"
        self._faults: list[Fault] = []
        self._held, self._released = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.release()
        self.stop()

    @property
    def url(self) -> str:
        """For `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.port}"

    # What a test does with it.

    def add(self, kind: Kind, repo: str, files: dict[str, bytes], gated: bool = False) -> str:
        """Have a repository, and return its commit."""
        self.repos[kind, repo] = Repo(kind, repo, gated)
        return self.repos[kind, repo].put(files)

    def move(self, repo: str, files: dict[str, bytes] | None = None) -> str:
        """Give a repository a new commit, with these files over its old ones; older commits stay."""
        (one,) = [known for known in self.repos.values() if known.name == repo]
        return one.put({**one.commits[one.commit], **(files or {})})

    def announce(self, repo: str, file: str, size: int) -> None:
        """Say that a file has another size than it has."""
        for one in self.repos.values():
            if one.name == repo:
                one.announced[file] = size

    def fail(self, match: str, status: int, times: int = 1, **headers: str) -> None:
        """Answer the next requests that match with a status; `Retry_After="3"` becomes a header."""
        spelt = {name.replace("_", "-"): value for name, value in headers.items()}
        self._faults.append(Fault(match, times, status, spelt))

    def drop(self, match: str, after: int, times: int = 1) -> None:
        """Cut the connection after so many bytes of the body."""
        self._faults.append(Fault(match, times, after=after))

    def hold(self, match: str, after: int) -> None:
        """Send so many bytes of the body, and no more before `release`."""
        self._held.clear()
        self._released.clear()
        self._faults.append(Fault(match, 1, after=after, hold=True))

    def wait_until_held(self, seconds: float = 120.0) -> bool:
        """Wait until a request is being held; whether one came in time."""
        return self._held.wait(seconds)

    def release(self) -> None:
        """Let what is held go on."""
        self._released.set()

    def asked(self, part: str) -> list[str]:
        """The requests that hold a text."""
        return [request for request in self.requests if part in request]

    # What goes over the wire.

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._watched])
        for kind, api, root in (("model", "/api/models/", "/"), ("dataset", "/api/datasets/", "/datasets/")):
            app.router.add_get(f"{api}{NAME}", self._about(kind, self._info))
            app.router.add_get(f"{api}{NAME}/revision/{{revision}}", self._about(kind, self._info))
            app.router.add_get(f"{api}{NAME}/auth-check", self._about(kind, self._auth_check))
            app.router.add_get(f"{api}{NAME}/tree/{{revision}}", self._about(kind, self._tree))
            app.router.add_get(f"{api}{NAME}/tree/{{revision}}/{{path:.+}}", self._about(kind, self._tree))
            app.router.add_post(f"{api}{NAME}/paths-info/{{revision}}", self._about(kind, self._paths_info))
            app.router.add_get(f"{root}{NAME}/resolve/{{revision}}/{{path:.+}}", self._about(kind, self._file))
        return app

    @web.middleware
    async def _watched(self, request: web.Request, handler: Any) -> web.StreamResponse:
        line = f"{request.method} {request.path}"
        self.requests.append(line)
        fault = next((one for one in self._faults if one.times > 0 and re.search(one.match, line)), None)
        if fault is not None:
            fault.times -= 1
            if fault.status:
                return web.Response(status=fault.status, headers=fault.headers)
        request[FAULT] = fault
        return await handler(request)

    def _about(self, kind: str, answer: Any) -> Any:
        """A handler that finds repository and commit first, or says as the Hub does that they are not there."""

        async def handler(request: web.Request) -> web.StreamResponse:
            repo = self.repos.get((kind, request.match_info["repo"]))
            if repo is None:
                return _refused(404, "RepoNotFound")
            revision = request.match_info.get("revision", "main")
            commit = repo.commit if revision == "main" else revision
            if commit not in repo.commits:
                return _refused(404, "RevisionNotFound")
            return await answer(request, repo, commit)

        return handler

    def _shut_out(self, request: web.Request, repo: Repo) -> web.Response | None:
        given = request.headers.get("Authorization")
        if not repo.gated or given == f"Bearer {self.token}":
            return None
        return _refused(403 if given else 401, "GatedRepo")

    async def _info(self, request: web.Request, repo: Repo, commit: str) -> web.StreamResponse:
        siblings = [_sibling(repo, commit, name, "blobs" in request.query) for name in repo.commits[commit]]
        about = {"id": repo.name, "sha": commit, "private": repo.private, "gated": "manual" if repo.gated else False}
        return web.json_response({**about, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    async def _auth_check(self, request: web.Request, repo: Repo, commit: str) -> web.StreamResponse:
        return self._shut_out(request, repo) or web.Response(text="ok")

    async def _tree(self, request: web.Request, repo: Repo, commit: str) -> web.StreamResponse:
        below = request.match_info.get("path", "").strip("/")
        recursive = request.query.get("recursive", "").lower() in ("true", "1")
        start = f"{below}/" if below else ""
        names = [name for name in repo.commits[commit] if name.startswith(start)]
        if below and not names:
            return _refused(404, "EntryNotFound")
        files = [name for name in names if recursive or "/" not in name[len(start) :]]
        parents = {name.rpartition("/")[0] for name in names if "/" in name[len(start) :]}
        folders = parents if recursive else {start + name[len(start) :].split("/")[0] for name in parents}
        return web.json_response([_folder(name) for name in sorted(folders)] + [_entry(repo, commit, f) for f in files])

    async def _paths_info(self, request: web.Request, repo: Repo, commit: str) -> web.StreamResponse:
        asked = (await request.json())["paths"]
        files = repo.commits[commit]
        found = [_entry(repo, commit, name) for name in asked if name in files]
        folders = [_folder(name) for name in asked if any(file.startswith(f"{name}/") for file in files)]
        return web.json_response(found + folders)

    async def _file(self, request: web.Request, repo: Repo, commit: str) -> web.StreamResponse:
        if refused := self._shut_out(request, repo):
            return refused
        name = request.match_info["path"]
        content = repo.commits[commit].get(name)
        if content is None:
            return _refused(404, "EntryNotFound", commit)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        start = int(span[1]) if span else 0
        body = content[start : int(span[2]) + 1 if span and span[2] else None]
        headers = {"ETag": f'"{_digest(name, content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        headers["Content-Length"] = str(len(body))
        if span:
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if span else 200, headers=headers)
        await response.prepare(request)
        if request.method != "HEAD":
            await self._send(request, response, f"{repo.name}/{name}", body)
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, name: str, body: bytes) -> None:
        fault: Any = request[FAULT]
        first = len(body) if fault is None or fault.after is None else fault.after
        await response.write(body[:first])
        self.sent[name] = self.sent.get(name, 0) + len(body[:first])
        if fault is None or fault.after is None:
            return
        if fault.hold:
            self._held.set()
            while not self._released.is_set():
                await asyncio.sleep(0.02)
        if request.transport is not None:
            request.transport.close()


def _refused(status: int, code: str, commit: str = GIBBERISH) -> web.Response:
    headers = {"X-Error-Code": code, "X-Error-Message": f"{code}, says the Hub", "X-Repo-Commit": commit}
    return web.json_response({"error": f"{code}, says the Hub"}, status=status, headers=headers)


def _digest(name: str, content: bytes) -> str:
    if name.endswith(BIG):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _size(repo: Repo, commit: str, name: str) -> int:
    return repo.announced.get(name, len(repo.commits[commit][name]))


def _sibling(repo: Repo, commit: str, name: str, detailed: bool) -> dict[str, Any]:
    if not detailed:
        return {"rfilename": name}
    content, size = repo.commits[commit][name], _size(repo, commit, name)
    about = {"rfilename": name, "size": size, "blobId": _git_digest(name, content)}
    if name.endswith(BIG):
        about["lfs"] = {"sha256": _digest(name, content), "size": size, "pointerSize": 134}
    return about


def _entry(repo: Repo, commit: str, name: str) -> dict[str, Any]:
    content, size = repo.commits[commit][name], _size(repo, commit, name)
    about = {"type": "file", "path": name, "size": size, "oid": _git_digest(name, content)}
    if name.endswith(BIG):
        about["lfs"] = {"oid": _digest(name, content), "size": size, "pointerSize": 134}
    return about


def _git_digest(name: str, content: bytes) -> str:
    """Of what is in git: the file itself, or a pointer to it in the large file storage."""
    return hashlib.sha1(_digest(name, content).encode()).hexdigest() if name.endswith(BIG) else _digest(name, content)


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": GIBBERISH, "size": 0}
