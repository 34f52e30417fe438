"""Dagster's records in a real PostgreSQL server, which is restarted, stopped and asked with a wrong password."""

import itertools
import os
import subprocess
import sys

import dagster as dg
import pytest
import yaml
from postgres import PASSWORD, QUOTED
from processes import kill, until
from small import run

from jobs.lost_runs import fail_lost_runs
from jobs.plan import slice_of, units
from jobs.runner import make, prepare_instance
from mbt_assets.cli.instance import open_instance, ready_home
from mbt_assets.definitions import build_platform
from mbt_assets.instance import InstanceError
from mbt_assets.instance.postgres import VARIABLE
from partitions.grid import Node
from resources.home import Home

STARTED = dg.DagsterRunStatus.STARTED
QUESTIONS = Node("validation_questions", "trails")
WAITS_TO_WRITE = """
import sys, time
from pathlib import Path
import dagster as dg
from mbt_assets.definitions import build_platform
from partitions.study_file import load_study
from resources.home import Home
from resources.lake_io import LakeIOManager

class Waiting(LakeIOManager):
    def handle_output(self, context, obj):
        here = Path(sys.argv[1])
        (here / "waits").touch()
        while not (here / "go").exists():
            time.sleep(0.05)
        super().handle_output(context, obj)

platform = build_platform(load_study(), Home.from_environment("small"))
platform.resources["lake"] = Waiting(platform.artifacts.lake)
with dg.DagsterInstance.get() as instance:
    result = dg.materialize(platform.assets, selection=["validation_questions"], partition_key="trails",
                            instance=instance, resources=platform.resources, raise_on_error=False)
sys.exit(0 if result.success else 1)
"""


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path, "small")


@pytest.fixture
def waiting(mark, small_study, home, monkeypatch, database):
    """A process whose run waits before it writes; it goes on when the file `go` is there."""
    study = home.root / "small.yaml"
    study.write_text(yaml.safe_dump(small_study.model_dump(mode="json"), sort_keys=False))
    monkeypatch.setenv("MBT_STUDY", str(study))
    monkeypatch.setenv("MBT_HOME", str(home.root))
    ready_home(home)
    prepare_instance()
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS_TO_WRITE, str(home.root)], stderr=subprocess.PIPE, text=True
    )
    assert until((home.root / "waits").exists, 60)
    yield process
    process.kill()
    process.communicate()


def statuses(home):
    with open_instance(home) as instance:
        return [run.status for run in instance.get_runs()]


def cell_units(platform):
    """What one cell needs, and itself."""
    grid = platform.axes.grid
    return units(grid, slice_of(grid, variants={"rule-teacher__base"}, datasets={"trails"}))


def partition_states(instance, platform):
    partitions = platform.axes.partitions_of("cell_metrics")
    found = instance.get_status_by_partition(dg.AssetKey("cell_metrics"), partitions.get_partition_keys(), partitions)
    return {key: state.value for key, state in found.items() if state is not None}


def files_of_sqlite(home):
    return list(home.root.rglob("*.db"))


def test_cells_are_made_by_two_processes_at_once_and_recorded_in_postgres(postgres, database, small_study, home):
    platform = build_platform(small_study, home)
    before = len(postgres.log)
    planned = cell_units(platform)
    reports = run(platform, planned)
    assert {report.outcome for report in reports.values()} == {"made"}
    with open_instance(home) as instance:
        assert set(statuses(home)) == {dg.DagsterRunStatus.SUCCESS}
        assert instance.get_runs_count() == len(reports)
        event = instance.get_latest_materialization_event(dg.AssetKey("cell_metrics"))
        assert event is not None and event.run_id == reports["cell[trails|rule-teacher__base]"].run_id
    assert not files_of_sqlite(home)
    for word in ("ERROR", "deadlock", "FATAL"):
        assert word not in postgres.log[before:]
    with open_instance(home) as instance:
        assert partition_states(instance, platform) == {"trails|rule-teacher__base": "MATERIALIZED"}


def test_the_password_stands_in_no_file(database, home):
    with open_instance(home) as instance:
        assert PASSWORD not in instance.info_str() and QUOTED not in instance.info_str()
    for path in home.root.rglob("*"):
        if path.is_file():
            assert PASSWORD not in path.read_text(errors="replace") and QUOTED not in path.read_text(errors="replace")


