"""Waiting until pods run, and saying what they wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import kubernetes

from resources.k8s.client import NOT_FOUND
from resources.k8s.cluster import Cluster
from resources.k8s.patience import Patience


class PodNeverRan(RuntimeError):
    """A pod that does not start; the message says why."""


def wait_until_started(
    core: kubernetes.client.CoreV1Api, cluster: Cluster, name: str, notice: Callable[[str], None]
) -> None:
    """Return once a pod runs or has run; see `wait_until_all_started`."""

    def found() -> list[Any]:
        try:
            return [core.read_namespaced_pod(name, cluster.namespace)]
        except kubernetes.client.ApiException as error:
            if error.status == NOT_FOUND:
                raise PodNeverRan(f"pod {name} is gone before it ran") from error
            raise

    wait_until_all_started(found, 1, cluster, f"pod {name}", notice)


def wait_until_all_started(
    found: Callable[[], Sequence[Any]], wanted: int, cluster: Cluster, what: str, notice: Callable[[str], None]
) -> Sequence[Any]:
    """Return once so many pods run or have run.

    Args:
        found: looks for the pods; may raise.
        wanted: how many there have to be.
        cluster: says how often to look, and for how long.
        what: a person's name for them.
        notice: told what is waited for, once and whenever that changes.

    Returns:
        The pods (`V1Pod`).

    Raises:
        PodNeverRan: one cannot start, takes too long, or was taken away before it ran.
    """
    told, started, patience = "", time.monotonic(), Patience(cluster.patience_s)
    while True:
        pods = found()
        waits = [why for why in (_wait_of(pod, patience) for pod in pods) if why]
        if len(pods) < wanted:
            waits.append(f"{len(pods)} of {wanted} pods are there")
        if not waits:
            return pods
        if time.monotonic() - started > cluster.start_timeout_s:
            raise PodNeverRan(f"{what} did not start within {cluster.start_timeout_s:g} s: {waits[0]}")
        if waits[0] != told:
            told = waits[0]
            notice(f"{what} waits: {told}")
        time.sleep(cluster.poll_s)


def _wait_of(pod: Any, patience: Patience) -> str:
    """What a pod waits for; nothing once it has run."""
    waiting = patience.waiting_for(pod)
    name = pod.metadata.name
    if waiting is None:
        # Dagster's client waits for statuses of containers, and one that was refused by its node gets none.
        if pod.status.phase == "Failed" and not pod.status.container_statuses:
            raise PodNeverRan(f"pod {name} failed before it ran ({pod.status.reason}: {pod.status.message})")
        return ""
    if waiting.hopeless:
        raise PodNeverRan(f"pod {name}: {waiting.why}")
    return waiting.why
