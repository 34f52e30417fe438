"""What a node says of a pod: states of its container, its status, and events about it."""

from __future__ import annotations

from cluster_objects import Object, now


def waiting(reason: str, message: str = "") -> Object:
    """The state of a container that does not run yet."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def terminated(container: Object, code: int, reason: str, began: str, said: list[bytes]) -> Object:
    """The state of a container that has ended, with what it printed where its specification asks for that."""
    state = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": now()}
    if code and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        state["message"] = b"\n".join(said[-80:])[-2048:].decode(errors="replace")
    return {"terminated": state}


def container_status(container: Object, state: Object, last: Object, restarts: int, ready: bool) -> Object:
    """One entry of `containerStatuses`."""
    image = container.get("image", "")
    about = {"name": container["name"], "image": image, "imageID": image, "ready": ready, "state": state}
    return {**about, "restartCount": restarts, "started": "running" in state, "lastState": last}


def pod_status(known: Object, phase: str, container: Object, **about: str) -> Object:
    """A pod's status, with addresses and start time as they are known from before."""
    kept = {name: known[name] for name in ("podIP", "hostIP", "startTime") if known.get(name)}
    ready = "True" if container["ready"] else "False"
    truths = {"PodScheduled": "True", "Initialized": "True", "ContainersReady": ready, "Ready": ready}
    conditions = [{"type": kind, "status": truth} for kind, truth in truths.items()]
    return {**kept, **about, "phase": phase, "conditions": conditions, "containerStatuses": [container]}


def unschedulable(message: str) -> Object:
    """The status of a pod that no node has room for."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def warning(about: Object, reason: str, message: str) -> Object:
    """An event about a pod."""
    event = {"metadata": {"generateName": f"{about['name']}."}, "involvedObject": about, "type": "Warning"}
    return event | {"reason": reason, "message": message, "count": 1, "firstTimestamp": now(), "lastTimestamp": now()}


def once_more(event: Object) -> None:
    """Count that the same has happened again."""
    event |= {"count": event["count"] + 1, "lastTimestamp": now()}


def gpus(pod: Object, resource: str) -> int:
    """How many GPUs a pod asks for."""
    limits = (pod["spec"]["containers"][0].get("resources") or {}).get("limits") or {}
    return int(limits.get(resource, 0))
