"""Which partitions the latest run failed on, and why, as the Dagster instance knows.

The lake says what is there and what it was made of; that somebody tried in vain, only the instance remembers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from mbt_assets.cli.instance import open_instance
from partitions.grid import WHOLE, Node

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform

PARTITION_TAG = "dagster/partition"
LATEST_RUNS = 5
"""Failed runs of one partition that are searched for a reason."""


def failures(platform: Platform, nodes: Iterable[Node]) -> dict[Node, str]:
    """Partitions whose latest run failed before it made them, each with the first line of its error.

    Args:
        platform: the study.
        nodes: partitions to look at.

    Returns:
        The failed ones; an empty reason where no step of their own failed.
    """
    if not (platform.home.dagster / "dagster.yaml").exists():
        return {}
    keys: dict[str, list[str]] = {}
    for node in nodes:
        keys.setdefault(node.asset, []).append(node.key)
    with open_instance(platform.home) as instance:
        history = _History(instance)
        return {
            Node(asset, key): history.reason(asset, runs)
            for asset, wanted in keys.items()
            for key, runs in _failed_runs(platform, instance, asset, wanted)
        }


def _failed_runs(
    platform: Platform, instance: dg.DagsterInstance, asset: str, keys: list[str]
) -> Iterator[tuple[str, list[str]]]:
    """Each failed key of an asset with its failed runs, newest first."""
    partitions = platform.axes.partitions_of(asset)
    if partitions is None:
        yield from ((WHOLE, [run]) for run in _failed_run(instance, asset))
        return
    states = instance.get_status_by_partition(dg.AssetKey(asset), keys, partitions) or {}
    for key, state in states.items():
        if state is not None and state.value == "FAILED":
            filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={PARTITION_TAG: key})
            yield key, [run.run_id for run in instance.get_runs(filters, limit=LATEST_RUNS)]


def _failed_run(instance: dg.DagsterInstance, asset: str) -> Iterator[str]:
    """The latest run that was to make an asset without partitions, if it failed before it did."""
    for record in instance.get_asset_records([dg.AssetKey(asset)]):
        latest, made = record.asset_entry.last_run_id, record.asset_entry.last_materialization
        run = instance.get_run_by_id(latest) if latest else None
        if run and run.status == dg.DagsterRunStatus.FAILURE and not (made and made.run_id == latest):
            yield run.run_id


class _History:
    """Errors of failed runs, each run read once."""

    def __init__(self, instance: dg.DagsterInstance):
        self._instance = instance
        self._errors = cache(self._read)

    def reason(self, asset: str, runs: list[str]) -> str:
        """Why an asset's own step failed, in the newest of the runs where it did."""
        return next((errors[asset] for errors in map(self._errors, runs) if asset in errors), "")

    def _read(self, run_id: str) -> dict[str, str]:
        """The first line of the error of each failed step of a run."""
        found = {}
        for record in self._instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records:
            event = record.event_log_entry.dagster_event
            error = event.step_failure_data.error if event else None
            if event and event.step_key and error:
                # Dagster wraps what the asset raised.
                found[event.step_key] = (error.cause or error).message.strip().partition("\n")[0]
        return found