def test_a_server_that_is_restarted_between_runs_is_not_noticed(postgres, database, small_study, home):
    ready_home(home)
    made = [make(build_platform, small_study.model_dump_json(), home, (QUESTIONS,), {})]
    with open_instance(home) as instance:
        postgres.restart()
        assert instance.get_runs_count() == 1
    made.append(make(build_platform, small_study.model_dump_json(), home, (QUESTIONS,), {}))
    assert [one.success for one in made] == [True, True]
    assert statuses(home) == [dg.DagsterRunStatus.SUCCESS] * 2


def test_a_run_outlives_a_restart_of_the_server(postgres, waiting, home, small_study):
    assert statuses(home) == [STARTED]
    postgres.restart()
    (home.root / "go").touch()
    assert waiting.wait(60) == 0, waiting.stderr.read()
    assert statuses(home) == [dg.DagsterRunStatus.SUCCESS]
    assert build_platform(small_study, home).artifacts.stored(QUESTIONS) is not None


def test_a_server_that_stays_away_for_longer_fails_the_run_and_the_next_one_makes_the_partition(
    postgres, waiting, home, small_study
):
    postgres.stop()
    try:
        (home.root / "go").touch()
        tries = (line for line in waiting.stderr if "Retrying failed database connection" in line)
        # Six times for a line of the log, which it can do without, and six for the event of the rows, which it cannot.
        assert len(list(itertools.islice(tries, 13))) == 13
    finally:
        postgres.start()
    waiting.stderr.read()
    assert waiting.wait(60) != 0
    assert statuses(home) == [dg.DagsterRunStatus.FAILURE]
    platform = build_platform(small_study, home)
    # Rows are whole or not there.
    stored = platform.artifacts.stored(QUESTIONS)
    assert stored is None or platform.artifacts.lake.read(QUESTIONS).height == stored.rows
    again = make(build_platform, small_study.model_dump_json(), home, (QUESTIONS,), {})
    assert again.success, again.failure


def refusal(home, url, monkeypatch):
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(InstanceError) as caught:
        ready_home(home)
    assert PASSWORD not in str(caught.value) and QUOTED not in str(caught.value)
    return str(caught.value)


def test_a_wrong_password_is_one_clear_error(postgres, home, monkeypatch):
    told = refusal(home, postgres.url("postgres", password="not-the-one"), monkeypatch)
    assert "not-the-one" not in told
    assert told.startswith(f"cannot connect to postgresql://mbt:***@127.0.0.1:{postgres.port}/postgres: ")
    assert 'password authentication failed for user "mbt"' in told and told.endswith(f"name in {VARIABLE}")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://mbt:{password}@127.0.0.1:1/mbt", "Connection refused"),
        ("postgresql://mbt:{password}@no-such-host.invalid/mbt", "no-such-host.invalid"),
        ("postgresql://mbt@127.0.0.1:1/mbt?password={password}", "Connection refused"),
        ("mysql://mbt:{password}@127.0.0.1/mbt", "only postgresql:// will do"),
        ("mbt:{password}", "is no database address"),
        ("postgresql://mbt:{password}@127.0.0.1:port/mbt", "is no database address"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_clear_error(address, said, home, monkeypatch):
    assert said in refusal(home, address.format(password=QUOTED), monkeypatch)


def test_a_database_that_is_not_there_is_named(postgres, home, monkeypatch):
    assert 'database "nowhere" does not exist' in refusal(home, postgres.url("nowhere"), monkeypatch)


def test_the_database_of_one_study_is_refused_to_another(database, home, monkeypatch):
    open_instance(home).dispose()
    # From the second look on Dagster's tables are there.
    open_instance(home).dispose()
    told = refusal(Home(home.root, "other"), database, monkeypatch)
    assert "holds the records of study small, and this is study other" in told


def test_a_command_shows_the_error_alone(postgres, tmp_path):
    environment = {**os.environ, VARIABLE: postgres.url("postgres", password="not-the-one"), "MBT_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "mbt_assets.cli.main", "demo", "--study", "embedded"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr and "not-the-one" not in ended.stderr
    assert "password authentication failed" in ended.stderr


def test_a_run_whose_process_is_killed_leaves_no_connection(postgres, waiting, home):
    kill(waiting.pid)
    waiting.wait()
    with open_instance(home) as instance:
        assert fail_lost_runs(instance)
    assert statuses(home) == [dg.DagsterRunStatus.FAILURE]
