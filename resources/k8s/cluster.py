"""The cluster that a study runs on: the file that `MBT_CLUSTER` names. Without that variable there is none.

It says what is the same for every model; what a model needs of the cluster stands in its entry of the study.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from partitions.study import Quantity

VARIABLE = "MBT_CLUSTER"


class ClusterError(RuntimeError):
    """Something about the cluster that cannot be worked with; the message says what, where and what to do."""


class _Settings(BaseModel):
    """Base of every part: unknown fields are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Images(_Settings):
    """Container images.

    Attributes:
        train: runs payloads (`deploy/images/train.Containerfile`).
        serve: runs `vllm serve` (`deploy/images/serve.Containerfile`).
        pull_policy: when nodes fetch them.
        pull_secrets: names of secrets of the registry.
    """

    train: str = "mbt-assets-train:latest"
    serve: str = "mbt-assets-serve:latest"
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: list[str] = []


class Storage(_Settings):
    """Volumes that pods on different nodes share (ReadWriteMany).

    Attributes:
        home_claim: claim of the volume with `MBT_HOME`: checkpoints, payload specs, logs, the warehouse. Null mounts
            none: every pod sees the same file system anyhow.
        home_path: where it is mounted, and what `MBT_HOME` is in the pods.
        models_claim: claim of the volume that Hub models are cached on. Null keeps them in each pod.
        models_path: where that is mounted, and what `HF_HOME` is in the pods.
    """

    home_claim: str | None = "mbt-home"
    home_path: str = "/mbt"
    models_claim: str | None = "mbt-models"
    models_path: str = "/models"


class Steps(_Settings):
    """Dagster's own pods.

    Attributes:
        in_pods: every step of a run gets a pod of its own; otherwise the run's pod executes them all, which saves a
            pod's start per step.
        cpu: what a step's pod asks for.
        memory: what a step's pod may take.
        memory_by_asset: where an asset needs another amount.
        max_concurrent: step pods of one run at once.
    """

    in_pods: bool = True
    cpu: Quantity = "500m"
    memory: Quantity = "2Gi"
    memory_by_asset: dict[str, Quantity] = {}
    max_concurrent: int = Field(default=8, ge=1)


class Cluster(_Settings):
    """Where pods are made and what they all have in common.

    Attributes:
        namespace: of everything that this project makes.
        images: container images.
        storage: shared volumes.
        steps: Dagster's own pods.
        service_account: of payload and server pods; it needs no rights at all.
        env: variables of payload and server pods. Secrets do not belong here.
        env_secrets: names of Kubernetes secrets whose entries become variables of those pods.
        labels: further labels of every object.
        gpu_resource: the name by which nodes offer GPUs.
        user: numeric user and group that pods run as.
        server_port: port of every model server.
        kubeconfig: a kubeconfig file; null is for processes that run in the cluster themselves.
        poll_s: seconds between two looks at a pod.
        lease_s: seconds without a sign of life after which a user of a model server counts as gone.
        patience_s: seconds that a pod may be without its image, or fail to make its container, before it is given up.
        start_timeout_s: seconds until a payload's pod has to run: the queue for GPUs and the pull of its image.
    """

    namespace: str = "mbt"
    images: Images = Images()
    storage: Storage = Storage()
    steps: Steps = Steps()
    service_account: str = "mbt-payload"
    env: dict[str, str] = {}
    env_secrets: list[str] = ["mbt-keys"]
    labels: dict[str, str] = {}
    gpu_resource: str = "nvidia.com/gpu"
    user: int = Field(default=1000, ge=1)
    server_port: int = Field(default=8000, ge=1, le=65535)
    kubeconfig: str | None = None
    poll_s: float = Field(default=5, gt=0)
    lease_s: float = Field(default=120, ge=1)
    patience_s: float = Field(default=60, ge=0)
    start_timeout_s: float = Field(default=14_400, gt=0)


def load_cluster(path: Path | None = None) -> Cluster | None:
    """The cluster of a file.

    Args:
        path: the file; the one that `MBT_CLUSTER` names when None.

    Returns:
        None where no file is named: everything runs on this machine then.

    Raises:
        ClusterError: the file is not there, is no YAML, or does not fit the fields.
    """
    named = os.environ.get(VARIABLE)
    if path is None and not named:
        return None
    path = path or Path(str(named))
    try:
        content: Any = yaml.safe_load(path.read_text()) or {}
        return Cluster.model_validate(content)
    except OSError as error:
        raise ClusterError(f"{VARIABLE}: {path} cannot be read ({error.strerror}): name a cluster file") from error
    except yaml.YAMLError as error:
        raise ClusterError(f"{path} is no YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ClusterError(f"{path} does not fit: {faults}") from error
