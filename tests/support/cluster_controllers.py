"""What keeps a stand-in cluster as its objects say: jobs, deployments, stateful sets, owners and deletions."""

from __future__ import annotations

import hashlib
import json
import time
import uuid

from cluster_objects import DEPLOYMENTS, JOBS, PODS, STATEFUL_SETS, Kind, Object, Objects, now, owned_by

JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
RETRY_S = 0.2
"""Before a job's pod is made again; a real cluster begins with ten seconds."""


class Controllers:
    """Looks at everything after every change, and does what is missing."""

    def __init__(self, objects: Objects):
        self._objects = objects
        self._failed: dict[str, set[str]] = {}
        self._known: dict[str, set[str]] = {}
        self._retry_at: dict[str, float] = {}
        self._began: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            version = self._objects.version
            for job in self._objects.list(JOBS):
                self._job(job)
            for kind in (DEPLOYMENTS, STATEFUL_SETS):
                for one in self._objects.list(kind):
                    self._replicated(kind, one)
            for kind, one in self._objects.ownerless():
                delete(self._objects, kind, one)
            # Deadlines and retries come without a change.
            await self._objects.after(version, RETRY_S)

    # Jobs.

    def _job(self, job: Object) -> None:
        if job["metadata"].get("deletionTimestamp") or _ended(job) or job["spec"].get("suspend"):
            return
        uid, spec = job["metadata"]["uid"], job["spec"]
        pods = self._objects.owned(PODS, job)
        succeeded = [pod for pod in pods if _phase(pod) == "Succeeded"]
        failed = self._failures(uid, pods)
        active = [pod for pod in pods if _phase(pod) not in ("Succeeded", "Failed") and not _leaving(pod)]
        wanted = spec.get("completions") or 1
        status = {"startTime": (job.get("status") or {}).get("startTime") or now()}
        began = self._began.setdefault(uid, time.monotonic())
        if len(failed) > spec.get("backoffLimit", 6):
            self._close(job, status, pods, "Failed", "BackoffLimitExceeded")
        elif spec.get("activeDeadlineSeconds") and time.monotonic() - began > spec["activeDeadlineSeconds"]:
            self._close(job, status, pods, "Failed", "DeadlineExceeded")
        elif len(succeeded) >= wanted:
            self._close(job, {**status, "completionTime": now()}, pods, "Complete", "CompletionsReached")
        else:
            active += self._start_pods(job, wanted, active, succeeded)
            counts = {"active": len(active), "succeeded": len(succeeded), "failed": len(failed)}
            status |= {name: count for name, count in counts.items() if count}
            self._objects.set_status(JOBS, job, {**status, "ready": sum(map(_is_ready, active))})

    def _failures(self, uid: str, pods: list[Object]) -> set[str]:
        """Pods of a job that failed, and those that went away without having ended."""
        failed, known = self._failed.setdefault(uid, set()), self._known.setdefault(uid, set())
        there = {pod["metadata"]["uid"]: pod for pod in pods}
        ended = {one for one in known if one not in there or _leaving(there[one])}
        new = ended | {one for one, pod in there.items() if _phase(pod) == "Failed"}
        new -= {one for one, pod in there.items() if _phase(pod) == "Succeeded"}
        if new - failed:
            self._retry_at[uid] = time.monotonic() + RETRY_S
        failed |= new
        known |= {one for one, pod in there.items() if _phase(pod) != "Succeeded"}
        known -= {one for one, pod in there.items() if _phase(pod) == "Succeeded"}
        return failed

    def _start_pods(self, job: Object, wanted: int, active: list[Object], succeeded: list[Object]) -> list[Object]:
        if time.monotonic() < self._retry_at.get(job["metadata"]["uid"], 0):
            return []
        indexed = job["spec"].get("completionMode") == "Indexed"
        taken = {_index(pod) for pod in (*active, *succeeded)}
        free = [index for index in range(wanted) if index not in taken] if indexed else [None] * wanted
        missing = min(job["spec"].get("parallelism", 1), wanted - len(succeeded)) - len(active)
        return [self._job_pod(job, index) for index in free[: max(missing, 0)]]

    def _job_pod(self, job: Object, index: int | None) -> Object:
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        labels = {"job-name": name, JOB_NAME: name, "controller-uid": uid}
        pod = _from_template(JOBS, job, f"{name[:57]}-{uuid.uuid4().hex[:5]}", labels)
        if index is not None:
            pod["metadata"]["name"] = f"{name[:54]}-{index}-{uuid.uuid4().hex[:5]}"
            pod["metadata"]["labels"][INDEX] = str(index)
            pod["metadata"].setdefault("annotations", {})[INDEX] = str(index)
            pod["spec"]["hostname"] = f"{name}-{index}"
            for container in pod["spec"]["containers"]:
                container["env"] = [{"name": "JOB_COMPLETION_INDEX", "value": str(index)}, *container.get("env", [])]
        made = self._objects.create(PODS, job["metadata"]["namespace"], pod)
        self._known[uid].add(made["metadata"]["uid"])
        return made

    def _close(self, job: Object, status: Object, pods: list[Object], kind: str, reason: str) -> None:
        failed = len(self._failed[job["metadata"]["uid"]])
        for pod in pods:
            if _phase(pod) not in ("Succeeded", "Failed"):
                failed += not _leaving(pod)
                delete(self._objects, PODS, pod)
        counts = {"succeeded": sum(_phase(pod) == "Succeeded" for pod in pods), "failed": failed}
        condition = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": now()}
        status |= {name: count for name, count in counts.items() if count}
        self._objects.set_status(JOBS, job, {**status, "ready": 0, "conditions": [condition]})

    # Deployments and stateful sets.

    def _replicated(self, kind: Kind, one: Object) -> None:
        if one["metadata"].get("deletionTimestamp"):
            return
        wanted = one["spec"].get("replicas", 1)
        made_of = hashlib.sha1(json.dumps(one["spec"]["template"], sort_keys=True).encode()).hexdigest()[:8]
        pods = [pod for pod in self._objects.owned(PODS, one) if not _leaving(pod)]
        living = []
        for pod in pods:
            if _phase(pod) in ("Failed", "Succeeded"):
                if kind == STATEFUL_SETS:  # It needs the name; a deployment's ended pods stay to be looked at.
                    delete(self._objects, PODS, pod)
            elif pod["metadata"]["labels"].get("pod-template-hash") != made_of:
                delete(self._objects, PODS, pod)
            else:
                living.append(pod)
        if kind == DEPLOYMENTS:
            living.sort(key=_is_ready, reverse=True)
            names = [f"{one['metadata']['name'][:50]}-{made_of}-{uuid.uuid4().hex[:5]}" for _ in range(wanted)]
            missing, extra = names[: max(wanted - len(living), 0)], living[wanted:]
        else:
            names = [f"{one['metadata']['name']}-{ordinal}" for ordinal in range(wanted)]
            there = {pod["metadata"]["name"] for pod in self._objects.list(PODS, one["metadata"]["namespace"])}
            missing = [name for name in names if name not in there]
            extra = [pod for pod in living if pod["metadata"]["name"] not in names]
        for pod in extra:
            delete(self._objects, PODS, pod)
        for name in missing:
            self._replica(kind, one, name, made_of)
        self._replicas_status(kind, one, wanted, len(living) - len(extra) + len(missing), living)

    def _replica(self, kind: Kind, one: Object, name: str, made_of: str) -> None:
        pod = _from_template(kind, one, name, {"pod-template-hash": made_of})
        if kind == STATEFUL_SETS:
            ordinal = name.rpartition("-")[2]
            pod["metadata"]["labels"] |= {"apps.kubernetes.io/pod-index": ordinal}
            pod["metadata"]["labels"] |= {"statefulset.kubernetes.io/pod-name": name}
            pod["spec"] |= {"hostname": name, "subdomain": one["spec"].get("serviceName", "")}
        self._objects.create(PODS, one["metadata"]["namespace"], pod)

    def _replicas_status(self, kind: Kind, one: Object, wanted: int, there: int, living: list[Object]) -> None:
        ready = sum(map(_is_ready, living))
        status: Object = {"observedGeneration": one["metadata"]["generation"], "replicas": there}
        status |= {"updatedReplicas": there, "readyReplicas": ready, "availableReplicas": ready}
        if kind == DEPLOYMENTS:
            status["unavailableReplicas"] = max(wanted - ready, 0)
            available = "True" if ready >= wanted else "False"
            status["conditions"] = [{"type": "Available", "status": available}]
        self._objects.set_status(kind, one, {name: value for name, value in status.items() if value != 0})


def delete(objects: Objects, kind: Kind, one: Object, grace_s: int | None = None) -> None:
    """Delete an object; a pod has its process end first, and dependents follow their owner."""
    meta = one["metadata"]
    if kind != PODS:
        objects.remove(kind, meta.get("namespace", ""), meta["name"])
        return
    if grace_s is None:
        grace_s = one["spec"].get("terminationGracePeriodSeconds", 30)
    objects.mark_deleted(kind, one, grace_s)


def _from_template(kind: Kind, owner: Object, name: str, labels: dict[str, str]) -> Object:
    template = json.loads(json.dumps(owner["spec"]["template"]))
    meta = {**(template.get("metadata") or {}), "name": name, "ownerReferences": [owned_by(kind, owner)]}
    meta["labels"] = {**(meta.get("labels") or {}), **labels}
    return {"metadata": meta, "spec": template["spec"]}


def _ended(job: Object) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)


def _phase(pod: Object) -> str:
    return (pod.get("status") or {}).get("phase", "Pending")


def _leaving(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _index(pod: Object) -> int | None:
    label = pod["metadata"]["labels"].get(INDEX)
    return None if label is None else int(label)


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
