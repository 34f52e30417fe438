"""Which partitions a run is making now, and which the latest run failed on, and why, as the Dagster instance knows.

The lake says what is there and what it was made of; that somebody tries, or tried in vain, only the instance remembers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import dagster as dg

from jobs.sensors import LOST_AFTER_S, PARTITION_TAG
from mbt_assets.cli.instance import open_instance
from partitions.grid import WHOLE, Node

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform

LATEST_RUNS = 5
"""Failed runs of one partition that are searched for a reason."""
GOING_ON = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class Activity:
    """What the instance knows of a partition: a run is making it, or failed to; and since when, or why."""

    state: Literal["running", "failed"]
    reason: str


def activities(platform: Platform, nodes: Iterable[Node]) -> dict[Node, Activity]:
    """Partitions that are being made, or whose latest run failed before it made them.

    Args:
        platform: the study.
        nodes: partitions to look at.

    Returns:
        Those alone. A failed one's reason is the first line of its error; it is empty where no step of its own failed.
    """
    if not (platform.home.dagster / "dagster.yaml").exists():
        return {}
    keys: dict[str, list[str]] = {}
    for node in nodes:
        keys.setdefault(node.asset, []).append(node.key)
    with open_instance(platform.home) as instance:
        history = _History(instance)
        return {
            Node(asset, key): activity
            for asset, wanted in keys.items()
            for key, activity in _activities(platform, instance, history, asset, wanted)
        }


def _activities(
    platform: Platform, instance: dg.DagsterInstance, history: _History, asset: str, keys: list[str]
) -> Iterator[tuple[str, Activity]]:
    """Each key of an asset that a run makes or failed to make."""
    partitions = platform.axes.partitions_of(asset)
    if partitions is None:
        yield from ((WHOLE, activity) for activity in _whole(instance, history, asset))
        return
    states = instance.get_status_by_partition(dg.AssetKey(asset), keys, partitions) or {}
    for key, state in states.items():
        if state is None or state.value == "MATERIALIZED":
            continue
        tags = {PARTITION_TAG: key}
        if state.value == "FAILED":
            runs = instance.get_runs(
                dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags=tags), limit=LATEST_RUNS
            )
            yield key, Activity("failed", history.reason(asset, [run.run_id for run in runs]))
        else:
            records = instance.get_run_records(dg.RunsFilter(statuses=GOING_ON, tags=tags), limit=1)
            yield from ((key, activity) for activity in _running(records))


def _whole(instance: dg.DagsterInstance, history: _History, asset: str) -> Iterator[Activity]:
    """What the latest run that was to make an asset without partitions does, or did not do."""
    for record in instance.get_asset_records([dg.AssetKey(asset)]):
        latest, made = record.asset_entry.last_run_id, record.asset_entry.last_materialization
        runs = instance.get_run_records(dg.RunsFilter(run_ids=[latest])) if latest else []
        if not runs or (made and made.run_id == latest):
            continue
        if runs[0].dagster_run.status == dg.DagsterRunStatus.FAILURE:
            yield Activity("failed", history.reason(asset, [runs[0].dagster_run.run_id]))
        elif runs[0].dagster_run.status not in ENDED:
            yield from _running(runs)


def _running(records: Iterable[dg.RunRecord]) -> Iterator[Activity]:
    for record in records:
        if record.start_time and time.time() < record.start_time + LOST_AFTER_S:
            since = time.strftime("%H:%M:%S", time.localtime(record.start_time))
            yield Activity("running", f"since {since}, run {record.dagster_run.run_id[:8]}")


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
