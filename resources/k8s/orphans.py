"""Payload pods that nobody waits for any more: their step was killed and could not take them with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import kubernetes

from resources.k8s.client import may_be_gone
from resources.k8s.cluster import Cluster, ClusterError
from resources.k8s.pods import COMPONENT, PART_OF, PROJECT

FOLDER = "mbt/folder"
"""Annotation: the folder that a payload works on."""
OWNER = "mbt/owner"
"""Annotation: uid of the step's pod, on pods that have a Job for their owner."""
OURS = f"{PART_OF}={PROJECT},{COMPONENT} in (payload,training)"
ENDED = ("Succeeded", "Failed")
POLL_S = 0.5
GONE_WITHIN_S = 120.0
GRACE_S = 20


def remove_rivals(
    core: kubernetes.client.CoreV1Api, cluster: Cluster, folder: str, notice: Callable[[str], None]
) -> None:
    """Remove every payload pod that works on a folder, and wait until it is gone.

    Whoever calls this has the right to that folder, so such a pod is left over from a step that was killed.

    Raises:
        ClusterError: one does not go: its node does not answer, perhaps.
    """
    pods = core.list_namespaced_pod(cluster.namespace, label_selector=OURS).items
    rivals = [pod for pod in pods if (pod.metadata.annotations or {}).get(FOLDER) == folder]
    for pod in rivals:
        notice(f"pod {pod.metadata.name} still works on {folder}, for a step that is gone: it is removed")
        remove(core, pod)
    deadline = time.monotonic() + GONE_WITHIN_S
    names = {pod.metadata.name for pod in rivals}
    while names and time.monotonic() < deadline:
        there = core.list_namespaced_pod(cluster.namespace, label_selector=OURS).items
        names &= {pod.metadata.name for pod in there}
        time.sleep(POLL_S)
    if names:
        raise ClusterError(
            f"{', '.join(sorted(names))} still work(s) on {folder} and cannot be ended within {GONE_WITHIN_S:g} s: see "
            f"to the node, or `kubectl delete pod --force` once nothing runs there any more"
        )


def remove_ownerless(core: kubernetes.client.CoreV1Api, cluster: Cluster) -> list[str]:
    """Remove the payload pods of steps that have ended without taking them along.

    Kubernetes does so itself once the step's pod is deleted; one that was killed stays to be looked at for a day.

    Returns:
        Names of the pods.
    """
    payloads = core.list_namespaced_pod(cluster.namespace, label_selector=OURS).items
    # In this order: a step that comes in between would be missed, and its payload taken for left over.
    everything = core.list_namespaced_pod(cluster.namespace).items
    running = {pod.metadata.uid for pod in everything if pod.status.phase not in ENDED}
    removed = []
    for pod in payloads:
        owners = _pod_owners(pod)
        if owners and not owners & running:
            remove(core, pod)
            removed.append(pod.metadata.name)
    return removed


def remove(core: kubernetes.client.CoreV1Api, pod: Any) -> None:
    """Delete a pod; where a Job would make it anew, that Job and its Service."""
    namespace = pod.metadata.namespace
    for job in [owner.name for owner in pod.metadata.owner_references or [] if owner.kind == "Job"]:
        remove_job(core, job, namespace)
    with may_be_gone():
        core.delete_namespaced_pod(pod.metadata.name, namespace, grace_period_seconds=GRACE_S)


def remove_job(core: kubernetes.client.CoreV1Api, name: str, namespace: str) -> None:
    """Delete a training's Job, with its pods, and its Service."""
    with may_be_gone():
        kubernetes.client.BatchV1Api().delete_namespaced_job(name, namespace, propagation_policy="Background")
    with may_be_gone():
        core.delete_namespaced_service(name, namespace)


def _pod_owners(pod: Any) -> set[str]:
    """Uids of the pods that a pod was made by; a Job's pods say it in an annotation of their own."""
    named = {owner.uid for owner in pod.metadata.owner_references or [] if owner.kind == "Pod"}
    noted = (pod.metadata.annotations or {}).get(OWNER)
    return named | ({noted} if noted else set())
