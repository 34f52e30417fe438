"""The HTTP side of a stand-in cluster: as much of the Kubernetes API as clients ask for."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from cluster_controllers import delete
from cluster_log import answer_log, is_set
from cluster_objects import JOBS, KINDS, PODS, Kind, Object, Objects, Refusal
from cluster_pods import PodProcess
from cluster_selectors import Selector

VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0", "platform": "linux/amd64"} | dict.fromkeys(
    ("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion"), ""
)


@dataclass(frozen=True)
class Request:
    """What was asked for, in the words of RBAC: `resource` is `pods/log` for a part of an object."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


class Api:
    """Answers requests about objects and what pods printed.

    Args:
        objects: what there is.
        processes: the process of each pod, by its uid.

    Attributes:
        requests: all that were asked for, in order.
        refuse: so many of the next requests are answered 503.
        refuse_what: only those whose `METHOD /path` this finds something in.
        unheard: of this resource, the next create is done and answered 503 all the same.
        denied: pairs of verb and resource that this client has no right to.
    """

    def __init__(self, objects: Objects, processes: Mapping[str, PodProcess]):
        self._objects, self._processes = objects, processes
        self.requests: list[Request] = []
        self.refuse, self.refuse_what, self.unheard = 0, "", ""
        self.denied: set[tuple[str, str]] = set()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded], client_max_size=1 << 26)
        for path in ("/healthz", "/readyz", "/livez"):
            app.router.add_get(path, _ok)
        app.router.add_get("/version", _version)
        # So the Python client asks.
        app.router.add_get("/version/", _version)
        app.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._access_review)
        for prefix in ("/api/v1", "/apis/{group}/v1"):
            for path in ("/namespaces/{namespace}/{plural}", "/{plural}"):
                for rest in ("", "/{name}", "/{name}/{part}"):
                    app.router.add_route("*", prefix + path + rest, self._any)
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            if self.refuse > 0 and re.search(self.refuse_what, f"{request.method} {request.path}"):
                self.refuse -= 1
                raise Refusal(503, "ServiceUnavailable", "the server is currently unable to handle the request")
            return await handler(request)
        except Refusal as refusal:
            body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": refusal.status}
            body |= {"reason": refusal.reason, "message": refusal.message}
            return web.json_response(body, status=refusal.status)
        except web.HTTPNotFound:
            body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"}
            return web.json_response({**body, "message": "no such path"}, status=404)

    async def _access_review(self, request: web.Request) -> web.Response:
        review = await request.json()
        asked = review["spec"].get("resourceAttributes") or {}
        part = f"/{asked['subresource']}" if asked.get("subresource") else ""
        allowed = (asked.get("verb"), f"{asked.get('resource')}{part}") not in self.denied
        return web.json_response({**review, "status": {"allowed": allowed}}, status=201)

    async def _any(self, request: web.Request) -> web.StreamResponse:
        found = request.match_info
        kind = KINDS.get((found.get("group", ""), found["plural"]))
        if kind is None:
            raise Refusal(404, "NotFound", f"the server could not find the requested resource {found['plural']}")
        namespace, name, part = found.get("namespace", ""), found.get("name", ""), found.get("part", "")
        verb = _verb(request, name)
        resource = f"{kind.plural}/{part}" if part else kind.plural
        self.requests.append(Request(verb, kind.group, resource, namespace, name))
        if (verb, resource) in self.denied:
            message = f'{resource} is forbidden: User "stand-in" cannot {verb} resource "{resource}"'
            raise Refusal(403, "Forbidden", message)
        if kind == PODS and part == "log":
            pod = self._objects.get(PODS, namespace, name)
            return await answer_log(request, pod, self._processes.get(pod["metadata"]["uid"]))
        if part not in ("", "status", "scale"):
            raise Refusal(404, "NotFound", f"no {resource} here")
        answer: Callable[..., Any] = getattr(self, f"_{verb}")
        return await answer(request, kind, namespace, name, part)

    # One verb each.

    async def _get(self, request: web.Request, kind: Kind, namespace: str, name: str, part: str) -> web.Response:
        one = self._objects.get(kind, namespace, name)
        return web.json_response(_scale(one) if part == "scale" else one)

    async def _list(self, request: web.Request, kind: Kind, namespace: str, *_: str) -> web.Response:
        found = self._objects.list(kind, namespace or None, _selector(request))
        meta = {"resourceVersion": str(self._objects.version)}
        about = {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": meta}
        return web.json_response({**about, "items": found})

    async def _create(self, request: web.Request, kind: Kind, namespace: str, *_: str) -> web.Response:
        body = await request.json()
        if "dryRun" in request.query:
            return web.json_response(body, status=201)
        made = self._objects.create(kind, namespace, body)
        if self.unheard == kind.plural:
            self.unheard = ""
            raise Refusal(503, "ServiceUnavailable", "the answer was lost")
        return web.json_response(made, status=201)

    async def _update(self, request: web.Request, kind: Kind, namespace: str, name: str, part: str) -> web.Response:
        body = await request.json()
        return self._written(kind, namespace, name, part, lambda one: _put(one, body, part))

    async def _patch(self, request: web.Request, kind: Kind, namespace: str, name: str, part: str) -> web.Response:
        if "merge-patch" not in request.content_type:
            raise Refusal(415, "UnsupportedMediaType", f"{request.content_type} is not understood here")
        body = await request.json()
        return self._written(kind, namespace, name, part, lambda one: _merge(one, body))

    def _written(
        self, kind: Kind, namespace: str, name: str, part: str, change: Callable[[Object], Object]
    ) -> web.Response:
        one = self._objects.get(kind, namespace, name)
        if part == "scale":
            scale = change(_scale(one))
            changed = copy.deepcopy(one)
            changed["spec"]["replicas"] = scale["spec"].get("replicas", 0)
            changed["metadata"]["resourceVersion"] = scale["metadata"].get("resourceVersion")
            return web.json_response(_scale(self._objects.write(kind, changed)))
        changed = change(copy.deepcopy(one))
        changed["metadata"] = {**changed["metadata"], "name": name, **({"namespace": namespace} if namespace else {})}
        return web.json_response(self._objects.write(kind, changed))

    async def _delete(self, request: web.Request, kind: Kind, namespace: str, name: str, part: str) -> web.Response:
        options = await request.json() if request.can_read_body else {}
        options = {**options, **request.query}
        one = self._objects.get(kind, namespace, name)
        for field, expected in (options.get("preconditions") or {}).items():
            if one["metadata"].get(field) != expected:
                raise Refusal(409, "Conflict", f"the {field} in the precondition is not that of {name}")
        # A job deleted without a word on it leaves its pods behind, as it always did in batch/v1.
        policy = options.get("propagationPolicy") or ("Orphan" if kind == JOBS else "Background")
        if policy == "Orphan":
            self._objects.orphan_dependents(one)
        grace = options.get("gracePeriodSeconds")
        delete(self._objects, kind, one, None if grace is None else int(grace))
        left = self._objects.find(kind, namespace, name)
        return web.json_response(left or {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 200})

    async def _deletecollection(self, request: web.Request, kind: Kind, namespace: str, *_: str) -> web.Response:
        for one in self._objects.list(kind, namespace or None, _selector(request)):
            delete(self._objects, kind, one)
        return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 200})

    async def _watch(self, request: web.Request, kind: Kind, namespace: str, *_: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        async for type_, one in self._changes(request, kind, namespace):
            await response.write(json.dumps({"type": type_, "object": one}).encode() + b"\n")
        return response

    async def _changes(self, request: web.Request, kind: Kind, namespace: str) -> AsyncIterator[tuple[str, Object]]:
        selector = _selector(request)
        asked = int(request.query.get("resourceVersion") or 0)
        seen = asked or self._objects.version
        if not asked:
            for one in self._objects.list(kind, namespace or None, selector):
                yield "ADDED", one
        ends = time.monotonic() + float(request.query.get("timeoutSeconds") or 3600)
        while time.monotonic() < ends:
            new = self._objects.changes_after(seen)
            for change in new:
                seen = change.version
                its = change.object["metadata"].get("namespace", "")
                if change.kind == kind and namespace in ("", its) and selector.matches(change.object):
                    yield change.type, change.object
            if not new:
                await self._objects.after(seen, ends - time.monotonic())


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _version(_: web.Request) -> web.Response:
    return web.json_response(VERSION)


def _verb(request: web.Request, name: str) -> str:
    if request.method == "GET":
        if name:
            return "get"
        return "watch" if is_set(request, "watch") else "list"
    if request.method == "DELETE":
        return "delete" if name else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}[request.method]


def _selector(request: web.Request) -> Selector:
    try:
        return Selector(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""))
    except ValueError as error:
        raise Refusal(400, "BadRequest", str(error)) from error


def _put(one: Object, body: Object, part: str) -> Object:
    if part == "status":
        return {**one, "status": body.get("status") or {}, "metadata": {**one["metadata"], **_version_of(body)}}
    return {**body, "status": one.get("status") or {}} if part == "" and "status" in one else body


def _version_of(body: Object) -> Object:
    version = (body.get("metadata") or {}).get("resourceVersion")
    return {"resourceVersion": version} if version else {}


def _merge(one: Any, patch: Any) -> Any:
    """As RFC 7386 says: null takes away, objects are merged, everything else is replaced."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(one) if isinstance(one, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _scale(one: Object) -> Object:
    meta = {name: one["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
    spec = {"replicas": one["spec"].get("replicas", 1)}
    status = {"replicas": (one.get("status") or {}).get("replicas", 0)}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}
