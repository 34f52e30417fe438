"""Why a pod does not run yet, and why one ended: read from its status, told in a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import kubernetes
from urllib3.exceptions import HTTPError

from resources.k8s.client import already_there, told

TAKEN_AWAY = ("Evicted", "NodeLost", "NodeShutdown", "Shutdown", "Terminated", "Preempting", "NodeAffinity")
"""Reasons of a failed pod that have nothing to do with what it ran."""
DISRUPTED = "DisruptionTarget"
"""Condition of a pod that the cluster ends: preempted, drained, its node tainted or shut down."""
OF_ITS_OWN = "exceeds"
"""In the message of an eviction for using more of a volume than the pod may."""
NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
NOT_STARTED = ("CrashLoopBackOff", "RunContainerError", "CreateContainerConfigError", "CreateContainerError")
MAY_PASS = ("ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError", "CreateContainerError")
"""Of those: what a registry, or a volume that is not mounted yet, may be the cause of for a moment."""
OUT_OF_TIME = "DeadlineExceeded"
TOOK_TOO_LONG = 124
LOG_LINES = 200
NO_LOG = (400, 404)
REFUSED = (400, 401, 403, 422)
"""What the API answers to a pod that it does not take: it fits no rule, no quota, no right."""
GPU_SIGNS = ("CUDA error", "CUDA driver", "NCCL error", "Xid", "cudaError", "uncorrectable ECC")


@dataclass(frozen=True)
class Ending:
    """How a pod ended.

    Attributes:
        told: what happened, on which pod and node, and what to do.
        by_the_cluster: it was taken away, and may well succeed elsewhere.
        log: the last lines that it printed.
        error: what was raised here.
    """

    told: str
    by_the_cluster: bool
    log: tuple[str, ...] = ()
    error: Exception | None = None


@dataclass(frozen=True)
class Waiting:
    """Why a pod does not run yet.

    Attributes:
        why: in words.
        hopeless: waiting on will not help.
        troubled: it may not help; see `patience`.
    """

    why: str
    hopeless: bool
    troubled: bool = False


def waiting_for(pod: Any) -> Waiting | None:
    """What a pod (`V1Pod`) waits for; None once it has run."""
    for status in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = status.state.waiting if status.state else None
        if waiting and waiting.reason in NO_IMAGE:
            why = f"the image {status.image or _image(pod)} cannot be pulled ({waiting.reason}: {waiting.message})"
            return _trouble(why, waiting.reason)
        if waiting and waiting.reason in NOT_STARTED:
            return _trouble(f"its container does not start ({waiting.reason}: {waiting.message})", waiting.reason)
    if pod.status.phase != "Pending":
        return None
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return Waiting(f"no node has room for it ({condition.message or condition.reason})", False)
    return Waiting("its node prepares it", False)


def _trouble(why: str, reason: str) -> Waiting:
    return Waiting(why, hopeless=reason not in MAY_PASS, troubled=True)


def ending_of(core: kubernetes.client.CoreV1Api, namespace: str, selector: str, error: Exception) -> Ending:
    """How the pods of one start of a payload ended, when something went wrong.

    Args:
        core: the API.
        namespace: of the pods.
        selector: finds them.
        error: what was raised here.
    """
    try:
        pods = core.list_namespaced_pod(namespace, label_selector=selector).items
    except Exception as unreachable:
        return Ending(f"the cluster does not answer ({unreachable}), after {error}", False, error=error)
    if already_there(error):
        # It may have run for a while by now, unheard.
        return Ending("the API's answer to its creation was lost", True, error=error)
    if not pods and isinstance(error, kubernetes.client.ApiException) and error.status in REFUSED:
        return Ending(f"the cluster makes no pod of it ({told(error)})", False, error=error)
    if not pods:
        return Ending("its pod is gone: its node was lost, or somebody deleted it", True, error=error)
    guilty = min(pods, key=_guilt)
    why, by_the_cluster = explain(guilty)
    if not why:
        return Ending(f"{_where(guilty)}: {_first_line(error)}", False, log_of(core, guilty), error)
    log = log_of(core, guilty)
    if any(sign in line for line in log for sign in GPU_SIGNS):
        why += f"; it met a GPU error: where that repeats on {guilty.spec.node_name}, drain that node"
    return Ending(f"{_where(guilty)} {why}", by_the_cluster, log, error)


def explain(pod: Any, memory: str = "compute.memory of its model") -> tuple[str, bool]:
    """What ended a pod (`V1Pod`) and whether the cluster took it away; nothing where it did not end.

    Args:
        pod: the pod.
        memory: the setting by which it gets more.
    """
    status = pod.status
    disruption = next((c for c in status.conditions or [] if c.type == DISRUPTED and c.status == "True"), None)
    if disruption:
        return f"was taken away ({disruption.reason})", True
    if status.reason in TAKEN_AWAY:
        message = status.message or ""
        return f"was taken away ({status.reason}: {message})".replace(": )", ")"), OF_ITS_OWN not in message
    if status.reason == OUT_OF_TIME:
        return "took too long: raise compute.timeout_s of its model", False
    waiting = waiting_for(pod)
    if waiting and waiting.troubled:
        return f"never ran: {waiting.why}", False
    for container in status.container_statuses or []:
        ended = container.state.terminated if container.state else None
        if ended is None or ended.exit_code == 0:
            continue
        if ended.reason == "OOMKilled":
            return f"was killed for want of memory (limit {_memory(pod)}): raise {memory}", False
        if ended.exit_code == TOOK_TOO_LONG:
            return "took too long: raise compute.timeout_s of its model", False
        if pod.metadata.deletion_timestamp:
            return "was deleted while it ran", True
        return f"ended with exit status {ended.exit_code}", False
    if pod.metadata.deletion_timestamp:
        return "was deleted while it ran", True
    return "", False


def log_of(core: kubernetes.client.CoreV1Api, pod: Any) -> tuple[str, ...]:
    """The last lines that a pod printed, as far as they can still be read; messages for Dagster are left out."""
    meta = pod.metadata
    try:
        # Left to itself, the client makes the text of a bytes object of it.
        reply = core.read_namespaced_pod_log(meta.name, meta.namespace, tail_lines=LOG_LINES, _preload_content=False)
    except kubernetes.client.ApiException as error:
        # A container that never ran has none, nor has a pod that is gone.
        return () if error.status in NO_LOG else (f"(its log cannot be read: {error.status} {error.reason})",)
    except HTTPError as error:
        return (f"(its log cannot be read: {error})",)
    lines = reply.data.decode(errors="replace").splitlines()
    return tuple(line for line in lines if "__dagster_pipes_version" not in line)


def _guilt(pod: Any) -> tuple[int, str]:
    """Sorts the pods of a Job: the one first that failed first, by itself rather than because another did."""
    statuses: Sequence[Any] = pod.status.container_statuses or []
    ended = [s.state.terminated for s in statuses if s.state and s.state.terminated]
    failed = [end for end in ended if end.exit_code]
    if not failed:
        return (1 if pod.status.phase == "Failed" else 2), ""
    return 0, str(failed[0].finished_at or "")


def _where(pod: Any) -> str:
    return f"pod {pod.metadata.name} on node {pod.spec.node_name or '(none)'}"


def _image(pod: Any) -> str:
    return str(pod.spec.containers[0].image)


def _memory(pod: Any) -> str:
    limits = pod.spec.containers[0].resources.limits if pod.spec.containers[0].resources else None
    return (limits or {}).get("memory", "none")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
