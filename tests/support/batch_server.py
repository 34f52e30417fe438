"""A Batch API for the tests: real HTTP, batches that run in the background, and any fault asked of it.

Whatever it answers is checked against the types of the `openai` package. What it knows outlives `stop` and `start`.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import random
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web
from openai.types import Batch, FileObject
from threaded_server import ThreadedServer

LineFault = Callable[[dict, int], "tuple[int, Any] | None"]


class BatchServer(ThreadedServer):
    """Serves `/v1/files` and `/v1/batches` on loopback.

    Attributes:
        answer: from a chat body to a chat reply.
        line_fault: from a body and the number of its execution (from 1) to a status and body of an error, or None.
        expire: for the next batches, after how many lines each expires.
        refuse: for the next batches, the errors with which validation fails.
        seconds: how long a batch takes.
        hooks: called, in the server's thread, when something happens: `upload`, `create` (the batch exists, the
            answer does not), `created`, `retrieve`, `half` (half a result file is sent).
        faults: for a kind of call, how often it is answered with 503 (or `lost`: done, but never answered).
        executed: how often each prompt was run, in all batches.
    """

    def __init__(self, answer: Callable[[dict], dict], seconds: float = 0.0, port: int = 0) -> None:
        super().__init__(port)
        self.answer, self.seconds = answer, seconds
        self.line_fault: LineFault | None = None
        self.expire: list[int] = []
        self.refuse: list[list[dict]] = []
        self.hooks: dict[str, Callable[[], None]] = {}
        self.faults: collections.Counter[str] = collections.Counter()
        self.keep_metadata = True
        self.held = False
        self.executed: collections.Counter[str] = collections.Counter()
        self.asked: collections.Counter[str] = collections.Counter()
        self.headers: list[dict] = []
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self._tasks: dict[str, asyncio.Task] = {}
        self._numbers = itertools.count()

    def lines(self, batch: dict) -> list[dict]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    # What goes over the wire.

    @web.middleware
    async def _counted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        kind = handler.__name__.strip("_")
        self.asked[kind] += 1
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.faults[kind] > 0:
            self.faults[kind] -= 1
            return web.Response(status=503, text="overloaded")
        return await handler(request)

    async def _upload(self, request: web.Request) -> web.Response:
        content, fields = b"", {}
        async for part in await request.multipart():
            if part.name == "file":
                content, fields["filename"] = bytes(await part.read()), part.filename
            else:
                fields[part.name] = await part.text()
        assert fields["purpose"] == "batch"
        self._happens("upload")
        return self._json(self._file(content, fields["filename"], "batch"), FileObject)

    def _file(self, content: bytes, name: str, purpose: str) -> dict:
        file_id = f"file-{next(self._numbers)}"
        self.files[file_id] = content
        about = {"id": file_id, "object": "file", "bytes": len(content), "created_at": int(time.time())}
        return {**about, "filename": name, "purpose": purpose, "status": "processed"}

    async def _content(self, request: web.Request) -> web.StreamResponse:
        content = self.files.get(request.match_info["file"])
        if content is None:
            return self._missing("file")
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        half = len(content) // 2
        await response.write(content[:half])
        if "half" in self.hooks:
            await asyncio.sleep(0.3)
            self._happens("half")
        if self.faults["half"] > 0:
            self.faults["half"] -= 1
            request.transport.close()
            return response
        await response.write(content[half:])
        return response

    async def _create(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
        if asked["input_file_id"] not in self.files:
            return self._missing("file")
        batch = {"id": f"batch_{next(self._numbers)}", "object": "batch", "created_at": int(time.time())}
        batch |= {"status": "validating", "expires_at": int(time.time()) + 86400, "errors": None}
        batch |= {key: asked[key] for key in ("endpoint", "completion_window", "input_file_id")}
        batch |= {"metadata": asked.get("metadata") if self.keep_metadata else None}
        batch |= {"output_file_id": None, "error_file_id": None}
        batch |= {"request_counts": {"total": 0, "completed": 0, "failed": 0}}
        self.batches[batch["id"]] = batch
        self._tasks[batch["id"]] = asyncio.get_running_loop().create_task(self._process(batch, self.seconds))
        self._happens("create")
        if self.faults["lost"] > 0:
            self.faults["lost"] -= 1
            request.transport.close()
            return web.Response()
        response = self._json(batch, Batch)
        await response.prepare(request)
        await response.write_eof()
        self._happens("created")
        return response

    async def _retrieve(self, request: web.Request) -> web.Response:
        self._happens("retrieve")
        batch = self.batches.get(request.match_info["batch"])
        return self._json(batch, Batch) if batch else self._missing("batch")

    async def _list(self, request: web.Request) -> web.Response:
        newest = list(reversed(self.batches.values()))
        after, limit = request.query.get("after"), min(int(request.query.get("limit", 20)), 3)
        start = next((i + 1 for i, batch in enumerate(newest) if batch["id"] == after), 0)
        page = [json.loads(self._json(batch, Batch).body) for batch in newest[start : start + limit]]
        return web.json_response({"object": "list", "data": page, "has_more": start + limit < len(newest)})

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["batch"])
        if batch is None:
            return self._missing("batch")
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "cancelling"
        return self._json(batch, Batch)

    def _json(self, thing: dict, kind: type) -> web.Response:
        kind.model_validate(thing, strict=True)
        return web.json_response(thing)

    def _missing(self, what: str) -> web.Response:
        return web.json_response({"error": {"message": f"No such {what}", "code": "not_found"}}, status=404)

    def _happens(self, what: str) -> None:
        if what in self.hooks:
            self.hooks[what]()

    # What a batch does in the background.

    async def _process(self, batch: dict, seconds: float) -> None:
        await asyncio.sleep(0.01)
        lines = self.lines(batch)
        errors = self.refuse.pop(0) if self.refuse else _faults_of(lines)
        if errors:
            batch |= {"status": "failed", "errors": {"object": "list", "data": errors}, "failed_at": int(time.time())}
            return
        batch |= {"status": "in_progress", "in_progress_at": int(time.time())}
        batch["request_counts"]["total"] = len(lines)
        bound = self.expire.pop(0) if self.expire else len(lines)
        done: list[tuple[bool, dict]] = []
        while self.held:
            await asyncio.sleep(0.01)
        for number, line in enumerate(lines):
            if number >= bound or batch["status"] == "cancelling":
                break
            done.append(self._execute(line))
            batch["request_counts"]["completed" if done[-1][0] else "failed"] += 1
            if seconds and number % 50 == 0:
                await asyncio.sleep(seconds * min(50, len(lines)) / len(lines))
        await self._finalize(batch, done, lines[len(done) :], "cancelled" if batch["status"] == "cancelling" else None)

    def _execute(self, line: dict) -> tuple[bool, dict]:
        body = line["body"]
        prompt = body["messages"][-1]["content"]
        self.executed[prompt] += 1
        fault = self.line_fault(body, self.executed[prompt]) if self.line_fault else None
        status, reply = fault or (200, self.answer(body))
        response = {"status_code": status, "request_id": f"req_{next(self._numbers)}", "body": reply}
        return status == 200, _result(line, response, None)

    async def _finalize(self, batch: dict, done: list, left: list[dict], end: str | None) -> None:
        if left and end is None:
            end = "expired"
            words = "This request could not be executed before the completion window expired."
            done += [(False, _result(line, None, {"code": "batch_expired", "message": words})) for line in left]
        random.Random(7).shuffle(done)
        for name, good in (("output_file_id", True), ("error_file_id", False)):
            if results := [result for ok, result in done if ok == good]:
                content = "".join(json.dumps(result, ensure_ascii=False) + "\n" for result in results)
                batch[name] = self._file(content.encode(), f"{batch['id']}.jsonl", "batch_output")["id"]
        end = end or "completed"
        batch |= {"status": end, f"{end}_at": batch["created_at"] + 2}

    # Its life.

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30, middlewares=[self._counted])
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{file}/content", self._content)
        app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_get("/v1/batches/{batch}", self._retrieve)
        app.router.add_post("/v1/batches/{batch}/cancel", self._cancel)
        app.on_startup.append(self._resume)
        return app

    async def _resume(self, app: web.Application) -> None:
        """Go on with the batches that were under way."""
        for batch in self.batches.values():
            if batch["status"] in ("validating", "in_progress"):
                self._tasks[batch["id"]] = asyncio.create_task(self._process(batch, 0.0))


def _result(line: dict, response: dict | None, error: dict | None) -> dict:
    return {
        "id": f"batch_req_{line['custom_id']}",
        "custom_id": line["custom_id"],
        "response": response,
        "error": error,
    }


def _faults_of(lines: list[dict]) -> list[dict]:
    """What validation finds wrong with a file by itself."""
    ids = [line["custom_id"] for line in lines]
    if len(set(ids)) < len(ids):
        return [{"code": "duplicate_custom_id", "message": "custom_id must be unique", "line": 1}]
    wrong = [
        number
        for number, line in enumerate(lines, start=1)
        if set(line) != {"custom_id", "method", "url", "body"}
        or len(line["custom_id"]) > 64
        or (line["method"], line["url"]) != ("POST", "/v1/chat/completions")
    ]
    return [{"code": "invalid_line", "message": "not a request", "line": number} for number in wrong]
