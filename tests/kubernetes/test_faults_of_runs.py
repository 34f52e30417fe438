"""What becomes of runs and steps whose pods meet a fault: real run launcher, executor, run and step pods, and daemon.

All faults are met at once, in a backfill whose daemon is killed in the middle of it and started again.
"""

import dagster as dg
import polars as pl
import pytest
from daemons import DaemonProcess
from dagster_on_cluster import runs
from drill import drill
from fault_graph import ABSENT, PLAIN, RUN_FAULTS, STEP_FAULTS, attempts, written
from manifests import refused, rules_of
from processes import until

from jobs.left_pods import remove_left_pods

KEYS = [*RUN_FAULTS, *STEP_FAULTS, *PLAIN]
JOBS = ["step_without_image", "run_without_image"]
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
ENDED_JOB = ("Complete", "Failed")


@pytest.fixture(scope="module")
def drilled(tmp_path_factory):
    """A backfill and two runs after everything that can happen to them has happened."""
    folder = tmp_path_factory.mktemp("drill")
    with drill(folder) as drilled:
        drilled.launch(KEYS, JOBS)
        with DaemonProcess("fault_graph", folder / "daemon.log"):
            # As many as may run at once are under way, the others wait in the queue.
            drilled.work_until(lambda: dg.DagsterRunStatus.STARTED in [run.status for run in runs()])
        queued = [run for run in runs() if run.status == dg.DagsterRunStatus.QUEUED]
        assert queued or len(runs()) < len(KEYS) + len(JOBS)
        with DaemonProcess("fault_graph", folder / "daemon.log"):
            drilled.work_until(lambda: drilled.ended_well(KEYS) and drilled.ended(["step_without_image"]))
        # Only now: on a busy machine those that do come up take a while.
        drilled.let_runs_start_within(1)
        with DaemonProcess("fault_graph", folder / "daemon.log"):
            drilled.work_until(lambda: drilled.ended(JOBS))
        yield drilled


def states(drilled, key):
    return [run.status for run in drilled.of(key)]


@pytest.mark.parametrize("key", KEYS)
def test_every_partition_of_the_backfill_is_made_whole(drilled, key):
    rows = pl.read_parquet(str(written(drilled.folder, key)))
    assert rows["key"].to_list() == [key] * 1000
    assert [path.name for path in (drilled.folder / "lake" / key).iterdir()] == ["rows.parquet"]


@pytest.mark.parametrize("key", PLAIN)
def test_a_daemon_restarted_in_mid_backfill_launches_each_partition_once(drilled, key):
    assert states(drilled, key) == [SUCCESS]
    assert attempts(drilled.folder, key) == 1


def test_the_run_of_an_evicted_run_pod_goes_on_in_a_new_pod_and_its_step_never_notices(drilled):
    assert states(drilled, "run-evicted") == [SUCCESS]
    assert attempts(drilled.folder, "run-evicted") == 1
    assert "Launching a new run worker to resume run" in drilled.said("run-evicted")


def test_a_run_whose_node_is_lost_takes_its_steps_along_and_is_retried(drilled):
    # Its object is gone, and with it the step that names it as its owner.
    assert states(drilled, "run-lost")[-1] == SUCCESS
    assert attempts(drilled.folder, "run-lost") == 2
    assert "Launching a new run worker to resume run" in drilled.said("run-lost")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("step-evicted", "was taken away (Evicted: The node was low on resource: memory.)"),
        ("step-lost", "its node was lost, or somebody deleted it"),
        ("step-oom", "was killed for want of memory (limit 2Gi): raise steps.memory in the cluster file"),
    ],
)
def test_a_run_whose_step_pod_is_lost_says_why_and_is_retried(drilled, key, said):
    assert states(drilled, key) == [FAILURE, SUCCESS]
    assert attempts(drilled.folder, key) == 2
    told = drilled.said(key)
    assert said in told and (key == "step-lost" or drilled.struck[key] in told)


def test_a_run_whose_image_is_missing_fails_once_with_its_name(drilled):
    assert states(drilled, "run_without_image") == [FAILURE]
    assert "ImagePullBackOff" in drilled.said("run_without_image") and ABSENT in drilled.said("run_without_image")


def test_a_step_whose_image_is_missing_fails_once_with_its_name(drilled):
    assert states(drilled, "step_without_image") == [FAILURE]
    assert f"never ran: the image {ABSENT} cannot be pulled" in drilled.said("step_without_image")


def test_nothing_is_left_of_it(drilled):
    with dg.DagsterInstance.get() as instance:
        told = remove_left_pods(instance, after_s=0)
        (never_started,) = [run.run_id for run in drilled.of("run_without_image")]
        assert [line for line in told if never_started in line]
        assert remove_left_pods(instance, after_s=0) == []
        storage = instance.event_log_storage
        assert all(storage.get_concurrency_info(pool).slot_count > 0 for pool in storage.get_concurrency_keys())
        assert until(lambda: not storage.get_concurrency_run_ids())
    assert until(
        lambda: not [pod for pod in drilled.cluster.pods() if pod["status"]["phase"] in ("Pending", "Running")]
    )
    assert drilled.cluster.all_processes_gone()
    assert not drilled.cluster.objects("leases")
    for job in drilled.cluster.objects("jobs"):
        assert [one for one in job["status"].get("conditions", []) if one["type"] in ENDED_JOB], job


def test_the_roles_of_deploy_allow_what_was_asked_of_the_cluster(drilled):
    accounts = ("mbt-control", "mbt-code", "mbt-dagster")
    # The secret is the test's own.
    asked = [request for request in drilled.cluster.requests if request.resource != "secrets"]
    assert refused([rule for name in accounts for rule in rules_of(name)], asked) == []
