"""The objects of a stand-in cluster: versions, changes to watch, owners. Neither HTTP nor processes are known here."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster_selectors import Selector

Object = dict[str, Any]
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


@dataclass(frozen=True)
class Kind:
    """One kind of object; `group` is empty for core/v1."""

    group: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"


PODS = Kind("", "pods", "Pod")
EVENTS = Kind("", "events", "Event")
SECRETS = Kind("", "secrets", "Secret")
CONFIG_MAPS = Kind("", "configmaps", "ConfigMap")
SERVICES = Kind("", "services", "Service")
JOBS = Kind("batch", "jobs", "Job")
DEPLOYMENTS = Kind("apps", "deployments", "Deployment")
STATEFUL_SETS = Kind("apps", "statefulsets", "StatefulSet")
KINDS = {
    (kind.group, kind.plural): kind
    for kind in (
        *(PODS, EVENTS, SECRETS, CONFIG_MAPS, SERVICES, JOBS, DEPLOYMENTS, STATEFUL_SETS),
        Kind("", "persistentvolumeclaims", "PersistentVolumeClaim"),
        Kind("", "serviceaccounts", "ServiceAccount"),
        Kind("", "namespaces", "Namespace", namespaced=False),
        Kind("", "nodes", "Node", namespaced=False),
        Kind("batch", "cronjobs", "CronJob"),
        Kind("coordination.k8s.io", "leases", "Lease"),
        Kind("policy", "poddisruptionbudgets", "PodDisruptionBudget"),
    )
}


class Refusal(Exception):
    """What the API answers with instead: an HTTP status, its reason and a message."""

    def __init__(self, status: int, reason: str, message: str):
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass(frozen=True)
class Change:
    """One line of a watch."""

    version: int
    kind: Kind
    type: str
    object: Object


class Objects:
    """All objects, by kind, namespace and name.

    Attributes:
        version: of the last change; every object carries the one of its own.
        changes: all of them, oldest first.
        created: every object ever created, as it was submitted.
    """

    def __init__(self) -> None:
        self.version = 0
        self.changes: list[Change] = []
        self.created: list[Object] = []
        self._objects: dict[tuple[Kind, str, str], Object] = {}
        self._bell = asyncio.Event()

    async def after(self, version: int, seconds: float | None = None) -> None:
        """Wait until something is newer than a version, or for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.version <= version:
                    await self._bell.wait()

    def changes_after(self, version: int) -> list[Change]:
        """What is newer than a version, oldest first."""
        return self.changes[version:]  # Each change made one version.

    def _note(self, kind: Kind, type_: str, one: Object) -> None:
        self.version += 1
        one["metadata"]["resourceVersion"] = str(self.version)
        self.changes.append(Change(self.version, kind, type_, copy.deepcopy(one)))
        self._bell.set()
        self._bell = asyncio.Event()

    # Reading: what is returned belongs to the reader.

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return copy.deepcopy(self._one(kind, namespace, name))

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        one = self._objects.get((kind, namespace, name))
        return copy.deepcopy(one)

    def list(self, kind: Kind, namespace: str | None = None, selector: Selector | None = None) -> list[Object]:
        """Those of a kind, of all namespaces when None, oldest first."""
        found = [
            one
            for (its_kind, its_namespace, _), one in self._objects.items()
            if its_kind == kind and namespace in (None, its_namespace)
        ]
        return [copy.deepcopy(one) for one in found if selector is None or selector.matches(one)]

    def owned(self, kind: Kind, owner: Object) -> list[Object]:
        """Those that name an object as their owner, oldest first."""
        uid = owner["metadata"]["uid"]
        return [one for one in self.list(kind) if any(ref["uid"] == uid for ref in references(one))]

    def _one(self, kind: Kind, namespace: str, name: str) -> Object:
        try:
            return self._objects[kind, namespace, name]
        except KeyError:
            raise Refusal(404, "NotFound", f'{kind.plural} "{name}" not found') from None

    # Writing.

    def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        one = copy.deepcopy(body)
        meta = one.setdefault("metadata", {})
        name = meta.get("name") or meta.get("generateName", "") + uuid.uuid4().hex[:5]
        _must_be_legal(kind, name, meta)
        if (kind, namespace, name) in self._objects:
            raise Refusal(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        self.created.append({"apiVersion": kind.api_version, "kind": kind.name, **copy.deepcopy(body)})
        one |= {"apiVersion": kind.api_version, "kind": kind.name}
        meta |= {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
        if kind.namespaced:
            meta["namespace"] = namespace
        if kind == PODS:
            one["status"] = {"phase": "Pending"}
        self._objects[kind, namespace, name] = one
        self._note(kind, "ADDED", one)
        return copy.deepcopy(one)

    def write(self, kind: Kind, body: Object) -> Object:
        """Put a new state in an object's place, if nobody else did since its resourceVersion."""
        meta = body["metadata"]
        before = self._one(kind, meta.get("namespace", ""), meta["name"])
        known = before["metadata"]
        if meta.get("resourceVersion") not in (None, known["resourceVersion"]):
            message = f'Operation cannot be fulfilled on {kind.plural} "{meta["name"]}": the object has been modified'
            raise Refusal(409, "Conflict", message)
        one = copy.deepcopy(body)
        fixed = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
        one["metadata"] |= {name: known[name] for name in fixed if name in known}
        one |= {"apiVersion": kind.api_version, "kind": kind.name}
        one["metadata"]["resourceVersion"] = known["resourceVersion"]
        if one == before:
            return one
        if one.get("spec") != before.get("spec"):
            one["metadata"]["generation"] += 1
        self._objects[kind, meta.get("namespace", ""), meta["name"]] = one
        self._note(kind, "MODIFIED", one)
        return copy.deepcopy(one)

    def change(self, kind: Kind, namespace: str, name: str, change: Callable[[Object], object]) -> Object | None:
        """Change an object in place, whatever its version is; None when it is gone."""
        one = self.find(kind, namespace, name)
        if one is None:
            return None
        change(one)
        return self.write(kind, one)

    def set_status(self, kind: Kind, one: Object, status: Object) -> Object | None:
        """Give the object that this is a copy of another status."""
        meta = one["metadata"]

        def change(current: Object) -> None:
            current["status"] = status

        return self.change(kind, meta.get("namespace", ""), meta["name"], change)

    def mark_deleted(self, kind: Kind, one: Object, grace_s: int) -> None:
        """Say that an object is to go, so that who runs it can end it first."""
        stored = self._objects[kind, one["metadata"].get("namespace", ""), one["metadata"]["name"]]
        before = stored["metadata"].get("deletionGracePeriodSeconds")
        if before is not None and before <= grace_s:
            return
        stored["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": grace_s}
        self._note(kind, "MODIFIED", stored)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Take an object away, if it is still there."""
        one = self._objects.pop((kind, namespace, name), None)
        if one is not None:
            self._note(kind, "DELETED", one)

    def orphan_dependents(self, owner: Object) -> None:
        """Have nobody name this owner any more."""
        uid = owner["metadata"]["uid"]
        for (kind, _, _), one in self._objects.items():
            kept = [ref for ref in references(one) if ref["uid"] != uid]
            if len(kept) < len(references(one)):
                one["metadata"]["ownerReferences"] = kept
                self._note(kind, "MODIFIED", one)

    def ownerless(self) -> list[tuple[Kind, Object]]:
        """Objects all of whose owners are gone."""
        there = {one["metadata"]["uid"] for one in self._objects.values()}
        return [
            (kind, copy.deepcopy(one))
            for (kind, _, _), one in self._objects.items()
            if references(one) and not any(ref["uid"] in there for ref in references(one))
        ]


def references(one: Object) -> list[Object]:
    """The owners that an object names."""
    return one["metadata"].get("ownerReferences") or []


def owned_by(kind: Kind, owner: Object) -> Object:
    """The reference by which an object names its controller."""
    meta = owner["metadata"]
    about = {"apiVersion": kind.api_version, "kind": kind.name, "name": meta["name"], "uid": meta["uid"]}
    return {**about, "controller": True, "blockOwnerDeletion": True}


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _must_be_legal(kind: Kind, name: str, meta: Object) -> None:
    # What a real API server refuses: a name or label that is too long fails there and nowhere else.
    longest = 63 if kind in (PODS, JOBS, SERVICES, STATEFUL_SETS) else 253
    if not NAME.fullmatch(name) or len(name) > longest:
        raise Refusal(422, "Invalid", f'{kind.name} "{name}" is invalid: metadata.name: not a DNS name of {longest}')
    for key, value in (meta.get("labels") or {}).items():
        prefix, _, last = key.rpartition("/")
        if not LABEL.fullmatch(value) or not LABEL.fullmatch(last) or max(len(value), len(last)) > 63 or not last:
            raise Refusal(422, "Invalid", f'{kind.name} "{name}" is invalid: metadata.labels: "{key}: {value}"')
        if prefix and not NAME.fullmatch(prefix):
            raise Refusal(422, "Invalid", f'{kind.name} "{name}" is invalid: metadata.labels: "{key}"')
