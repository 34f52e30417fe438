"""Brings a plan up to date: runs what is missing or stale as Dagster runs, several at once, and reuses the rest.

Each worker is a process: Dagster sets up logging anew at the start of every run, which deadlocks between threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from typing import Any, Literal, Protocol

import dagster as dg

from jobs.lost_runs import fail_lost_runs
from jobs.plan import Unit, dependencies, descendants
from jobs.workers import Workers, interruptible, worker_pool
from mbt_assets.stage import FORCE_TAG
from mbt_assets.staleness import Standing, assess
from partitions.grid import Grid, Node
from partitions.study import Study
from resources.artifacts import Artifacts
from resources.home import Home
from resources.run_tags import MADE_BY_TAG

Outcome = Literal["made", "reused", "failed", "skipped"]
UNIT_TAG = "mbt/unit"
"""Tag of a run: the name of the unit that it makes."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Report:
    """What became of one unit.

    Attributes:
        unit: the unit.
        outcome: made, reused (nothing had changed), failed, or skipped because something it needs failed.
        seconds: wall time.
        made: partitions that were made.
        why: why they were made, or what failed.
        run_id: the Dagster run.
    """

    unit: Unit
    outcome: Outcome
    seconds: float = 0.0
    made: tuple[Node, ...] = ()
    why: str = ""
    run_id: str = ""


class Graph(Protocol):
    """What a worker needs of a built study."""

    @property
    def assets(self) -> Sequence[dg.AssetsDefinition]:
        """Every asset of the graph."""
        ...

    @property
    def resources(self) -> dict[str, Any]:
        """The graph's resources by key."""
        ...


Build = Callable[[Study, Home], Graph]


@dataclass(frozen=True)
class Made:
    """What a worker says of one run."""

    success: bool
    failure: str
    run_id: str
    seconds: float


@cache
def _graph(build: Build, study: str, home: Home) -> Graph:
    return build(Study.model_validate_json(study), home)


def make(build: Build, study: str, home: Home, nodes: tuple[Node, ...], tags: dict[str, str]) -> Made:
    """Make partitions that share one key as one Dagster run, in this process.

    Args:
        build: builds the graph; once per process and study.
        study: the study as JSON.
        home: where its files lie.
        nodes: the partitions.
        tags: of the run.
    """
    with interruptible(), dg.DagsterInstance.get() as instance:
        graph = _graph(build, study, home)
        started = time.monotonic()
        result = dg.materialize(
            graph.assets,
            selection=[dg.AssetKey(node.asset) for node in nodes],
            partition_key=nodes[0].key or None,
            instance=instance,
            resources=graph.resources,
            run_config=QUIET,
            raise_on_error=False,
            tags=tags,
        )
    failure = "" if result.success else _failure(result)
    return Made(result.success, failure, result.run_id, time.monotonic() - started)


def prepare_instance() -> None:
    """Create the instance's databases: two workers that did so at once would collide."""
    with dg.DagsterInstance.get() as instance:
        instance.get_runs_count()
        instance.get_asset_keys(limit=1)


