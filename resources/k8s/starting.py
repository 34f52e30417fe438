"""Waiting until a pod runs, and saying what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable

import kubernetes

from resources.k8s.cluster import Cluster
from resources.k8s.endings import waiting_for


class PodNeverRan(RuntimeError):
    """A pod that does not start; the message says why."""


def wait_until_started(
    core: kubernetes.client.CoreV1Api, cluster: Cluster, name: str, notice: Callable[[str], None]
) -> None:
    """Return once a pod runs or has run.

    Args:
        core: the API.
        cluster: says how often to look, and for how long.
        name: of the pod.
        notice: told what the pod waits for, once and whenever that changes.

    Raises:
        PodNeverRan: it cannot start, takes too long, was taken away before it ran, or is gone.
    """
    told, started = "", time.monotonic()
    while True:
        try:
            pod = core.read_namespaced_pod(name, cluster.namespace)
        except kubernetes.client.ApiException as error:
            if error.status == 404:
                raise PodNeverRan(f"pod {name} is gone before it ran") from error
            raise
        waiting = waiting_for(pod)
        if waiting is None:
            # Dagster's client waits for statuses of containers, and one that was refused by its node gets none.
            if pod.status.phase == "Failed" and not pod.status.container_statuses:
                raise PodNeverRan(f"pod {name} failed before it ran ({pod.status.reason}: {pod.status.message})")
            return
        if waiting.hopeless:
            raise PodNeverRan(f"pod {name}: {waiting.why}")
        if time.monotonic() - started > cluster.start_timeout_s:
            raise PodNeverRan(f"pod {name} did not start within {cluster.start_timeout_s:g} s: {waiting.why}")
        if waiting.why != told:
            told = waiting.why
            notice(f"pod {name} waits: {told}")
        time.sleep(cluster.poll_s)
