"""Runs a Job of several pods and reads what its first one reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import kubernetes
from dagster._core.pipes.utils import PipesEnvContextInjector, open_pipes_session
from dagster_k8s.pipes import PipesK8sPodLogsMessageReader

from resources.k8s.client import create
from resources.k8s.cluster import Cluster
from resources.k8s.pods import Manifest
from resources.k8s.starting import wait_until_all_started
from resources.k8s.training_job import INDEX_LABEL, JOB_LABEL


class JobFailed(RuntimeError):
    """A Job one of whose pods failed."""


def run_job(context: dg.AssetExecutionContext, cluster: Cluster, name: str, service: Manifest, job: Manifest) -> None:
    """Make a Service and a Job, and wait until all of its pods have succeeded.

    Raises:
        JobFailed: one of them did not.
        PodNeverRan: one does not start.
    """
    core, batch = kubernetes.client.CoreV1Api(), kubernetes.client.BatchV1Api()
    reader = PipesK8sPodLogsMessageReader()
    with open_pipes_session(
        context=context, context_injector=PipesEnvContextInjector(), message_reader=reader
    ) as session:
        env = [{"name": key, "value": value} for key, value in session.get_bootstrap_env_vars().items()]
        container = job["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [*container["env"], *env]
        create(core.create_namespaced_service, cluster.namespace, service)
        create(batch.create_namespaced_job, cluster.namespace, job)
        first = _first_of_all(core, batch, cluster, job, context.log.info)
        reader.consume_pod_logs(
            context=context,
            core_api=core,
            pod_name=first,
            namespace=cluster.namespace,
        )
        _wait_until_ended(batch, cluster, name)


def _first_of_all(core: Any, batch: Any, cluster: Cluster, job: Manifest, notice: Callable[[str], None]) -> str:
    """The name of the pod of rank 0, once the pods of all ranks run: the first one waits for the others in vain."""
    name = job["metadata"]["name"]

    def found() -> list[Any]:
        _raise_if_failed(batch.read_namespaced_job_status(name, cluster.namespace))
        return core.list_namespaced_pod(cluster.namespace, label_selector=f"{JOB_LABEL}={name}").items

    pods = wait_until_all_started(found, job["spec"]["completions"], cluster, f"the Job {name}", notice)
    return next(pod.metadata.name for pod in pods if pod.metadata.labels.get(INDEX_LABEL) == "0")


def _wait_until_ended(batch: Any, cluster: Cluster, name: str) -> None:
    while True:
        job = batch.read_namespaced_job_status(name, cluster.namespace)
        _raise_if_failed(job)
        if _has(job, "Complete"):
            return
        time.sleep(cluster.poll_s)


def _raise_if_failed(job: Any) -> None:
    failed = _has(job, "Failed")
    if failed:
        raise JobFailed(f"the Job {job.metadata.name} failed ({failed.reason}: {failed.message})")


def _has(job: Any, condition: str) -> Any:
    found = [c for c in job.status.conditions or [] if c.type == condition and c.status == "True"]
    return found[0] if found else None