@dataclass
class Runner:
    """Runs units in worker processes; `DAGSTER_HOME` says where the runs are recorded.

    Attributes:
        grid: the study's partitions and edges.
        artifacts: finds what is stored.
        home: where the study's files lie.
        build: builds the graph in each worker.
        workers: units at once.
        on_start: told when a unit starts, with what it will make.
        on_report: told what became of a unit.
        made_by: id of the run that this belongs to; empty where a person started it.
    """

    grid: Grid
    artifacts: Artifacts
    home: Home
    build: Build
    workers: int = 2
    on_start: Callable[[Unit, Sequence[Node]], None] = lambda unit, nodes: None
    on_report: Callable[[Report], None] = lambda report: None
    made_by: str = ""

    def run(self, planned: list[Unit], *, force: bool = False) -> list[Report]:
        """Run every unit after those that it needs.

        An interrupt ends the units that run, with their payloads, before it goes on.

        Args:
            planned: units, from `jobs.plan.units`.
            force: make everything, changed or not, from no earlier reply or checkpoint.

        Returns:
            One report per unit, in the order they ended.
        """
        by_name = {unit.name: unit for unit in planned}
        needs = dependencies(self.grid, planned)
        weights = descendants(needs)
        sorter = TopologicalSorter(needs)
        sorter.prepare()
        reports: dict[str, Report] = {}
        ready: list[str] = []
        running: dict[Future[Made], tuple[Unit, list[Node], str]] = {}
        prepare_instance()
        with dg.DagsterInstance.get() as instance:
            fail_lost_runs(instance)
        with worker_pool(self.workers) as pool:
            while sorter.is_active():
                # What most others wait for goes first, so that both ends of a long chain are not left to one worker.
                ready = sorted([*ready, *sorter.get_ready()], key=lambda name: -weights[name])
                while ready and len(running) < self.workers:
                    unit = by_name[ready.pop(0)]
                    wanted, why = self._wanted(unit, needs[unit.name], reports, force)
                    if wanted:
                        running[self._submit(pool, unit, wanted, force)] = (unit, wanted, why)
                    else:
                        self._close(Report(unit, "skipped" if why else "reused", why=why), reports, sorter)
                done, _ = wait(running, return_when=FIRST_COMPLETED) if running else (set(), None)
                for future in done:
                    self._close(_report(*running.pop(future), _outcome(future)), reports, sorter)
        return list(reports.values())

    def _submit(self, pool: Workers, unit: Unit, wanted: list[Node], force: bool) -> Future[Made]:
        self.on_start(unit, wanted)
        study, tags = self.grid.study.model_dump_json(), {UNIT_TAG: unit.name}
        if self.made_by:
            tags[MADE_BY_TAG] = self.made_by
        if force:
            tags[FORCE_TAG] = "true"
        return pool.submit(make, self.build, study, self.home, tuple(wanted), tags)

    def _wanted(self, unit: Unit, needs: set[str], reports: dict[str, Report], force: bool) -> tuple[list[Node], str]:
        """What to make of a unit and why; nothing with a reason if it cannot be made, without one if it is fresh."""
        blocked = [need for need in needs if reports[need].outcome in ("failed", "skipped")]
        if blocked and not unit.shows_what_there_is:
            return [], f"needs {', '.join(sorted(blocked)[:3])}"
        if force:
            return list(unit.nodes), "forced"
        standings = assess(self.grid, self.artifacts, unit.nodes)
        wanted = [node for node in unit.nodes if standings[node].state != "fresh"]
        return wanted, _reasons(standings, wanted)

    def _close(self, report: Report, reports: dict[str, Report], sorter: TopologicalSorter[str]) -> None:
        reports[report.unit.name] = report
        self.on_report(report)
        sorter.done(report.unit.name)


def _outcome(future: Future[Made]) -> Made:
    """What the worker says; an error outside of the run, such as a killed worker, is a failure of its unit alone."""
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        return Made(False, "its worker process was killed (for want of memory, perhaps)", "", 0.0)
    return future.result() if error is None else Made(False, f"{type(error).__name__}: {error}", "", 0.0)


def _report(unit: Unit, wanted: list[Node], why: str, made: Made) -> Report:
    outcome: Outcome = "made" if made.success else "failed"
    return Report(unit, outcome, made.seconds, tuple(wanted), why if made.success else made.failure, made.run_id)


def _reasons(standings: dict[Node, Standing], wanted: list[Node]) -> str:
    reasons = dict.fromkeys(standings[node].reason for node in wanted if standings[node].reason != "never made")
    return "; ".join(reason for reason in reasons if "is stale" not in reason and "is missing" not in reason)


def _failure(result: dg.ExecuteInProcessResult) -> str:
    """The blocking check that held the run back, or what the code of the first failed step raised."""
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.blocking:
            return f"check {evaluation.check_name} of {evaluation.asset_key.to_user_string()}: {evaluation.description}"
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            # Dagster wraps what the asset raised; the causes below that are details for the log.
            if error is not None:
                return (error.cause or error).message.strip()
    return "the run failed; see it in the UI"
