"""What a pod of this project looks like, whatever it runs. Pure functions; dictionaries as Kubernetes writes them.

No pod has rights: it runs as an ordinary user, on a root file system that it cannot write, without capabilities and
without a token of the API. `/tmp` is its own; the volumes of home and models are shared.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from partitions.study import Compute
from resources.k8s.cluster import Cluster

Component = Literal["payload", "training", "server", "step", "run"]
Manifest = dict[str, Any]

PART_OF = "app.kubernetes.io/part-of"
COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"
STUDY = "mbt/study"
PROJECT = "mbt"
LONGEST_NAME = 63
POD_NAME, POD_UID = "POD_NAME", "POD_UID"
"""Variables that tell a pod its own name and uid."""
DEFAULT_CPU, DEFAULT_MEMORY = "1", "4Gi"
GPU_CPU, GPU_MEMORY, GPU_SHM = "8", "64Gi", "16Gi"
"""What a pod with and without GPUs gets where the model's entry does not say."""
CONTAINER = "main"


def labels(cluster: Cluster, study: str, component: Component, **more: str) -> dict[str, str]:
    """The labels of an object, by which it is found again.

    Args:
        cluster: may add some.
        study: the study's name.
        component: what the object is for.
        **more: further ones; `__` in a name stands for `/`.
    """
    own = {PART_OF: PROJECT, MANAGED_BY: PROJECT, COMPONENT: component, STUDY: label_value(study)}
    return {**cluster.labels, **own, **{name.replace("__", "/"): label_value(value) for name, value in more.items()}}


def selector(**chosen: str) -> str:
    """A label selector of this project's objects; `component` and `study` are short for their labels."""
    short = {"component": COMPONENT, "study": STUDY}
    named = {short.get(name, name.replace("__", "/")): label_value(value) for name, value in chosen.items()}
    return ",".join(f"{name}={value}" for name, value in {PART_OF: PROJECT, **named}.items())


def label_value(text: str) -> str:
    """The text as a label may hold it: what it may not hold becomes `-`, and a digest ends what was too long."""
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")
    return clean if len(clean) <= LONGEST_NAME else f"{clean[:54].rstrip('-_.')}-{_short_digest(text)}"


def object_name(*parts: str, longest: int = LONGEST_NAME) -> str:
    """A legal name (DNS label) of these parts; a digest keeps names apart that had to be changed."""
    plain = "-".join(parts)
    clean = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    if clean == plain and len(clean) <= longest:
        return clean
    digest = _short_digest(plain)
    return f"{clean[: longest - len(digest) - 1].rstrip('-')}-{digest}"


def owner() -> list[Manifest]:
    """References to the pod that this process runs in, so that what it makes goes when it goes; none elsewhere."""
    name, uid = os.environ.get(POD_NAME), os.environ.get(POD_UID)
    return [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}] if name and uid else []


def own_name_env() -> list[Manifest]:
    """Variables by which a pod knows itself."""
    fields = {POD_NAME: "metadata.name", POD_UID: "metadata.uid"}
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]


def pod_spec(
    cluster: Cluster,
    needs: Compute,
    *,
    image: str,
    command: Sequence[str],
    gpus: int,
    env: Sequence[Manifest] = (),
    ports: Sequence[int] = (),
    writes_home: bool = True,
    more: Mapping[str, Any] | None = None,
) -> Manifest:
    """The spec of a pod with one container.

    Args:
        cluster: the cluster.
        needs: the model's entry.
        image: used unless the entry names one.
        command: program and arguments.
        gpus: how many GPUs the container gets.
        env: variables beside those of the cluster, as Kubernetes writes them.
        ports: that it listens on.
        writes_home: whether it may write to the volume of `MBT_HOME`.
        more: further fields of the container (probes, lifecycle).
    """
    container: Manifest = {
        "name": CONTAINER,
        "image": needs.image or image,
        "imagePullPolicy": cluster.images.pull_policy,
        "command": list(command),
        "env": [*_environment(cluster), *env],
        "envFrom": [{"secretRef": {"name": name, "optional": True}} for name in cluster.env_secrets],
        "resources": resources(cluster, needs, gpus),
        "securityContext": container_security(),
        "volumeMounts": _mounts(cluster, gpus, needs, writes_home),
        **(more or {}),
    }
    if ports:
        container["ports"] = [{"name": "http", "containerPort": port} for port in ports]
    spec: Manifest = {
        "serviceAccountName": cluster.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(cluster),
        "containers": [container],
        "volumes": _volumes(cluster, gpus, needs),
        "tolerations": [*_gpu_tolerations(cluster, gpus), *needs.tolerations],
    }
    if cluster.images.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in cluster.images.pull_secrets]
    if needs.node_selector:
        spec["nodeSelector"] = dict(needs.node_selector)
    if needs.priority_class:
        spec["priorityClassName"] = needs.priority_class
    return spec


