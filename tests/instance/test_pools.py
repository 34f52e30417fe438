"""Pools: their limits, and that a run which was killed while it had a place in one gives it back."""

import subprocess
import sys

import dagster as dg
import pytest
import yaml
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.storage.dagster_run import RunOpConcurrency
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.concurrency import execute_concurrency_slots_iteration
from processes import kill, until

from jobs.lost_runs import fail_lost_runs
from jobs.runner import prepare_instance
from mbt_assets.cli.instance import open_instance, ready_home
from mbt_assets.definitions import build_platform
from mbt_assets.instance import InstanceError
from mbt_assets.instance.pools import default_limits, pool_limits, pools_of_graph, set_pools
from mbt_assets.instance.settings import NAME
from mbt_assets.stage import PROCESS_TAG
from resources.home import Home

TWO = {"gpu": 2, "judge": 2}
# The step of an asset in the pool waits for ever; its process can only be killed.
HOLDS_A_PLACE = """
import time
import dagster as dg
from mbt_assets.stage import note_process

@dg.asset(pool="gpu")
def held(context):
    note_process(context.instance, context.run_id)
    time.sleep(600)

with dg.DagsterInstance.get() as instance:
    dg.materialize([held], instance=instance)
"""


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path, "small")


def test_pools_are_those_of_the_graph(small_study, home):
    in_graph = {
        node.pool
        for asset in build_platform(small_study, home).assets
        for node in [asset.op]
        if getattr(node, "pool", None)
    }
    assert set(pools_of_graph()) == in_graph == {"gpu", "judge"}


def test_the_pool_has_a_place_for_each_gpu_and_no_limit_of_its_own_without(monkeypatch):
    monkeypatch.setenv("MBT_GPUS", "3")
    assert default_limits(runs=7) == {"gpu": 3, "judge": 7}
    monkeypatch.setenv("MBT_CLUSTER", "cluster.yaml")
    assert default_limits(runs=7) == {"gpu": 7, "judge": 7}
    monkeypatch.delenv("MBT_CLUSTER")
    monkeypatch.delenv("MBT_GPUS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert default_limits(runs=7) == {"gpu": 7, "judge": 7}


def test_limits_are_set_once_and_kept_unless_they_are_given(records, home):
    with open_instance(home) as instance:
        assert set_pools(instance, {}, TWO) == TWO
        assert set_pools(instance, {"gpu": 5}, TWO) == {"gpu": 5, "judge": 2}
        assert set_pools(instance, {}, TWO) == {"gpu": 5, "judge": 2}


@pytest.mark.parametrize(
    ("chosen", "said"), [({"gpus": 2}, "no asset is in a pool 'gpus'"), ({"gpu": 0}, "give at least 1")]
)
def test_a_wrong_limit_is_refused_and_changes_nothing(chosen, said, home):
    with open_instance(home) as instance:
        with pytest.raises(InstanceError, match=said):
            set_pools(instance, chosen, TWO)
        assert pool_limits(instance) == {}


def by_steps(home):
    """Settings as somebody has them who wants places to be taken by steps rather than by runs."""
    path = home.dagster / NAME
    content = yaml.safe_load(path.read_text())
    content["concurrency"]["pools"]["granularity"] = "op"
    content["run_monitoring"]["free_slots_after_run_end_seconds"] = 1
    path.write_text(yaml.safe_dump(content))


@pytest.fixture
def holder(mark, home, records):
    """An instance with one place in the pool, a process whose run has it, and the run."""
    ready_home(home)
    by_steps(home)
    with open_instance(home) as instance:
        prepare_instance()
        set_pools(instance, {"gpu": 1}, TWO)
        process = subprocess.Popen([sys.executable, "-c", HOLDS_A_PLACE], stderr=subprocess.DEVNULL)
        assert until(lambda: [run for run in instance.get_runs() if PROCESS_TAG in run.tags], 60)
        yield instance, process, instance.get_runs()[0]
        process.kill()
        process.wait()


def taken_by(instance):
    return {slot.run_id for slot in instance.event_log_storage.get_concurrency_info("gpu").claimed_slots}


def look_of_the_daemon(instance):
    """One look of the daemon's at places whose runs have ended."""
    from logging import getLogger

    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
        list(execute_concurrency_slots_iteration(context, getLogger("daemon"), None))


def test_a_place_that_a_killed_run_has_is_free_again_as_soon_as_the_run_is_known_to_be_lost(holder):
    instance, process, run = holder
    assert taken_by(instance) == {run.run_id}
    kill(process.pid)
    process.wait()
    assert taken_by(instance) == {run.run_id}, "nobody was left to give it back"
    assert fail_lost_runs(instance)
    assert taken_by(instance) == set()


def test_the_daemon_frees_the_places_of_a_run_that_somebody_else_reported(holder):
    instance, process, run = holder
    kill(process.pid)
    process.wait()
    instance.report_run_failed(instance.get_run_by_id(run.run_id))
    assert taken_by(instance) == {run.run_id}
    assert until(lambda: look_of_the_daemon(instance) or not taken_by(instance), 30)


def test_with_our_settings_a_run_takes_a_place_only_while_it_is_under_way(home):
    """Dagster counts runs then, and a run that is reported as ended counts no more: there is nothing to leak."""
    needs = RunOpConcurrency(root_key_counts={"gpu": 1}, has_unconstrained_root_nodes=False, all_pools={"gpu"})

    def add(status):
        return instance.add_run(dg.DagsterRun("score_cell", status=status, run_op_concurrency=needs))

    def waits(run):
        under_way = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        storage = instance.event_log_storage
        limits = storage.get_concurrency_keys(), storage.get_pool_limits()
        counter = GlobalOpConcurrencyLimitsCounter(
            instance, [run], under_way, *limits, pool_granularity=storage.get_pool_config().pool_granularity
        )
        return counter.is_blocked(run)

    with open_instance(home) as instance:
        set_pools(instance, {"gpu": 1}, TWO)
        first, second = add(dg.DagsterRunStatus.STARTED), add(dg.DagsterRunStatus.NOT_STARTED)
        assert waits(second)
        instance.report_run_failed(first)
        assert not waits(second)
