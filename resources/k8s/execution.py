"""How Dagster runs steps on a cluster: each in a pod of its own, or all in the pod of their run."""

from __future__ import annotations

from typing import Any

import dagster as dg

from partitions.study import Compute
from resources.k8s.cluster import Cluster
from resources.k8s.pods import Manifest, labels, own_name_env, resources

K8S_CONFIG = "dagster-k8s/config"
"""Tag of an op: what Dagster puts into the pod of its steps. Tags of a run or a job never reach them."""

LOOKS = 4
"""Of a payload's pod for one of a step's: there are many steps at once, and each look is two requests."""


def executor_of(cluster: Cluster, study: str) -> dg.ExecutorDefinition:
    """The executor of every job.

    Image, service account, variables and volumes are those of the run's pod, which the run launcher says.
    """
    if not cluster.steps.in_pods:
        return dg.in_process_executor
    from resources.k8s.steps import telling_executor

    settings: dict[str, Any] = {
        "job_namespace": cluster.namespace,
        "max_concurrent": cluster.steps.max_concurrent,
        # What a step's pod has made goes with it, and the step's pod goes with its run's.
        "enable_owner_references": True,
        "load_incluster_config": cluster.kubeconfig is None,
        "step_k8s_config": {
            "container_config": {"env": own_name_env()},
            "pod_template_spec_metadata": {"labels": labels(cluster, study, "step")},
        },
    }
    if cluster.kubeconfig:
        settings["kubeconfig_file"] = cluster.kubeconfig
    return telling_executor(LOOKS * cluster.poll_s, cluster.patience_s).configured(settings)


def step_tags(cluster: Cluster, asset: str) -> dict[str, Manifest]:
    """Tags of an asset's op: the cores and the memory of its steps' pods.

    GPUs are not among them: a step waits for the pods that have them.
    """
    steps = cluster.steps
    needs = Compute(cpu=steps.cpu, memory=steps.memory_by_asset.get(asset, steps.memory))
    return {K8S_CONFIG: {"container_config": {"resources": resources(cluster, needs, gpus=0)}}}