def pod_security(cluster: Cluster) -> Manifest:
    """A pod's security context: an ordinary user, who may write what is on its volumes."""
    return {
        "runAsNonRoot": True,
        "runAsUser": cluster.user,
        "runAsGroup": cluster.user,
        "fsGroup": cluster.user,
        # Otherwise every start goes through all checkpoints to change their group.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """A container's security context: nothing that it could gain."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def resources(cluster: Cluster, needs: Compute, gpus: int) -> Manifest:
    """Requests and limits of a container. Memory and GPUs are limited to what is requested; cores are not."""
    memory = needs.memory or (GPU_MEMORY if gpus else DEFAULT_MEMORY)
    bound: Manifest = {"memory": memory} | ({cluster.gpu_resource: str(gpus)} if gpus else {})
    return {"requests": {"cpu": needs.cpu or (GPU_CPU if gpus else DEFAULT_CPU), **bound}, "limits": bound}


def together(needs: Compute, chosen: Mapping[str, str]) -> Manifest:
    """Pod affinity that keeps the pods with these labels on nodes of one topology domain; empty where none is named."""
    if not needs.topology_key:
        return {}
    term = {"labelSelector": {"matchLabels": dict(chosen)}, "topologyKey": needs.topology_key}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _environment(cluster: Cluster) -> list[Manifest]:
    # The root file system is read-only: what libraries cache below HOME goes to the pod's own /tmp.
    values = {"HOME": "/tmp", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    if cluster.storage.home_claim:
        values["MBT_HOME"] = cluster.storage.home_path
    if cluster.storage.models_claim:
        values["HF_HOME"] = cluster.storage.models_path
    fixed = [{"name": name, "value": value} for name, value in {**values, **cluster.env}.items()]
    return [*fixed, *own_name_env()]


def _volumes(cluster: Cluster, gpus: int, needs: Compute) -> list[Manifest]:
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
    shm = _shm(gpus, needs)
    if shm:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shm}})
    claims = {"home": cluster.storage.home_claim, "models": cluster.storage.models_claim}
    volumes += [
        {"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in claims.items() if claim
    ]
    return volumes


def _mounts(cluster: Cluster, gpus: int, needs: Compute, writes_home: bool) -> list[Manifest]:
    mounts: list[Manifest] = [{"name": "tmp", "mountPath": "/tmp"}]
    if _shm(gpus, needs):
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    storage = cluster.storage
    if storage.home_claim:
        mounts.append({"name": "home", "mountPath": storage.home_path} | ({} if writes_home else {"readOnly": True}))
    if storage.models_claim:
        mounts.append({"name": "models", "mountPath": storage.models_path})
    return mounts


def _shm(gpus: int, needs: Compute) -> str | None:
    # Container runtimes give 64 MB, too little for tensors between the processes of several GPUs.
    return needs.shm or (GPU_SHM if gpus else None)


def _gpu_tolerations(cluster: Cluster, gpus: int) -> list[Manifest]:
    # Nodes with GPUs are usually kept for those who ask for GPUs.
    return [{"key": cluster.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}] if gpus else []


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
