"""The Deployments and StatefulSets of model servers: made, marked as used, scaled, stopped and deleted.

Users and the reaper meet here without a lock. A user takes a lease first and marks the server as used then, which
gives its object a new version. The reaper reads the version first and the leases then, and stops a server only where it
still has that version. So either the reaper sees the lease, or its stop is refused, or the user sees that it stopped.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kubernetes
from urllib3.exceptions import HTTPError

from resources.k8s.client import CONFLICT, NOT_FOUND, create, told
from resources.k8s.cluster import Cluster
from resources.k8s.leases import stamp, utc_now
from resources.k8s.pods import selector
from resources.k8s.server_objects import STOPPED_AT, USED_AT, Server
from resources.leases import ServerError

KINDS = {"Deployment": "deployment", "StatefulSet": "stateful_set"}


class Workloads:
    """The servers' objects in one namespace.

    Args:
        cluster: where.
    """

    def __init__(self, cluster: Cluster):
        self._namespace = cluster.namespace
        self._apps = kubernetes.client.AppsV1Api()
        self._core = kubernetes.client.CoreV1Api()

    def all(self, **chosen: str) -> list[Any]:
        """Those there are (`V1Deployment` or `V1StatefulSet`), of a study alone where `study` is given."""
        found: list[Any] = []
        for kind in KINDS:
            listed = self._call("list", kind, label_selector=selector(component="server", **chosen)).items
            for one in listed:
                # A list's items do not say what they are.
                one.kind = kind
            found += listed
        return found

    def use(self, server: Server) -> int:
        """Mark a server as used, made first where it is missing; how many pods it should have by now.

        Whoever calls this holds a lease, and scales it up where that is too few.
        """
        create(self._core.create_namespaced_service, self._namespace, server.service)
        while True:
            used = self._annotate(server.kind, server.name, {USED_AT: stamp(utc_now()), STOPPED_AT: None})
            if used is not None:
                return int(used.spec.replicas or 0)
            meta = server.workload["metadata"]
            noted = {**meta["annotations"], USED_AT: stamp(utc_now())}
            made = {**server.workload, "metadata": {**meta, "annotations": noted}}
            create(getattr(self._apps, f"create_namespaced_{KINDS[server.kind]}"), self._namespace, made)

    def scale(self, kind: str, name: str, replicas: int) -> None:
        """Have a server run so many pods."""
        self._call("patch", kind, name, body={"spec": {"replicas": replicas}})

    def keep(self, kind: str, name: str) -> None:
        """Mark a server as used by others; nothing where it is gone."""
        self._annotate(kind, name, {USED_AT: stamp(utc_now())})

    def read(self, kind: str, name: str) -> Any:
        """A server's object; None where there is none."""
        try:
            return self._call("read", kind, name)
        except kubernetes.client.ApiException as error:
            if error.status != NOT_FOUND:
                raise
            return None

    def stop(self, kind: str, workload: Any) -> bool:
        """Scale a server to zero, unless it was used or changed since it was read; whether it was."""
        seen = {"resourceVersion": workload.metadata.resource_version, "annotations": {STOPPED_AT: stamp(utc_now())}}
        with _unless_changed() as outcome:
            self._call("patch", kind, workload.metadata.name, body={"metadata": seen, "spec": {"replicas": 0}})
        return outcome.done

    def delete(self, kind: str, workload: Any) -> bool:
        """Delete a server with its Service, unless it was used or changed since it was read; whether it was."""
        name = workload.metadata.name
        seen = {"preconditions": {"resourceVersion": workload.metadata.resource_version}}
        with _unless_changed() as outcome:
            self._call("delete", kind, name, body={**seen, "propagationPolicy": "Background"})
        # A request that was repeated finds it gone.
        if outcome.done or self.read(kind, name) is None:
            # Whoever uses the server next makes it again.
            with _unless_changed():
                self._core.delete_namespaced_service(name, self._namespace)
        return outcome.done

    def _annotate(self, kind: str, name: str, notes: dict[str, str | None]) -> Any:
        try:
            return self._call("patch", kind, name, body={"metadata": {"annotations": notes}})
        except kubernetes.client.ApiException as error:
            if error.status != NOT_FOUND:
                raise
            return None

    def _call(self, verb: str, kind: str, name: str | None = None, **options: Any) -> Any:
        call = getattr(self._apps, f"{verb}_namespaced_{KINDS[kind]}")
        return call(*([name] if name else []), self._namespace, **options)


class _Outcome:
    done = True


@contextmanager
def _unless_changed() -> Iterator[_Outcome]:
    outcome = _Outcome()
    try:
        yield outcome
    except kubernetes.client.ApiException as error:
        if error.status not in (CONFLICT, NOT_FOUND):
            raise
        outcome.done = False


def noted_time(workload: Any, annotation: str) -> datetime.datetime | None:
    """The moment that an annotation of a server's object holds; None where there is none."""
    text = (workload.metadata.annotations or {}).get(annotation)
    return datetime.datetime.fromisoformat(text) if text else None


@contextmanager
def api_errors(what: str) -> Iterator[None]:
    """Turn what goes wrong between here and the API into one clear error.

    Args:
        what: was tried; begins the message.

    Raises:
        ServerError: the API refused or did not answer.
    """
    try:
        yield
    except kubernetes.client.ApiException as error:
        hint = ": the service account lacks a right (docs/kubernetes.md)" if error.status in (401, 403) else ""
        raise ServerError(f"{what}: the cluster refuses ({told(error)}){hint}") from error
    except HTTPError as error:
        raise ServerError(f"{what}: the cluster's API does not answer ({error})") from error
