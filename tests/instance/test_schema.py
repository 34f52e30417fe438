"""The schema of Dagster's database after an upgrade of Dagster: told apart, migrated, and left alone while in use."""

import time

import dagster as dg
import pytest
from dagster._core.storage.sql import safe_commit
from dagster._daemon.types import DaemonHeartbeat
from sqlalchemy import inspect, text

from mbt_assets.cli.instance import open_instance
from mbt_assets.instance import InstanceError
from mbt_assets.instance.pools import pool_limits
from mbt_assets.instance.schema import migrate, newer_than_installed, revisions
from resources.home import Home

OLDER = "6b7fb194ff9c"
"""The revision before pools could have a limit by default."""


@pytest.fixture
def instance(records, tmp_path):
    with open_instance(Home(tmp_path, "small")) as instance:
        yield instance


def connections(instance):
    return (
        instance.run_storage.connect,
        instance.event_log_storage.index_connection,
        instance.schedule_storage.connect,
    )


def stamp(instance, revision):
    """Say that the tables are of another revision."""
    for connect in connections(instance):
        with connect() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
            safe_commit(connection)


def columns(instance):
    with instance.event_log_storage.index_connection() as connection:
        return {column["name"] for column in inspect(connection).get_columns("concurrency_limits")}


@pytest.fixture
def older(instance):
    """The instance as an older Dagster left it: with a run, and a limit in the table of that time."""

    @dg.asset
    def thing():
        return None

    assert dg.materialize([thing], instance=instance).success
    instance.event_log_storage.set_concurrency_slots("gpu", 3)
    with instance.event_log_storage.index_connection() as connection:
        connection.execute(text("ALTER TABLE concurrency_limits DROP COLUMN using_default_limit"))
        safe_commit(connection)
    stamp(instance, OLDER)
    return instance


def test_a_new_database_is_at_head_and_nothing_is_done_to_it(instance):
    assert [(revision.part, revision.at_head) for revision in revisions(instance)] == [
        ("runs", True),
        ("events", True),
        ("schedules", True),
    ]
    assert not migrate(instance, pytest.fail)


def test_an_older_schema_is_brought_to_head_with_all_that_is_in_it(older):
    assert not any(revision.at_head for revision in revisions(older))
    assert "using_default_limit" not in columns(older)
    told = []
    assert migrate(older, told.append)
    assert "Updating run storage..." in told
    assert all(revision.at_head for revision in revisions(older))
    with dg.DagsterInstance.get() as instance:
        assert "using_default_limit" in columns(instance)
        assert pool_limits(instance) == {"gpu": 3}
        assert instance.get_runs_count() == 1
        assert instance.get_latest_materialization_event(dg.AssetKey("thing")) is not None
        assert not migrate(instance, told.append)


def test_nothing_is_migrated_under_a_daemon_that_runs(older):
    beat = DaemonHeartbeat(time.time(), "SENSOR", "daemon", [])
    older.run_storage.add_daemon_heartbeat(beat)
    with pytest.raises(InstanceError, match="a Dagster daemon is running on this database: stop that"):
        migrate(older, print)
    assert not any(revision.at_head for revision in revisions(older))
    older.run_storage.add_daemon_heartbeat(beat._replace(timestamp=time.time() - 600))
    assert migrate(older, lambda line: None)


def test_nothing_is_migrated_under_runs_unless_one_insists(older):
    older.add_run(dg.DagsterRun("score_cell", status=dg.DagsterRunStatus.STARTED))
    with pytest.raises(InstanceError, match="1 runs are under way"):
        migrate(older, print)
    assert migrate(older, lambda line: None, force=True)


def test_a_database_of_a_newer_dagster_is_refused(instance):
    stamp(instance, "ffffffffffff")
    assert newer_than_installed(revisions(instance))
    with pytest.raises(InstanceError, match=r"was migrated by a newer Dagster than .*: upgrade this installation"):
        migrate(instance, print)
