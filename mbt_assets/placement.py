"""Where the work of a graph is done: on this machine, or on the cluster that `MBT_CLUSTER` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dagster as dg

from mbt_assets.stage import OpTags, no_tags
from partitions.study import Study
from resources.compute import LocalCompute
from resources.home import Home
from resources.k8s.cluster import Cluster, load_cluster
from resources.launching import PayloadRunner
from resources.servers import ModelServers


@dataclass(frozen=True)
class Placement:
    """What does the work.

    Attributes:
        compute: runs payloads.
        servers: gives endpoints of models.
        executor: runs the steps of a Dagster run.
        op_tags: tags of an asset's op.
    """

    compute: PayloadRunner
    servers: Any
    executor: dg.ExecutorDefinition
    op_tags: OpTags


def placement(study: Study, home: Home, cluster: Cluster | None = None) -> Placement:
    """What does the work of a study.

    Args:
        study: the study.
        home: where its files lie.
        cluster: where pods are made; what `MBT_CLUSTER` names when None, and this machine where that names none.
    """
    cluster = cluster or load_cluster()
    return _on_cluster(cluster, study, home) if cluster else _here(home)


def _here(home: Home) -> Placement:
    # A step is short beside the import of a fresh process; GPU work runs in payload processes anyway.
    return Placement(LocalCompute(home.logs), ModelServers(home), dg.in_process_executor, no_tags)


def _on_cluster(cluster: Cluster, study: Study, home: Home) -> Placement:
    # The client of Kubernetes takes a second to import: only where there is something to do for it.
    from resources.k8s.compute import K8sCompute
    from resources.k8s.execution import executor_of, step_tags
    from resources.k8s.serving import K8sServers

    return Placement(
        K8sCompute(cluster, study.name),
        K8sServers(cluster, home),
        executor_of(cluster, study.name),
        lambda asset: step_tags(cluster, asset),
    )
