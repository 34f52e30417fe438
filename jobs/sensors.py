"""The sensors: they re-score what a changed checkpoint has made stale, keep marts up to date, and end lost runs."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dagster as dg

from jobs.jobs import REGISTER_BASE, REGISTER_CHECKPOINT, SCORE_CELL
from jobs.left_pods import remove_left_pods
from jobs.lost_runs import fail_lost_runs
from jobs.plan import CELL_ASSETS, FINAL_ASSETS, unit_of
from jobs.rescore import Decision, History, Limits, Standing, decide
from jobs.runner import UNIT_TAG
from jobs.standings import Standings
from partitions.grid import Node
from partitions.study import Study

TARGET_TAG = "mbt/rescore"
PARTITION_TAG = "dagster/partition"
JOBS = {"base": REGISTER_BASE, "checkpoint": REGISTER_CHECKPOINT, "cell": SCORE_CELL}
ASSETS = {"base": {"base_models"}, "checkpoint": {"checkpoints"}, "cell": set(CELL_ASSETS)}
LOST_AFTER_S = 86_400.0
"""A run that started longer ago and never ended has lost its process."""
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def histories(instance: dg.DagsterInstance, standings: Iterable[Standing], now: float) -> dict[str, History]:
    """Earlier requests of everything that is outdated, by target; runs that somebody else started count as running."""
    busy = [record for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)) if not _lost(record, now)]
    return {at.target: _history(instance, at, busy, now) for at in standings if at.outdated}


def _history(instance: dg.DagsterInstance, at: Standing, busy: Sequence[dg.RunRecord], now: float) -> History:
    records = instance.get_run_records(dg.RunsFilter(tags={TARGET_TAG: at.target}))
    running = any(record.dagster_run.status in UNFINISHED and not _lost(record, now) for record in records)
    ended = max((record.end_time or record.create_timestamp.timestamp() for record in records), default=0.0)
    # Newest first.
    states = [record.dagster_run.status for record in records]
    success = dg.DagsterRunStatus.SUCCESS
    attempts = states.index(success) if success in states else len(states)
    return History(attempts, len(records), running or any(_makes(record, at) for record in busy), ended)


def _makes(record: dg.RunRecord, at: Standing) -> bool:
    run = record.dagster_run
    # What the runner starts has neither a job of that name nor a selection, but says what it makes.
    if run.tags.get(UNIT_TAG) in {unit_of(Node(asset, at.key)) for asset in ASSETS[at.step]}:
        return True
    assets = {key.path[-1] for key in run.asset_selection or ()}
    return run.tags.get(PARTITION_TAG) == at.key and (run.job_name == JOBS[at.step] or bool(assets & ASSETS[at.step]))


def _lost(record: dg.RunRecord, now: float) -> bool:
    return record.start_time is not None and record.start_time + LOST_AFTER_S < now


def rescore_sensor(study: Study, standings: Callable[[], Standings], jobs: Sequence[Any]) -> dg.SensorDefinition:
    """The sensor that requests what a changed checkpoint or scorer has made stale.

    Args:
        study: limits of attempts, of requests per tick, and of pauses.
        standings: looks at the study; called once, at the first tick.
        jobs: those that it may start.
    """
    looked: list[Standings] = []

    @dg.sensor(
        name="rescore_on_checkpoint_change",
        jobs=jobs,
        minimum_interval_seconds=study.limits.rescore_interval_s,
        description=(
            "Compares every scored cell with its checkpoint and its scorers as they are now. A checkpoint that "
            "training, a hand or the Hub has changed is registered again; then its scored cells are rolled out and "
            "scored again. "
            "The marts follow by themselves (sensor refresh_marts)."
        ),
    )
    def rescore_on_checkpoint_change(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if not looked:
            looked.append(standings())
        now = time.time()
        found = looked[0].now()
        limits = Limits(study.limits.rescore_attempts, study.limits.rescore_per_tick, study.limits.rescore_pause_s)
        decision = decide(found, histories(context.instance, found, now), limits, now)
        _log(context, decision)
        if not decision.requests:
            return dg.SkipReason(decision.message)
        requests = [
            dg.RunRequest(
                run_key=request.run_key,
                job_name=JOBS[request.step],
                partition_key=request.key,
                tags={TARGET_TAG: request.target, "mbt/attempt": str(request.attempt)},
            )
            for request in decision.requests
        ]
        return dg.SensorResult(run_requests=requests, cursor=decision.message)

    return rescore_on_checkpoint_change


def _log(context: dg.SensorEvaluationContext, decision: Decision) -> None:
    level = context.log.warning if decision.given_up or decision.problems else context.log.info
    level(decision.message)
    for request in decision.requests:
        context.log.info("%s %s, attempt %d", JOBS[request.step], request.key, request.attempt)
    for key in decision.waiting:
        context.log.info("%s waits", key)


def marts_sensor() -> dg.AutomationConditionSensorDefinition:
    """The sensor that makes marts, warehouse and report again after the figures of a cell have changed."""
    return dg.AutomationConditionSensorDefinition(
        "refresh_marts",
        target=dg.AssetSelection.assets(*FINAL_ASSETS),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Makes the marts, the warehouse and the report again when the figures of a cell have changed.",
    )


def lost_runs_sensor() -> dg.SensorDefinition:
    """The sensor that reports as failed the runs whose process was killed."""

    @dg.sensor(
        name="fail_lost_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
        description=(
            "Reports as failed the runs whose process was killed: they would show as running, take a slot, and hold "
            "the marts back for ever. It sees those of its own machine. On a cluster it removes what ended runs left."
        ),
    )
    def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        told = [*fail_lost_runs(context.instance), *remove_left_pods(context.instance)]
        for line in told:
            context.log.warning(line)
        return dg.SkipReason("; ".join(told) or "every run of this machine has its process")

    return lost_runs
