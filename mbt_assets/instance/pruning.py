"""Retention: which runs, with their events and logs, have served their time, and letting them go.

A run that made what lies in the lake now stays however old it is: Dagster shows a partition as missing once the event
of its materialization is gone.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from sqlalchemy import select, text

from partitions.grid import Grid, Node
from resources.artifacts import Artifacts
from resources.home import Home
from resources.lake import LakeError
from resources.object_store import StoreError
from resources.server_files import kept_servers

BATCH = 500
BACKFILL_TAG = "dagster/backfill"
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
VACUUM_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Plan:
    """What retention lets go of.

    Attributes:
        runs: ids of the runs that go.
        kept: how many runs are as old and stay, by reason.
        logs: files of payloads and servers that go.
    """

    runs: list[str]
    kept: Counter[str] = field(default_factory=Counter)
    logs: list[Path] = field(default_factory=list)


def plan(
    instance: dg.DagsterInstance, artifacts: Artifacts, grid: Grid, home: Home, age: timedelta, keep_last: int
) -> Plan:
    """Find what may go; changes nothing.

    Args:
        instance: Dagster's.
        artifacts: finds what the lake holds.
        grid: the study's partitions.
        home: holds the logs of payloads.
        age: runs that ended more recently stay.
        keep_last: so many of the newest runs stay, whatever their age.
    """
    before = datetime.now(UTC) - age
    ids = list(_ended_before(instance, before))
    if not ids:
        return Plan([], logs=old_logs(home, before))
    newest = {run.run_id for run in instance.get_runs(limit=keep_last)} if keep_last else set()
    busy = _runs_of_open_backfills(instance)
    made = makers_in_dagster(instance) | makers_in_lake(artifacts, grid)
    going: list[str] = []
    kept: Counter[str] = Counter()
    for run_id in ids:
        if run_id in made:
            kept["made what is there now"] += 1
        elif run_id in busy:
            kept["of a backfill under way"] += 1
        elif run_id in newest:
            kept[f"of the {keep_last} newest"] += 1
        else:
            going.append(run_id)
    return Plan(going, kept, old_logs(home, before))


def _ended_before(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    """Ids of ended runs that nothing was written to since, newest first."""
    cursor = None
    wanted = dg.RunsFilter(statuses=FINISHED, updated_before=before)
    while page := instance.get_run_records(wanted, limit=BATCH, cursor=cursor):
        yield from (record.dagster_run.run_id for record in page)
        cursor = page[-1].dagster_run.run_id


def _runs_of_open_backfills(instance: dg.DagsterInstance) -> set[str]:
    """Ids of the runs that a backfill under way counts by."""
    found: set[str] = set()
    for backfill in instance.get_backfills():
        if backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
            found |= set(instance.get_run_ids(dg.RunsFilter(tags={BACKFILL_TAG: backfill.backfill_id})))
    return found


def makers_in_dagster(instance: dg.DagsterInstance) -> set[str]:
    """Ids of the runs that hold the latest materialization of a partition, or of an asset without partitions."""
    keys = instance.get_asset_keys()
    events: set[int] = set()
    for key in keys:
        of_partitions = instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        events |= set(of_partitions.values())
    found: set[str] = set()
    table = SqlEventLogStorageTable.c
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        ids = sorted(events)
        for start in range(0, len(ids), BATCH):
            chosen = select(table.run_id).where(table.id.in_(ids[start : start + BATCH]))
            found |= set(connection.execute(chosen).scalars())
    for record in instance.get_asset_records(keys) if keys else ():
        latest = record.asset_entry.last_materialization
        found |= {latest.run_id} if latest else set()
    return found


def makers_in_lake(artifacts: Artifacts, grid: Grid) -> set[str]:
    """Ids of the runs that wrote what lies in the lake, as it says itself."""
    with ThreadPoolExecutor(8) as pool:
        return {run for run in pool.map(lambda node: _maker(artifacts, node), grid.nodes) if run}


def _maker(artifacts: Artifacts, node: Node) -> str:
    try:
        stored = artifacts.stored(node)
    except LakeError as error:
        # A store that does not answer now would take its makers along.
        if isinstance(error.__cause__, StoreError):
            raise
        # What is damaged has no maker that could be told.
        return ""
    return stored.provenance.run_id if stored else ""


def old_logs(home: Home, before: datetime) -> list[Path]:
    """Logs of payloads and servers that nothing was written to since; not those of servers that run."""
    running = {Path(record.log) for _, record in kept_servers(home.servers)}
    files = [path for path in home.logs.rglob("*") if path.is_file() and path not in running]
    return sorted(path for path in files if path.stat().st_mtime < before.timestamp())


def carry_out(instance: dg.DagsterInstance, planned: Plan, home: Home) -> None:
    """Let go of what is planned. Interrupted, it can be carried out again."""
    for run_id in planned.runs:
        _forget(instance, run_id)
    for path in planned.logs:
        path.unlink(missing_ok=True)
    for folder in sorted((path for path in home.logs.rglob("*") if path.is_dir()), reverse=True):
        # Only those that are empty by now go.
        with contextlib.suppress(OSError):
            folder.rmdir()


def _forget(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    # Events first: those of a run that is not listed any more would never be found again.
    events = instance.event_log_storage
    events.delete_events(run_id)
    instance.run_storage.delete_run(run_id)
    if hasattr(events, "path_for_shard"):
        # SQLite has a file per run, which stays behind empty.
        for suffix in ("", "-wal", "-shm"):
            Path(events.path_for_shard(run_id) + suffix).unlink(missing_ok=True)
    storage = Path(instance.storage_directory()) / run_id
    if storage.is_dir():
        shutil.rmtree(storage)


def vacuum(instance: dg.DagsterInstance, home: Path) -> str:
    """Give the space of what was deleted back.

    Args:
        instance: Dagster's.
        home: DAGSTER_HOME, where SQLite's files lie.

    Returns:
        What could not be done now, and why; empty otherwise.
    """
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        if connection.dialect.name == "postgresql":
            # Its own housekeeping would do it sooner or later; this neither locks readers nor writers out.
            connection.execute(text("VACUUM (ANALYZE)"))
            return ""
    files = [home / "history" / "runs.db", home / "history" / "runs" / "index.db", *home.glob("schedules/*.db")]
    return _vacuum_sqlite(files)


def _vacuum_sqlite(files: Sequence[Path]) -> str:
    for path in files:
        if not path.is_file():
            continue
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=VACUUM_TIMEOUT_S)) as connection:
                connection.execute("VACUUM")
        except sqlite3.OperationalError as error:
            return f"{path} keeps its size for now ({error}): run this again when no run is under way"
    return ""
