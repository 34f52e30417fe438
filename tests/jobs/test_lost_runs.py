"""Runs in real processes that are killed in the way that they cannot do anything about, and what is said of them."""

import os
import signal
import socket
import subprocess
import sys

import dagster as dg
import pytest
import yaml
from processes import kill, until
from small import run

from jobs.lost_runs import fail_lost_runs
from jobs.runner import prepare_instance
from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from mbt_assets.stage import PROCESS_TAG, note_process
from resources.home import Home
from resources.processes import has_ended, started_at, this_process

STARTED, CANCELING = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING
SLEEPING = """
import sys, time
import dagster as dg
from mbt_assets.definitions import build_platform
from partitions.study_file import load_study
from resources.home import Home
from resources.lake_io import LakeIOManager

class Slow(LakeIOManager):
    def handle_output(self, context, obj):
        time.sleep(600)

home = Home.from_environment("small")
platform = build_platform(load_study(), home)
platform.resources["lake"] = Slow(platform.artifacts.lake)
with dg.DagsterInstance.get() as instance:
    dg.materialize(platform.assets, selection=["validation_questions"], partition_key="trails", instance=instance,
                   resources=platform.resources)
"""


@pytest.fixture
def instance(tmp_path):
    with open_instance(Home(tmp_path, "small")) as instance:
        yield instance


@pytest.fixture
def sleeper(mark, small_study, tmp_path, monkeypatch, instance):
    """A process whose run has started to make questions and goes on for ever; and the run."""
    study = tmp_path / "small.yaml"
    study.write_text(yaml.safe_dump(small_study.model_dump(mode="json"), sort_keys=False))
    monkeypatch.setenv("MBT_STUDY", str(study))
    monkeypatch.setenv("MBT_HOME", str(tmp_path))
    prepare_instance()
    process = subprocess.Popen([sys.executable, "-c", SLEEPING], stderr=subprocess.DEVNULL)

    def under_way():
        return [run for run in instance.get_runs() if run.status == STARTED and PROCESS_TAG in run.tags]

    assert until(under_way, 60)
    yield process, under_way()[0]
    process.kill()
    process.wait()


def messages(instance, run):
    return [entry.dagster_event.message for entry in instance.all_logs(run.run_id) if entry.dagster_event]


def state(instance, run):
    return instance.get_run_by_id(run.run_id).status


def add(instance, *, status=STARTED, **tags):
    """A run as Dagster has it, with any tags."""
    return instance.add_run(dg.DagsterRun("score_cell", status=status, tags=tags))


def tagged(instance, process, status=STARTED):
    """A run that said to run in a process of that name."""
    run = add(instance, status=status)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{process}/{run.run_id}"})
    return run


