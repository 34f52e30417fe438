"""Stops model servers that nobody uses: one pass over all of them, for a CronJob that runs each minute.

It keeps nothing in memory between passes, and any number of passes may run at once.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import kubernetes

from resources.k8s.client import CONFLICT, NOT_FOUND
from resources.k8s.cluster import Cluster
from resources.k8s.leases import has_expired, leases_of, server_of_lease, utc_now
from resources.k8s.pods import STUDY
from resources.k8s.server_objects import DIGEST, IDLE_TIMEOUT, MODEL, SERVER, STOPPED_AT, USED_AT
from resources.k8s.workloads import Workloads, noted_time

KEPT_S = 86_400.0
"""Seconds that a stopped server's objects stay."""


@dataclass(frozen=True)
class Standing:
    """A model server as the cluster has it.

    Attributes:
        name: of its objects.
        study: that it belongs to.
        model: that it serves.
        digest: of the checkpoint; empty for an embedded server, which serves all.
        replicas: pods that it should have.
        ready: pods that answer.
        users: leases that have not expired.
        idle_s: seconds since it was last known to be used; None while it is.
        idle_timeout_s: seconds after which it is stopped.
    """

    name: str
    study: str
    model: str
    digest: str
    replicas: int
    ready: int
    users: int
    idle_s: float | None
    idle_timeout_s: float


def standings(cluster: Cluster, study: str | None = None) -> list[Standing]:
    """The model servers there are, those that are stopped too."""
    now, chosen = utc_now(), _chosen(study)
    workloads = Workloads(cluster).all(**chosen)
    leases = leases_of(cluster, **chosen)
    return [_standing(workload, _users(leases, workload.metadata.name, now), now) for workload in workloads]


def reap(cluster: Cluster, study: str | None = None) -> list[str]:
    """Stop what is idle, delete what has been stopped for long, and forget users that are gone.

    Args:
        cluster: where.
        study: of this study alone; of all when None.

    Returns:
        What was done, a line each.

    Raises:
        ApiException: the API refuses.
    """
    servers, done = Workloads(cluster), []
    # In this order: see `resources.k8s.workloads`.
    workloads = servers.all(**_chosen(study))
    now, leases = utc_now(), leases_of(cluster, **_chosen(study))
    for workload in workloads:
        standing = _standing(workload, _users(leases, workload.metadata.name, now), now)
        if standing.idle_s is None:
            # A user that is killed and whose lease is deleted with its pod leaves no other trace.
            servers.keep(workload.kind, standing.name)
        elif standing.replicas and standing.idle_s > standing.idle_timeout_s:
            if servers.stop(workload.kind, workload):
                done.append(f"stopped {standing.name}: unused for {standing.idle_s:.0f} s")
        elif not standing.replicas and _stopped_s(workload, now) > KEPT_S and servers.delete(workload.kind, workload):
            done.append(f"deleted {standing.name}: stopped for {_stopped_s(workload, now):.0f} s")
    forgotten = sum(_forget(cluster, lease) for lease in leases if has_expired(lease, now))
    return [*done, *([f"forgot {forgotten} users that were gone"] if forgotten else [])]


def stop_unused(cluster: Cluster, name: str) -> bool:
    """Stop one server at once, unless somebody uses it; whether it was stopped."""
    servers = Workloads(cluster)
    found = [workload for workload in servers.all(mbt__server=name) if workload.spec.replicas]
    if not found or _users(leases_of(cluster, mbt__server=name), name, utc_now()):
        return False
    return servers.stop(found[0].kind, found[0])


def _chosen(study: str | None) -> dict[str, str]:
    return {"study": study} if study else {}


def _users(leases: list[Any], name: str, now: datetime.datetime) -> int:
    return sum(server_of_lease(lease) == name and not has_expired(lease, now) for lease in leases)


def _standing(workload: Any, users: int, now: datetime.datetime) -> Standing:
    notes, marks = workload.metadata.annotations or {}, workload.metadata.labels
    used = noted_time(workload, USED_AT) or workload.metadata.creation_timestamp
    return Standing(
        name=marks[SERVER],
        study=marks[STUDY],
        model=marks[MODEL],
        digest=notes.get(DIGEST, ""),
        replicas=workload.spec.replicas or 0,
        ready=(workload.status.ready_replicas or 0) if workload.status else 0,
        users=users,
        idle_s=None if users else max(0.0, (now - used).total_seconds()),
        idle_timeout_s=float(notes.get(IDLE_TIMEOUT, 0)),
    )


def _stopped_s(workload: Any, now: datetime.datetime) -> float:
    stopped = noted_time(workload, STOPPED_AT) or noted_time(workload, USED_AT) or workload.metadata.creation_timestamp
    return (now - stopped).total_seconds()


def _forget(cluster: Cluster, lease: Any) -> bool:
    """Delete an expired lease, unless it was renewed since; whether it was deleted."""
    seen = {"preconditions": {"resourceVersion": lease.metadata.resource_version}}
    api = kubernetes.client.CoordinationV1Api()
    try:
        api.delete_namespaced_lease(lease.metadata.name, cluster.namespace, body=seen)
    except kubernetes.client.ApiException as error:
        if error.status not in (CONFLICT, NOT_FOUND):
            raise
        return False
    return True
