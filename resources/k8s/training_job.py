"""Training on several nodes: an indexed Job, whose pods meet at the first one through a headless Service."""

from __future__ import annotations

from partitions.study import Compute
from resources.k8s.cluster import Cluster
from resources.k8s.pods import Manifest, together
from resources.launching import Rendezvous

PORT = 29500
RANK = "JOB_COMPLETION_INDEX"
"""Variable that Kubernetes sets in the pods of an indexed Job."""
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
JOB_LABEL = "batch.kubernetes.io/job-name"


def rendezvous(cluster: Cluster, name: str, needs: Compute) -> Rendezvous:
    """Where the pods of the Job with this name meet: the first one's host name, which its Service makes known."""
    host = f"{name}-0.{name}.{cluster.namespace}.svc"
    return Rendezvous(needs.nodes, f"$({RANK})", host, PORT)


def training_objects(
    cluster: Cluster,
    needs: Compute,
    name: str,
    meta: Manifest,
    pod: Manifest,
) -> tuple[Manifest, Manifest]:
    """The Service and the Job of one training.

    Args:
        cluster: says the namespace.
        needs: the model's entry: how many nodes, and how long it may take.
        name: of both.
        meta: labels, annotations and owner of all of it.
        pod: spec of each pod.
    """
    pods_meta = {key: meta[key] for key in ("labels", "annotations") if key in meta}
    meta = {**meta, "name": name, "namespace": cluster.namespace}
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "clusterIP": "None",
            "selector": {JOB_LABEL: name},
            # The others look for the first one before it answers.
            "publishNotReadyAddresses": True,
            "ports": [{"name": "rendezvous", "port": PORT}],
        },
    }
    pod = {**pod, "subdomain": name, "restartPolicy": "Never"}
    affinity = together(needs, {JOB_LABEL: name})
    if affinity:
        pod["affinity"] = affinity
    job: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "completionMode": "Indexed",
            "completions": needs.nodes,
            "parallelism": needs.nodes,
            # One that fails fails all of them: they cannot go on without it.
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": pods_meta, "spec": pod},
        },
    }
    return service, job