@pytest.fixture
def ended():
    """The name of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    name = f"{socket.gethostname()}/{process.pid}/{started_at(process.pid)}"
    assert not has_ended(name)
    process.kill()
    process.wait()
    return name


def test_a_run_whose_process_was_killed_is_failed_and_says_why(sleeper, instance):
    process, run = sleeper
    assert fail_lost_runs(instance) == [], "it lives"
    assert state(instance, run) == STARTED
    kill(process.pid)
    process.wait()
    assert state(instance, run) == STARTED, "nobody was left to say otherwise"
    (told,) = fail_lost_runs(instance)
    assert told.startswith(
        f"run {run.run_id[:8]} is failed: its process {process.pid} on {socket.gethostname()} is gone"
    )
    assert state(instance, run) == dg.DagsterRunStatus.FAILURE
    assert told in messages(instance, run)
    assert fail_lost_runs(instance) == [], "once"


def test_a_killed_process_that_nobody_has_buried_yet_is_gone_too(sleeper, instance):
    process, run = sleeper
    kill(process.pid)
    assert until(lambda: fail_lost_runs(instance))
    assert state(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_stopped_process_is_left_alone(sleeper, instance):
    process, run = sleeper
    process.send_signal(signal.SIGSTOP)
    assert fail_lost_runs(instance) == []
    assert state(instance, run) == STARTED


def test_the_run_of_this_process_is_left_alone(instance):
    run = add(instance)
    note_process(instance, run.run_id)
    assert fail_lost_runs(instance) == []
    assert state(instance, run) == STARTED


def test_a_run_whose_process_id_is_anothers_by_now_is_failed(instance):
    host, pid, start = this_process().split("/")
    run = tagged(instance, f"{host}/{pid}/{int(start) - 1}")
    assert len(fail_lost_runs(instance)) == 1
    assert state(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_run_that_was_being_canceled_is_canceled(instance, ended):
    run = tagged(instance, ended, CANCELING)
    (told,) = fail_lost_runs(instance)
    assert told.startswith(f"run {run.run_id[:8]} is canceled: ")
    assert state(instance, run) == dg.DagsterRunStatus.CANCELED
    assert told in messages(instance, run)


def test_runs_of_other_hosts_and_of_unknown_processes_are_left_alone(instance, ended):
    elsewhere = tagged(instance, "elsewhere/" + ended.partition("/")[2])
    unknown = [tagged(instance, "nonsense"), add(instance), add(instance, **{PROCESS_TAG: "1/2"})]
    assert fail_lost_runs(instance) == []
    assert {state(instance, run) for run in (elsewhere, *unknown)} == {STARTED}


def test_a_run_that_was_launched_again_is_not_taken_for_the_one_before(instance, ended):
    """Dagster gives it the tags of the first one, until it says itself where it runs."""
    first = tagged(instance, ended)
    again = add(instance, **instance.get_run_by_id(first.run_id).tags)
    assert len(fail_lost_runs(instance)) == 1
    assert (state(instance, first), state(instance, again)) == (dg.DagsterRunStatus.FAILURE, STARTED)


def test_a_run_that_ended_in_order_stays_as_it_ended(instance, ended):
    run = tagged(instance, ended, dg.DagsterRunStatus.SUCCESS)
    assert fail_lost_runs(instance) == []
    assert state(instance, run) == dg.DagsterRunStatus.SUCCESS


def test_the_sensor_says_what_it_did(small_study, tmp_path, instance, ended):
    sensor = build_platform(small_study, Home(tmp_path, "small")).definitions().get_sensor_def("fail_lost_runs")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING

    def tick():
        with dg.build_sensor_context(instance=instance) as context:
            return sensor.evaluate_tick(context).skip_message

    assert tick() == "every run of this machine has its process"
    run = tagged(instance, ended)
    assert tick().startswith(f"run {run.run_id[:8]} is failed: its process {ended.split('/')[1]}")
    assert tick() == "every run of this machine has its process"


def test_marts_that_a_lost_run_held_back_are_made_after_it_is_failed(small_study, tmp_path, instance, ended):
    definitions = build_platform(small_study, Home(tmp_path, "small")).definitions()
    cells = ["trails|rule-teacher__base", "wide|rule-teacher__base"]
    job = definitions.resolve_job_def("score_cell")
    run = instance.create_run_for_job(job, tags={"dagster/partition": cells[0]})
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job.name, message=""), run.run_id
    )
    instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{ended}/{run.run_id}"})
    told = dg.evaluate_automation_conditions(definitions, instance)
    instance.report_runless_asset_event(dg.AssetMaterialization("cell_metrics", partition=cells[1]))
    told = dg.evaluate_automation_conditions(definitions, instance, cursor=told.cursor)
    assert told.total_requested == 0
    fail_lost_runs(instance)
    told = dg.evaluate_automation_conditions(definitions, instance, cursor=told.cursor)
    assert told.get_num_requested(dg.AssetKey("main_results")) == 1


def test_lost_runs_are_failed_before_a_runner_starts(small_study, tmp_path, instance, ended):
    platform = build_platform(small_study, Home(tmp_path, "small"))
    lost = tagged(instance, ended)
    assert run(platform, []) == {}
    assert state(instance, lost) == dg.DagsterRunStatus.FAILURE


def test_a_run_that_nobody_can_tell_to_be_lost_ends_after_two_days(instance):
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 48 * 3600


def test_the_name_of_a_process_is_its_own():
    host, pid, start = this_process().split("/")
    assert (host, int(pid)) == (socket.gethostname(), os.getpid())
    assert start == started_at(os.getpid())
    assert started_at(2**22 + 1) == ""
