"""What a study makes on a cluster, told from the study alone: for review before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from partitions.model_sources import EmbeddedSource, HubSource, NoServer, PathSource, RemoteServer
from partitions.modes import MODES
from partitions.study import Model, Study
from resources.home import Home
from resources.k8s.cluster import Cluster
from resources.k8s.payload_pods import PayloadCall, payload_objects
from resources.k8s.pods import Manifest
from resources.k8s.server_objects import server_of

EXAMPLE = "example"


def study_objects(cluster: Cluster, study: Study, models: Sequence[str]) -> list[Manifest]:
    """The servers of some models over their base weights: a Service and a Deployment, or a StatefulSet, for each.

    Raises:
        ClusterError: the GPUs of a model do not fit together.
    """
    home = Home(Path(cluster.storage.home_path), study.name)
    objects: dict[str, list[Manifest]] = {}
    for name in models:
        model = study.models[name]
        if not isinstance(model.server, RemoteServer | NoServer):
            server = server_of(cluster, home, name, model, _base_uri(home, name, model), "")
            objects[server.name] = [server.service, server.workload]
    return [manifest for manifests in objects.values() for manifest in manifests]


def payload_pods(cluster: Cluster, study: Study, models: Sequence[str]) -> list[Manifest]:
    """What the trainings of some models make: a pod each, or a Service and a Job on several nodes.

    Their names, and the folders that they work on, are told when a run makes them; here both end in `example`.

    Raises:
        ComputeError: a training is to run on several nodes without an accelerate config.
    """
    checkpoints = Home(Path(cluster.storage.home_path), study.name).checkpoints
    objects: list[Manifest] = []
    for name in models:
        for trainer in _trainers(study.models[name]):
            folder = checkpoints / name / f"{trainer}-{EXAMPLE}"
            config = folder.with_name(f"{folder.name}.accelerate.yaml") if _accelerated(study, name, trainer) else None
            spec_file = folder.with_name(f"{folder.name}.spec.json")
            needs = study.models[name].compute
            call = PayloadCall(
                study.name, trainer, {"out_dir": str(folder)}, spec_file, config, needs, f"{name}-{EXAMPLE}"
            )
            objects += payload_objects(cluster, call)
    return objects


def _trainers(model: Model) -> list[Literal["sft", "grpo"]]:
    """Which payloads train some mode of a model."""
    kinds = {MODES[mode].kind for mode in model.modes}
    return [trainer for trainer in ("sft", "grpo") if trainer in kinds]


def _accelerated(study: Study, name: str, trainer: Literal["sft", "grpo"]) -> bool:
    own = getattr(study.models[name], trainer)
    return bool((own or getattr(study, trainer)).accelerate)


def _base_uri(home: Home, name: str, model: Model) -> str:
    """Where a model's base weights lie, as far as the study says."""
    source = model.source
    if isinstance(source, HubSource):
        return f"hub://{source.repo}" + (f"@{source.revision}" if source.revision else "")
    if isinstance(source, PathSource):
        return source.path
    return str(home.checkpoints / name) if isinstance(source, EmbeddedSource) else ""
