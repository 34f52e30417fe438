"""Retention on a real instance: what goes with a run, and which runs never go."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from small import SMALL
from sqlalchemy import text
from typer.testing import CliRunner

from jobs.runner import make, prepare_instance
from mbt_assets.cli.common import USER_ERROR
from mbt_assets.cli.instance import open_instance, ready_home
from mbt_assets.cli.instance_app import app
from mbt_assets.cli.main import user_errors
from mbt_assets.definitions import build_platform
from mbt_assets.instance import pruning
from mbt_assets.instance.pools import pool_limits
from mbt_assets.instance.sizes import sizes
from partitions.grid import Node
from partitions.study_file import parse_study
from resources.home import Home

DAY = 86_400
QUESTIONS = [Node("validation_questions", "trails"), Node("validation_questions", "wide")]
UNDER_WAY = dg.DagsterRunStatus.STARTED


class Setting:
    """A small study on an instance whose runs are as old as a test says."""

    def __init__(self, root):
        self.study = parse_study(SMALL)
        self.home = Home(root, "small")
        ready_home(self.home)
        prepare_instance()
        self.platform = build_platform(self.study, self.home)
        self.instance = open_instance(self.home)

    def make(self, *nodes):
        made = make(build_platform, self.study.model_dump_json(), self.home, nodes, {})
        assert made.success, made.failure
        return made.run_id

    def add(self, status=dg.DagsterRunStatus.FAILURE, **tags):
        """A run that made nothing, with a log."""
        run = self.instance.add_run(dg.DagsterRun("score_cell", status=status, tags=tags))
        log = self.log_of(run.run_id)
        log.mkdir(parents=True)
        (log / "step.out").write_text("printed\n")
        self.instance.report_engine_event("something", run)
        return run.run_id

    def log_of(self, run_id):
        return Path(self.instance.storage_directory()) / run_id

    def age(self, *runs, days=100):
        """Have it be so long ago that anything was written to some runs."""
        written = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime(time.time() - days * DAY))
        with self.instance.run_storage.connect() as connection:
            for run in runs:
                statement = text("UPDATE runs SET update_timestamp = :at WHERE run_id = :run")
                connection.execute(statement, {"at": written, "run": run})

    def plan(self, days=90, keep_last=0):
        grid = self.platform.axes.grid
        age = timedelta(days=days)
        return pruning.plan(self.instance, self.platform.artifacts, grid, self.home, age, keep_last)

    def runs(self):
        return set(self.instance.get_run_ids())

    def events(self, run):
        # As a process that had not read them before sees them.
        with open_instance(self.home) as instance:
            return len(instance.all_logs(run))


@pytest.fixture
def setting(records, tmp_path):
    setting = Setting(tmp_path)
    yield setting
    setting.instance.dispose()


def test_an_old_run_goes_with_its_events_and_logs_and_a_young_one_stays(setting, records):
    old, young = setting.add(), setting.add()
    setting.age(old)
    planned = setting.plan()
    assert planned.runs == [old]
    assert setting.runs() == {old, young}, "a plan changes nothing"
    pruning.carry_out(setting.instance, planned, setting.home)
    assert setting.runs() == {young}
    if records == "sqlite":
        assert not list(setting.home.dagster.glob(f"history/runs/{old}.db*"))
    assert (setting.events(old), setting.events(young)) == (0, 1)
    assert not setting.log_of(old).exists() and setting.log_of(young).exists()
    pruning.carry_out(setting.instance, planned, setting.home)


def test_runs_that_made_what_is_there_now_never_go(setting):
    first = setting.make(QUESTIONS[0])
    other = setting.make(QUESTIONS[1])
    second = setting.make(QUESTIONS[0])
    setting.age(first, other, second)
    planned = setting.plan()
    assert planned.runs == [first] and planned.kept == {"made what is there now": 2}
    before = setting.platform.artifacts.lake.read(QUESTIONS[0])
    pruning.carry_out(setting.instance, planned, setting.home)
    partitions = setting.platform.axes.partitions_of("validation_questions")
    key = dg.AssetKey("validation_questions")
    states = setting.instance.get_status_by_partition(key, ["trails", "wide"], partitions)
    assert {key: state.value for key, state in states.items()} == {"trails": "MATERIALIZED", "wide": "MATERIALIZED"}
    assert setting.platform.artifacts.lake.read(QUESTIONS[0]).equals(before)
    # What is shorter now is the partition's history.
    kept = setting.instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=["trails"]), limit=9)
    assert [record.run_id for record in kept.records] == [second]


def test_the_run_that_the_lake_names_stays_even_if_dagster_knows_nothing_of_it(setting):
    run = setting.make(QUESTIONS[0])
    # As when the run was killed between the rows and their event.
    setting.instance.wipe_assets([dg.AssetKey("validation_questions")])
    setting.age(run)
    assert run not in pruning.makers_in_dagster(setting.instance)
    assert setting.plan().runs == []


def test_runs_under_way_never_go(setting):
    run = setting.add(UNDER_WAY)
    setting.age(run)
    assert setting.plan().runs == []


def test_the_newest_runs_stay_whatever_their_age(setting):
    runs = [setting.add() for _ in range(3)]
    setting.age(*runs)
    planned = setting.plan(keep_last=2)
    assert planned.runs == [runs[0]] and planned.kept == {"of the 2 newest": 2}


def test_runs_of_a_backfill_stay_until_it_has_ended(setting):
    run = setting.add(**{pruning.BACKFILL_TAG: "abc"})
    setting.age(run)
    backfill = PartitionBackfill(
        "abc", BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=time.time()
    )
    setting.instance.add_backfill(backfill)
    assert setting.plan().runs == []
    setting.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert setting.plan().runs == [run]


def test_old_logs_of_payloads_go_and_their_empty_folders(setting):
    old, young = setting.home.logs / "sft" / "old.log", setting.home.logs / "young.log"
    old.parent.mkdir(parents=True)
    for path in (old, young):
        path.write_text("printed\n")
    os.utime(old, (time.time() - 100 * DAY,) * 2)
    planned = setting.plan()
    assert planned.logs == [old]
    pruning.carry_out(setting.instance, planned, setting.home)
    assert not old.parent.exists() and young.exists()


def test_the_space_of_deleted_rows_is_given_back(setting, records):
    runs = [setting.add(text="x" * 50_000) for _ in range(20)]
    setting.age(*runs)
    before = sizes(setting.instance, setting.home)
    pruning.carry_out(setting.instance, setting.plan(), setting.home)
    assert pruning.vacuum(setting.instance, setting.home.dagster) == ""
    after = sizes(setting.instance, setting.home)
    assert (before.runs, after.runs) == (20, 0)
    assert before.events == 20 and after.events == 0
    assert after.compute_log_bytes < before.compute_log_bytes
    # PostgreSQL keeps freed pages for what comes next; SQLite's files shrink.
    assert after.database_bytes < before.database_bytes or records == "postgres"


@pytest.fixture
def mbt(tmp_path, monkeypatch):
    """Calls `mbt instance …` for a small study in this process; gives the exit code and all that it printed."""
    study = tmp_path / "small.yaml"
    study.write_text(yaml.safe_dump(parse_study(SMALL).model_dump(mode="json"), sort_keys=False))
    monkeypatch.setenv("MBT_HOME", str(tmp_path))
    monkeypatch.setenv("MBT_STUDY", str(study))

    def call(*arguments):
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, user_errors()):
            return USER_ERROR, str(result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, " ".join(result.output.replace("│", " ").split())

    return call


def test_the_commands_set_up_tell_and_prune(database, tmp_path, mbt):
    setting = Setting(tmp_path)
    code, told = mbt("init", "--pool", "gpu=4", "--runs", "3")
    assert code == 0 and "all runs" in told
    assert pool_limits(setting.instance) == {"gpu": 4, "judge": 3}
    run = setting.add()
    setting.age(run)
    _, told = mbt("prune", "--older-than", "12w", "--keep-last", "0")
    assert "1 runs and 0 logs of payloads would go" in told and "--yes does it" in told
    assert setting.runs() == {run}
    _, told = mbt("prune", "--older-than", "12w", "--keep-last", "0", "--yes", "--json")
    assert json.loads(told) == {"deleted": True, "runs": [run], "kept": {}, "logs": []}
    assert setting.runs() == set()
    # As a CronJob beside a Helm chart does it: on somebody else's DAGSTER_HOME.
    _, told = mbt("info", "--json", "--dagster-home", str(setting.home.dagster))
    assert json.loads(told)["runs"] == 0
    assert mbt("migrate", "--check")[1].count("at head") == 3
    setting.instance.dispose()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prune", "--older-than", "90"], "write a number and h, d or w"),
        (["prune", "--older-than", "1000000d"], "is before the year 1"),
        (["init", "--pool", "gpu"], "write the pool and its limit"),
        (["init", "--pool", "gpus=2"], "no asset is in a pool 'gpus'"),
        (["info", "--dagster-home", "nowhere"], "holds no dagster.yaml"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments, said, mbt):
    code, told = mbt(*arguments)
    assert code == USER_ERROR and said in told
