"""Concurrency pools: how many runs that need a GPU are under way at once, however many are queued."""

from __future__ import annotations

import os
from collections.abc import Mapping

import dagster as dg

from mbt_assets.instance import InstanceError
from resources.gpus import Gpus
from resources.k8s.cluster import VARIABLE as CLUSTER

GPU = "gpu"


def pools_of_graph() -> list[str]:
    """Names of the pools that assets of the graph are in."""
    from mbt_assets.definitions import STAGES

    return sorted({stage.pool for stage in STAGES if stage.pool})


def default_limits(runs: int) -> dict[str, int]:
    """Runs at once in each pool of the graph: one for each GPU of this machine in `gpu`, as many as at all elsewhere.

    A run has its GPUs to itself (see `resources.gpus`): more runs than GPUs would only wait, each with a process. On a
    cluster the GPUs of this machine say nothing.

    Args:
        runs: runs at once on the whole instance.
    """
    limits = dict.fromkeys(pools_of_graph(), runs)
    gpus = Gpus.of_machine()
    if GPU in limits and gpus.real and not os.environ.get(CLUSTER):
        limits[GPU] = len(gpus.ids)
    return limits


def set_pools(instance: dg.DagsterInstance, chosen: Mapping[str, int], default: Mapping[str, int]) -> dict[str, int]:
    """Give every pool of the graph a limit.

    Args:
        instance: Dagster's.
        chosen: limits that the user gives, by pool.
        default: those of pools that have none yet; what somebody has set stays.

    Returns:
        The limits of all pools that have one.

    Raises:
        InstanceError: a pool is named that the graph does not have, or a limit is below 1.
    """
    known = sorted(default)
    for name, limit in chosen.items():
        if name not in known:
            raise InstanceError(f"no asset is in a pool {name!r}; there is {', '.join(known)}")
        if limit < 1:
            raise InstanceError(f"pool {name}: {limit} would let nothing run; give at least 1")
    limits = pool_limits(instance)
    for name in known:
        if name in chosen or name not in limits:
            instance.event_log_storage.set_concurrency_slots(name, chosen.get(name, default[name]))
    return pool_limits(instance)


def pool_limits(instance: dg.DagsterInstance) -> dict[str, int]:
    """The limit of each pool that has one."""
    return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
