"""The pod of a payload, or the Job of one that is spread over several nodes. Pure functions of what it is to do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partitions.study import Compute
from resources.k8s.cluster import Cluster
from resources.k8s.orphans import FOLDER, OWNER
from resources.k8s.pods import LONGEST_NAME, POD_UID, Component, Manifest, labels, object_name, owner, pod_spec
from resources.k8s.training_job import rendezvous, training_objects
from resources.launching import ALONE, PAYLOADS, guarded, launcher

PYTHON = "python"
"""On the PATH of the image."""
CALL = "mbt/call"
"""Label of what belongs to one start of a payload."""
LONGEST_JOB_NAME = LONGEST_NAME - len("-999")
"""The pods of an indexed Job are hosts of its name and their number."""


@dataclass(frozen=True)
class PayloadCall:
    """One start of a payload.

    Attributes:
        study: the study's name.
        payload: module name below `payloads`.
        spec: the payload's; its `out_dir` lies on the shared volume.
        spec_file: where the pod finds it.
        config: the accelerate config it is launched with, on the shared volume; None for one plain process.
        needs: the model's entry.
        call: tells this start from others.
    """

    study: str
    payload: str
    spec: dict[str, Any]
    spec_file: Path
    config: Path | None
    needs: Compute
    call: str

    @property
    def name(self) -> str:
        """Of its objects."""
        return object_name("mbt", self.payload, self.study, self.call, longest=LONGEST_JOB_NAME)


def payload_meta(cluster: Cluster, call: PayloadCall) -> Manifest:
    """Labels, annotations and owner of all that belongs to one start."""
    component: Component = "training" if call.needs.nodes > 1 else "payload"
    return {
        "labels": labels(cluster, call.study, component, mbt__call=call.call, mbt__payload=call.payload),
        "annotations": {FOLDER: call.spec["out_dir"], OWNER: os.environ.get(POD_UID, "")},
        "ownerReferences": owner(),
    }


def payload_pod(cluster: Cluster, call: PayloadCall, payloads: str = PAYLOADS) -> Manifest:
    """The spec of a payload's pod, or of each pod of its Job.

    Args:
        cluster: the cluster.
        call: what it does.
        payloads: the package of the payloads.

    Raises:
        ComputeError: it is to run on several nodes without an accelerate config.
    """
    needs = call.needs
    meeting = rendezvous(cluster, call.name, needs) if needs.nodes > 1 else ALONE
    program = [*launcher(PYTHON, call.config, needs.gpus, meeting), f"{payloads}.{call.payload}"]
    program += ["--spec", str(call.spec_file)]
    command = [*guarded(PYTHON, call.spec, needs, alone=needs.nodes == 1), *program]
    pod = pod_spec(cluster, needs, image=cluster.images.train, command=command, gpus=needs.gpus)
    # The guard ends a payload in time; this ends what does not let itself be ended. It counts from before the pull of
    # the image.
    return pod | {"restartPolicy": "Never", "activeDeadlineSeconds": needs.timeout_s + round(cluster.start_timeout_s)}


def payload_objects(cluster: Cluster, call: PayloadCall, payloads: str = PAYLOADS) -> list[Manifest]:
    """What one start of a payload makes on the cluster: a pod, or a Service and a Job."""
    meta, pod = payload_meta(cluster, call), payload_pod(cluster, call, payloads)
    if call.needs.nodes > 1:
        return list(training_objects(cluster, call.needs, call.name, meta, pod))
    named = {**meta, "name": call.name, "namespace": cluster.namespace}
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": pod}]
