"""What becomes of `dagster.yaml`: written, renewed, and left alone once somebody has edited it."""

import dagster as dg
import pytest
import yaml

from mbt_assets.cli.instance import open_instance, ready_home
from mbt_assets.instance import InstanceError, settings
from mbt_assets.instance.postgres import VARIABLE
from mbt_assets.instance.settings import NAME, Options
from resources.home import Home

FIRST = """# Written once; edit it as you like.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 2
run_monitoring:
  enabled: true
  max_runtime_seconds: 172800
"""


@pytest.fixture(autouse=True)
def sqlite(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path, "small")
    home.dagster.mkdir(parents=True)
    return home


def runs_at_once(home):
    return yaml.safe_load((home.dagster / NAME).read_text())["concurrency"]["runs"]["max_concurrent_runs"]


def with_new_settings(monkeypatch):
    """The project as it would be with another setting."""
    monkeypatch.setitem(settings.DAYS, "success", 45)


def test_the_settings_are_those_that_dagster_then_has(home):
    with open_instance(home) as instance:
        assert instance.get_concurrency_config().pool_config.pool_granularity.value == "run"
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60
        assert instance.run_monitoring_max_runtime_seconds == 2 * 86_400
        days = instance.get_tick_retention_settings(dg._core.definitions.run_request.InstigatorType.SENSOR)
        assert {state.value.lower(): count for state, count in days.items()} == settings.DAYS


def test_a_file_that_nobody_edited_is_renewed_and_keeps_what_was_chosen(home, monkeypatch, capsys):
    ready_home(home, Options(runs=5))
    with_new_settings(monkeypatch)
    ready_home(home)
    content = yaml.safe_load((home.dagster / NAME).read_text())
    assert content["retention"]["sensor"]["purge_after_days"]["success"] == 45
    assert runs_at_once(home) == 5
    assert capsys.readouterr().err == ""


def test_a_file_of_an_earlier_version_is_renewed(home):
    (home.dagster / NAME).write_text(FIRST)
    ready_home(home)
    assert "free_slots_after_run_end_seconds" in (home.dagster / NAME).read_text()


@pytest.mark.parametrize(
    "edit", [lambda text: FIRST.replace(": 2", ": 7"), lambda text: text.replace("runs: 2", "runs: 7")]
)
def test_an_edited_file_is_kept_and_told_of_when_the_settings_have_changed(edit, home, monkeypatch, capsys):
    ready_home(home)
    path = home.dagster / NAME
    path.write_text(edit(path.read_text()))
    with_new_settings(monkeypatch)
    ready_home(home)
    assert runs_at_once(home) == 7
    assert "was edited by hand and stays as it is" in " ".join(capsys.readouterr().err.split())


def test_an_edited_file_is_not_told_of_as_long_as_nothing_else_would_be_written(home, capsys):
    ready_home(home)
    path = home.dagster / NAME
    path.write_text(path.read_text().replace("runs: 2", "runs: 7"))
    ready_home(home)
    assert runs_at_once(home) == 7 and capsys.readouterr().err == ""


def test_a_file_of_ones_own_is_used_as_it_is_and_never_told_of(home, monkeypatch, capsys):
    (home.dagster / NAME).write_text("telemetry: {enabled: false}\n")
    with_new_settings(monkeypatch)
    ready_home(home)
    assert (home.dagster / NAME).read_text() == "telemetry: {enabled: false}\n" and capsys.readouterr().err == ""


def test_records_move_to_postgres_when_the_variable_is_set_and_that_is_said(home, database, monkeypatch, capsys):
    monkeypatch.delenv(VARIABLE)
    ready_home(home)
    monkeypatch.setenv(VARIABLE, database)
    ready_home(home)
    assert "records go to PostgreSQL from now on" in capsys.readouterr().err
    assert yaml.safe_load((home.dagster / NAME).read_text())["storage"] == settings.STORAGE
    ready_home(home)
    assert capsys.readouterr().err == ""


def test_an_address_that_leads_nowhere_leaves_the_settings_as_they_were(home, monkeypatch):
    before = (ready_home(home) / NAME).read_text()
    monkeypatch.setenv(VARIABLE, "postgresql://mbt@127.0.0.1:1/mbt")
    with pytest.raises(InstanceError, match="cannot connect"):
        ready_home(home)
    assert (home.dagster / NAME).read_text() == before


def test_a_forgotten_variable_does_not_begin_a_second_history(home, database, monkeypatch):
    ready_home(home)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(InstanceError, match="in PostgreSQL, and MBT_POSTGRES is not set: set it"):
        ready_home(home)


def test_an_edited_file_without_postgres_is_refused_where_the_variable_is_set(home, database, monkeypatch):
    (home.dagster / NAME).write_text("telemetry: {enabled: false}\n")
    with pytest.raises(InstanceError, match=r"records elsewhere: add `\{storage: \{postgres: "):
        ready_home(home)


def test_a_file_that_is_no_yaml_is_named(home):
    (home.dagster / NAME).write_text("# mine\nconcurrency: [\n")
    with pytest.raises(InstanceError, match=r"dagster\.yaml is no YAML"):
        ready_home(home)
