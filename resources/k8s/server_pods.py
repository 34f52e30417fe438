"""Waiting until the pods of a model server answer, and saying what they wait for or why they never will."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import kubernetes

from resources.k8s.cluster import Cluster
from resources.k8s.endings import explain, log_of
from resources.k8s.patience import Patience
from resources.k8s.server_objects import Server
from resources.k8s.workloads import Workloads
from resources.leases import ServerError

LOG_LINES = 15
STRAGGLERS_S = 60.0
"""How long the first pod that answers waits for its siblings."""
ENDED = ("Failed", "Succeeded")


@dataclass
class _Seen:
    """What the pods of a server are like at one moment.

    Attributes:
        ready: addresses of those that answer.
        waits: why others do not run yet.
        hopeless: a pod that never will, and why.
        running: uids of pods that run and do not answer yet.
        coming: whether a pod has a node and does not answer yet.
    """

    ready: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    hopeless: tuple[Any, str] | None = None
    running: set[str] = field(default_factory=set)
    coming: bool = False


class Awaited:
    """The pods of a server that is to come up.

    Args:
        cluster: where.
        workloads: the servers' objects.
        server: the server.
        notice: told what this waits for, once and whenever that changes.
    """

    def __init__(self, cluster: Cluster, workloads: Workloads, server: Server, notice: Callable[[str], None]):
        self._cluster = cluster
        self._workloads = workloads
        self._server = server
        self._notice = notice
        self._core = kubernetes.client.CoreV1Api()
        self._told = ""
        self._running_since: dict[str, float] = {}
        self._patience = Patience(cluster.patience_s)

    def addresses(self) -> list[str]:
        """Addresses of the pods that answer, as soon as all do or the others take too long.

        Raises:
            ServerError: it does not come up; the message says why and shows the end of its log.
        """
        began, first = time.monotonic(), None
        while True:
            seen = self._look()
            if len(seen.ready) >= self._server.copies:
                return seen.ready
            if seen.ready:
                first = first or time.monotonic()
                # One that finds no node may find none for days.
                if not seen.coming or time.monotonic() - first > STRAGGLERS_S:
                    self._say(f"{len(seen.ready)} of {self._server.copies} pods answer and are used{_without(seen)}")
                    return seen.ready
            elif seen.hopeless:
                raise self._failed(*seen.hopeless)
            elif not seen.running and time.monotonic() - began > self._cluster.start_timeout_s:
                why = "; ".join(seen.waits) or "no pod was made"
                raise ServerError(f"{self._called} did not start in {self._cluster.start_timeout_s:g} s: {why}")
            self._say(self._progress(seen))
            self._not_stopped()
            time.sleep(self._cluster.poll_s)

    @property
    def _called(self) -> str:
        return f"the model server {self._server.name}"

    def _look(self) -> _Seen:
        chosen = ",".join(f"{name}={value}" for name, value in self._server.pods.items())
        seen = _Seen()
        for pod in self._core.list_namespaced_pod(self._cluster.namespace, label_selector=chosen).items:
            # Those of an earlier use may still be ending, and evicted ones stay to be looked at.
            if not pod.metadata.deletion_timestamp and pod.status.phase not in ENDED:
                self._judge(pod, seen)
        return seen

    def _judge(self, pod: Any, seen: _Seen) -> None:
        waiting = self._patience.waiting_for(pod)
        if waiting and waiting.hopeless:
            seen.hopeless = seen.hopeless or (pod, waiting.why)
        elif waiting:
            seen.waits.append(waiting.why)
            seen.coming = seen.coming or pod.spec.node_name is not None
        elif _is_ready(pod):
            if self._server.answering.items() <= pod.metadata.labels.items():
                seen.ready.append(pod.status.pod_ip)
        else:
            seen.running.add(pod.metadata.uid)
            seen.coming = True
            since = self._running_since.setdefault(pod.metadata.uid, time.monotonic())
            # The startup probe ends it then; there is no need to wait for the restart.
            if time.monotonic() - since > self._server.startup_timeout_s:
                late = f"it did not answer within {self._server.startup_timeout_s:g} s"
                seen.hopeless = seen.hopeless or (pod, late)

    def _progress(self, seen: _Seen) -> str:
        parts = sorted(set(seen.waits))
        if seen.running:
            parts.append(f"{len(seen.running)} of {self._server.replicas} pods run and do not answer yet")
        if not parts:
            parts.append(self._why_no_pod() or "its pods are made")
        return "; ".join(parts)

    def _say(self, what: str) -> None:
        if what != self._told:
            self._told = what
            self._notice(f"{self._called}: {what}")

    def _not_stopped(self) -> None:
        """Scale the server up again where somebody stopped it while this waits."""
        workload = self._workloads.read(self._server.kind, self._server.name)
        if workload is None or (workload.spec.replicas or 0) == 0:
            self._workloads.use(self._server)
            self._workloads.scale(self._server.kind, self._server.name, self._server.replicas)

    def _why_no_pod(self) -> str:
        """What the cluster has against making a pod: a quota, a policy."""
        workload = self._workloads.read(self._server.kind, self._server.name)
        conditions = (workload.status.conditions if workload and workload.status else None) or []
        refused = next((c for c in conditions if c.type == "ReplicaFailure" and c.status == "True"), None)
        return f"the cluster makes no pod of it ({refused.message})" if refused else ""

    def _failed(self, pod: Any, why: str) -> ServerError:
        log = log_of(self._core, pod)[-LOG_LINES:]
        ended, _ = explain(pod)
        last = _last_end(pod)
        told = why if why in ended or not ended else f"{why}; it {ended}"
        shown = "its log ends with:\n" + "\n".join(log) if log else "it printed nothing"
        return ServerError(f"{self._called} does not come up: pod {pod.metadata.name}: {told}{last}; {shown}")


def _without(seen: _Seen) -> str:
    """Why the other pods are not used."""
    reasons = [seen.hopeless[1]] if seen.hopeless else sorted(set(seen.waits))
    return f", without the others: {'; '.join(reasons)}" if reasons else ""


def _is_ready(pod: Any) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])


def _last_end(pod: Any) -> str:
    """How a container that is started again and again ended the last time."""
    for status in pod.status.container_statuses or []:
        ended = status.last_state.terminated if status.last_state else None
        if ended:
            times = f"{status.restart_count} times" if status.restart_count > 1 else "once"
            return f", it ended {times}, last with {ended.reason} (exit status {ended.exit_code})"
    return ""
