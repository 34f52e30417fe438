"""Ticks of the marts' automation over the real graph and a real instance; the marts' runs are real ones.

That a cell was scored is only reported: the condition looks at what Dagster was told, not at rows.
"""

import shutil

import dagster as dg
import pytest

from jobs.plan import CELL_ASSETS, FINAL_ASSETS
from mbt_assets.definitions import build_platform
from partitions.grid import MARTS
from resources.home import Home
from resources.lake import Lake
from resources.lake_io import LakeIOManager

CELL, OTHER = "trails|rule-teacher__base", "wide|rule-teacher__base"
ALL = set(FINAL_ASSETS)


class Automation:
    """Ticks when it is told to, keeps what a tick remembers for the next, and runs what was asked for."""

    def __init__(self, platform, instance):
        self.platform, self.instance = platform, instance
        self.definitions = platform.definitions()
        self.cursor = None

    def tick(self):
        """What is requested, each asset once."""
        told = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = told.cursor
        return {name for name in ALL if told.get_num_requested(dg.AssetKey(name))}

    def scored(self, key):
        """A run of somebody else has scored a cell."""
        for asset in CELL_ASSETS:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))

    def cell_run(self, key):
        """A run that is to score a cell, and has started."""
        job = self.definitions.resolve_job_def("score_cell")
        run = self.instance.create_run_for_job(job, tags={"dagster/partition": key}, asset_selection=None)
        start = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job.name, message="")
        self.instance.report_dagster_event(start, run.run_id)
        return run

    def make(self, names=FINAL_ASSETS):
        """What a request of these runs."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=self.instance, asset_selection=[dg.AssetKey(name) for name in names])
        return [event.asset_key.path[-1] for event in result.get_asset_materialization_events()]


class Landing(LakeIOManager):
    """A lake in which something happens whenever a mart is written."""

    def __init__(self, lake):
        super().__init__(lake)
        self.meanwhile = lambda: None

    def handle_output(self, context, obj):
        self.meanwhile()
        super().handle_output(context, obj)


@pytest.fixture
def lake(made, tmp_path):
    shutil.copytree(made[0].home.root, tmp_path / "home")
    return Landing(Lake(Home(tmp_path / "home", "small").lake))


@pytest.fixture
def automation(lake, small_study, tmp_path):
    platform = build_platform(small_study, Home(tmp_path / "home", "small"), lake=lake)
    with dg.DagsterInstance.ephemeral() as instance:
        automation = Automation(platform, instance)
        automation.scored(CELL)
        assert automation.tick() == set(), "what was there before the first tick is no change"
        yield automation


def test_one_change_is_one_request_of_all_marts_the_warehouse_and_the_report(automation):
    automation.scored(CELL)
    assert automation.tick() == ALL
    made = automation.make()
    assert (set(made[:-2]), made[-2:]) == (set(MARTS), ["warehouse", "report"])
    assert [automation.tick() for _ in range(3)] == [set()] * 3


def test_two_cells_in_one_tick_are_one_request(automation):
    automation.scored(CELL)
    automation.scored(OTHER)
    assert automation.tick() == ALL
    automation.make()
    assert [automation.tick() for _ in range(2)] == [set()] * 2


def test_nothing_changed_is_never_a_request(automation):
    assert [automation.tick() for _ in range(4)] == [set()] * 4


def test_a_cell_that_lands_right_after_the_request_is_shown_too(automation):
    automation.scored(CELL)
    assert automation.tick() == ALL
    automation.scored(OTHER)
    assert automation.tick() == ALL, "the run of the first request may have read the marts' parents already"
    automation.make()
    assert [automation.tick() for _ in range(2)] == [set()] * 2


@pytest.mark.parametrize("ticking", [True, False], ids=["and-seen-then", "and-seen-with-the-marts"])
def test_a_cell_that_lands_while_marts_are_made_is_shown_too(automation, lake, ticking):
    seen = []

    def meanwhile():
        automation.scored(OTHER)
        if ticking:
            seen.append(automation.tick())

    automation.scored(CELL)
    assert automation.tick() == ALL
    lake.meanwhile = meanwhile
    automation.make()
    lake.meanwhile = lambda: None
    assert seen == [set()] * (len(MARTS) if ticking else 0), "one run makes all: none before the report is there"
    assert automation.tick() == ALL
    automation.make()
    assert [automation.tick() for _ in range(2)] == [set()] * 2


def test_a_cell_that_lands_in_the_tick_that_sees_the_marts_is_shown_too(automation):
    automation.scored(CELL)
    assert automation.tick() == ALL
    automation.make()
    automation.scored(OTHER)
    assert automation.tick() == ALL
    automation.make()
    assert automation.tick() == set()


def test_a_change_during_every_request_is_a_request_each_and_no_more(automation):
    for _ in range(3):
        automation.scored(CELL)
        assert automation.tick() == ALL
    automation.make()
    assert [automation.tick() for _ in range(2)] == [set()] * 2


def test_marts_wait_for_cells_in_the_making(automation):
    run = automation.cell_run(OTHER)
    automation.scored(CELL)
    assert [automation.tick() for _ in range(3)] == [set()] * 3
    automation.instance.report_run_canceled(run)
    assert automation.tick() == ALL


def test_a_cell_that_failed_for_good_holds_nothing_back(automation):
    run = automation.cell_run(OTHER)
    automation.instance.report_run_failed(run)
    automation.scored(CELL)
    assert automation.tick() == ALL
    automation.make()
    assert automation.tick() == set()


def test_marts_that_failed_are_made_with_the_next_change_and_not_before(automation):
    automation.scored(CELL)
    assert automation.tick() == ALL
    run = automation.instance.create_run_for_job(automation.definitions.resolve_job_def("marts_only"))
    automation.instance.report_run_failed(run)
    assert [automation.tick() for _ in range(3)] == [set()] * 3
    automation.scored(CELL)
    assert automation.tick() == ALL


def test_marts_that_somebody_else_makes_bring_warehouse_and_report_along(automation):
    automation.make(["main_results"])
    assert automation.tick() == {"warehouse", "report"}
    assert automation.make(["warehouse", "report"]) == ["warehouse", "report"]
    assert [automation.tick() for _ in range(2)] == [set()] * 2
