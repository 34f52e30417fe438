"""The part of the Hugging Face Hub that is written to: accounts, new repositories, uploads and commits, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json

import yaml
from aiohttp import web
from hub_server import BIG, NAME, HubServer, Repo

WRITES, READS = "hf_that_may_write", "hf_that_may_read"


class HubToWriteTo(HubServer):
    """Takes data sets into the namespace `us`, from whoever has the token WRITES; READS may only look.

    Attributes:
        held: content of the large files that were uploaded, by SHA-256.
        before_commit: called when a commit has arrived, before it is looked at.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, bytes] = {}
        self.before_commit = lambda: None

    def application(self) -> web.Application:
        app = super().application()
        app.router.add_get("/api/whoami-v2", self._whoami)
        app.router.add_post("/api/validate-yaml", self._validate)
        app.router.add_post("/api/repos/create", self._create)
        app.router.add_post(f"/api/datasets/{NAME}/preupload/main", self._about("dataset", self._preupload))
        app.router.add_post("/datasets/{owner}/{name}.git/info/lfs/objects/batch", self._batch)
        app.router.add_put("/large/{oid}", self._large)
        app.router.add_post(f"/api/datasets/{NAME}/commit/main", self._about("dataset", self._commit))
        return app

    def files(self, repo: str) -> dict[str, bytes]:
        """What the newest commit of a data set holds."""
        one = self.repos["dataset", repo]
        return one.commits[one.commit]

    def _refusal(self, request: web.Request, owner: str = "us") -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (WRITES, READS):
            return web.json_response({"error": "Invalid username or password."}, status=401)
        if token == READS or owner != "us":
            said = f"You don't have the rights to create a dataset under the namespace {owner}"
            return web.json_response({"error": said}, status=403)
        return None

    async def _whoami(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None and refusal.status == 401:
            return refusal
        return web.json_response({"type": "user", "name": "us", "orgs": [], "auth": {"type": "access_token"}})

    async def _validate(self, request: web.Request) -> web.StreamResponse:
        content = (await request.json())["content"]
        try:
            yaml.safe_load(content.split("---")[1])
            errors = []
        except yaml.YAMLError as error:
            errors = [{"message": str(error)}]
        return web.json_response({"errors": errors, "warnings": []}, status=400 if errors else 200)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if refusal := self._refusal(request, asked["organization"]):
            return refusal
        name = f"{asked['organization']}/{asked['name']}"
        if ("dataset", name) in self.repos:
            return web.json_response({"error": "You already created this dataset repo"}, status=409)
        self.repos["dataset", name] = Repo("dataset", name, private=asked["visibility"] == "private")
        self.repos["dataset", name].put({".gitattributes": b""})
        return web.json_response({"url": f"{self.url}/datasets/{name}", "name": name})

    async def _preupload(self, request: web.Request, repo: Repo, commit: str) -> web.StreamResponse:
        if refusal := self._refusal(request, repo.name.partition("/")[0]):
            return refusal
        files = (await request.json())["files"]
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(BIG) else "regular", "shouldIgnore": False}
            for f in files
        ]
        return web.json_response({"files": modes})

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._refusal(request, request.match_info["owner"]):
            return refusal
        objects = json.loads(await request.read())["objects"]
        answers = [
            one
            | ({} if one["oid"] in self.held else {"actions": {"upload": {"href": f"{self.url}/large/{one['oid']}"}}})
            for one in objects
        ]
        return web.json_response({"transfer": "basic", "objects": answers})

    async def _large(self, request: web.Request) -> web.StreamResponse:
        content = await request.content.read()
        oid = request.match_info["oid"]
        if hashlib.sha256(content).hexdigest() != oid:
            return web.Response(status=400)
        self.held[oid] = content
        return web.Response()

    async def _commit(self, request: web.Request, repo: Repo, commit: str) -> web.StreamResponse:
        if refusal := self._refusal(request, repo.name.partition("/")[0]):
            return refusal
        self.before_commit()
        lines = [json.loads(line) for line in (await request.content.read()).splitlines()]
        (header,) = [line["value"] for line in lines if line["key"] == "header"]
        if header.get("parentCommit", repo.commit) != repo.commit:
            return web.json_response({"error": "A commit has happened since"}, status=412)
        files = dict(repo.commits[repo.commit])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.held[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        new = repo.put(files)
        return web.json_response({"commitUrl": f"{self.url}/datasets/{repo.name}/commit/{new}", "commitOid": new})
