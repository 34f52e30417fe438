"""Pods on the cluster that nobody waits for any more.

Dagster gives a run up without a word to the cluster: one that could not start keeps its pod, which may start days
later, and one whose pod was lost too often keeps its steps, which go on beside those of the next attempt.
"""

from __future__ import annotations

import time

import dagster as dg

from resources.k8s.cluster import load_cluster

LEFT_AFTER_S = 30.0
"""A run's own process ends a moment after the run."""


def remove_left_pods(instance: dg.DagsterInstance, after_s: float = LEFT_AFTER_S) -> list[str]:
    """Delete what runs that have ended left on the cluster that `MBT_CLUSTER` names.

    Args:
        instance: knows the runs; what belongs to others' is left alone.
        after_s: seconds since a run's end.

    Returns:
        What was said of each.

    Raises:
        ClusterError: there is no way to the cluster.
    """
    cluster = load_cluster()
    if cluster is None:
        return []
    import kubernetes

    from resources.k8s import orphans, run_jobs
    from resources.k8s.client import connect

    connect(cluster)
    batch, told = kubernetes.client.BatchV1Api(), []
    for job, run_id in run_jobs.unfinished(batch, cluster).items():
        if _ended(instance, run_id, after_s):
            run_jobs.remove(batch, cluster, job)
            told.append(f"job {job} is removed: run {run_id[:8]} has ended")
    removed = orphans.remove_ownerless(kubernetes.client.CoreV1Api(), cluster)
    return [*told, *(f"pod {name} is removed: the step that made it is gone" for name in removed)]


def _ended(instance: dg.DagsterInstance, run_id: str, after_s: float) -> bool:
    record = instance.get_run_record_by_id(run_id)
    if record is None or not record.dagster_run.is_finished:
        return False
    return time.time() - (record.end_time or record.update_timestamp.timestamp()) >= after_s
