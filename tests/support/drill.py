"""A fault drill: runs and steps of `fault_graph` in pods of a stand-in cluster, struck while a real daemon looks on."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import fault_graph
import pytest
import yaml
from cluster import StandIn
from dagster_on_cluster import ENDED, cluster_file, runs, write_instance
from kubernetes import client

SUPPORT = Path(__file__).parent
PATHS = f"{SUPPORT.parents[1]}:{SUPPORT}"
INSTANCE = {
    "run_coordinator": {
        "module": "dagster",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    },
    "concurrency": {"runs": {"max_concurrent_runs": 5}, "pools": {"granularity": "op", "default_limit": 5}},
    "run_monitoring": {
        "enabled": True,
        "poll_interval_seconds": 1,
        "start_timeout_seconds": 600,
        "max_resume_run_attempts": 2,
        "free_slots_after_run_end_seconds": 1,
    },
    "run_retries": {"enabled": True, "max_retries": 2},
}
"""The settings of a cluster's instance, with short intervals."""
BACKFILL = 'b: launchPartitionBackfill(backfillParams: {assetSelection: [{path: ["worked"]}], partitionNames: %s})'
JOB = (
    '%s: launchRun(executionParams: {executionMetadata: {tags: []}, selector: {repositoryName: "__repository__", '
    'repositoryLocationName: "fault_graph", jobName: "%s"}})'
)


class Drill:
    """What goes on in one stand-in cluster.

    Args:
        cluster: the stand-in.
        folder: where `fault_graph` leaves its traces.

    Attributes:
        struck: the pod that was struck, by partition.
    """

    def __init__(self, cluster: StandIn, folder: Path):
        self.cluster, self.folder = cluster, folder
        self.struck: dict[str, str] = {}

    def launch(self, keys: list[str], jobs: list[str]) -> None:
        """Ask for a backfill of partitions and a run of each job, as the pages of the web server do."""
        asked = [BACKFILL % json.dumps(keys), *(JOB % (job, job) for job in jobs)]
        mutation = "mutation { " + " ".join(f"{one} {{ __typename }}" for one in asked) + " }"
        command = [str(Path(sys.executable).parent / "dagster-graphql"), "-m", "fault_graph", "-t", mutation]
        done = subprocess.run(command, capture_output=True, text=True)
        assert "Success" in done.stdout and "Error" not in done.stdout, done.stdout + done.stderr

    def work_until(self, done: Callable[[], bool], seconds: float = 900) -> None:
        """Strike what there is to strike, until something is true."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, [(run.job_name, run.tags, run.status) for run in runs()]
            for run in runs():
                self._strike(run)
            time.sleep(0.2)

    def _strike(self, run: dg.DagsterRun) -> None:
        """Do to a run whose step waits what its partition's name says; let the step go on once that is overcome."""
        key = run.tags.get("dagster/partition", "")
        where, _, fault = key.partition("-")
        pod = self._pod(run, where)
        if where not in ("run", "step") or not pod or not fault_graph.attempts(self.folder, key):
            return
        if key not in self.struck:
            self.struck[key] = pod
            {"evicted": self.cluster.evict, "lost": self.cluster.lose_node, "oom": self.cluster.oom}[fault](pod)
        elif pod != self.struck[key]:
            fault_graph.let_go(self.folder, key)

    def _pod(self, run: dg.DagsterRun, where: str) -> str | None:
        """Name of the pod of a run (`run`) or its step (`step`) that runs at this moment."""
        of_run = f"app.kubernetes.io/component in ({where},{where}_worker),dagster/run-id={run.run_id}"
        running = [pod for pod in self.cluster.pods(of_run) if pod["status"]["phase"] == "Running"]
        return running[0]["metadata"]["name"] if running else None

    def let_runs_start_within(self, seconds: float) -> None:
        """How long the next daemon waits for the pod of a run to come up."""
        file = Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml"
        settings = yaml.safe_load(file.read_text())
        settings["run_monitoring"]["start_timeout_seconds"] = seconds
        file.write_text(yaml.safe_dump(settings))

    def of(self, key: str) -> list[dg.DagsterRun]:
        """The runs of a partition or job, oldest first."""
        return [run for run in reversed(runs()) if key in (run.tags.get("dagster/partition"), run.job_name)]

    def ended_well(self, keys: list[str]) -> bool:
        """Whether the last run of each partition has succeeded."""
        last = {run.tags.get("dagster/partition"): run.status for run in reversed(runs())}
        return all(last.get(key) == dg.DagsterRunStatus.SUCCESS for key in keys)

    def ended(self, jobs: list[str]) -> bool:
        """Whether the run of each job has ended."""
        return all(any(run.status in ENDED for run in self.of(job)) for job in jobs)

    def said(self, key: str) -> str:
        """What the runs of a partition or job said, errors of steps included."""
        with dg.DagsterInstance.get() as instance:
            entries = [entry for run in self.of(key) for entry in instance.all_logs(run.run_id)]
        failures = [one.dagster_event.step_failure_data.error for one in entries if _is_step_failure(one)]
        return "\n".join(
            [*(one.user_message or one.message or "" for one in entries), *(str(error) for error in failures)]
        )


def _is_step_failure(entry: dg.EventLogEntry) -> bool:
    return entry.is_dagster_event and entry.dagster_event.event_type == dg.DagsterEventType.STEP_FAILURE


@contextmanager
def drill(folder: Path) -> Iterator[Drill]:
    """A stand-in cluster with an instance whose runs go there."""
    traces = folder / "traces"
    traces.mkdir()
    with StandIn(folder, env={"PYTHONPATH": PATHS}) as cluster, pytest.MonkeyPatch.context() as patch:
        env = {fault_graph.FOLDER: str(traces), "MBT_CLUSTER": str(cluster_file(cluster, folder))}
        write_instance(cluster, folder / "dagster", env, **INSTANCE)
        for name, value in {**env, "DAGSTER_HOME": str(folder / "dagster"), "PYTHONPATH": PATHS}.items():
            patch.setenv(name, value)
        client.CoreV1Api(cluster.client()).create_namespaced_secret("mbt", {"metadata": {"name": "mbt-keys"}})
        cluster.missing_images.add(fault_graph.ABSENT)
        yield Drill(cluster, traces)
