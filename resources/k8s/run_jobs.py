"""Kubernetes Jobs of Dagster runs and steps whose run has ended: Dagster leaves them where it gave a run up."""

from __future__ import annotations

import kubernetes

from resources.k8s.client import may_be_gone
from resources.k8s.cluster import Cluster

RUN_ID = "dagster/run-id"
"""Label that Dagster gives to what it makes for a run."""


def unfinished(batch: kubernetes.client.BatchV1Api, cluster: Cluster) -> dict[str, str]:
    """The run of each Job of Dagster's that has not ended, by the Job's name."""
    jobs = batch.list_namespaced_job(cluster.namespace, label_selector=RUN_ID).items
    return {job.metadata.name: job.metadata.labels[RUN_ID] for job in jobs if not _has_ended(job)}


def remove(batch: kubernetes.client.BatchV1Api, cluster: Cluster, name: str) -> None:
    """Delete a Job and its pods."""
    with may_be_gone():
        batch.delete_namespaced_job(name, cluster.namespace, propagation_policy="Background")


def _has_ended(job: kubernetes.client.V1Job) -> bool:
    return any(one.type in ("Complete", "Failed") and one.status == "True" for one in job.status.conditions or [])
