"""How much an instance holds, and where the bytes are."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from sqlalchemy import text

from mbt_assets.instance.postgres import postgres_url, shown
from resources.home import Home

LARGEST = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace ORDER BY 2 DESC LIMIT 5
"""


@dataclass(frozen=True)
class Sizes:
    """What an instance holds.

    Attributes:
        records: where it keeps its records.
        runs: how many runs it knows.
        oldest: when the oldest of them was made, ISO 8601 in UTC; empty without runs.
        events: how many events.
        database_bytes: of the database, its indices included.
        largest: bytes of its largest tables (PostgreSQL) or files (SQLite).
        compute_log_bytes: of what steps print.
        payload_log_bytes: of what payloads and servers print.
    """

    records: str
    runs: int
    oldest: str
    events: int
    database_bytes: int
    largest: dict[str, int]
    compute_log_bytes: int
    payload_log_bytes: int


def sizes(instance: dg.DagsterInstance, home: Home) -> Sizes:
    """Measure an instance.

    Args:
        instance: Dagster's.
        home: of the study.
    """
    folder = Path(instance.root_directory)
    url = postgres_url()
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        if connection.dialect.name == "postgresql":
            records = shown(url) if url else "PostgreSQL"
            events = int(connection.execute(text("SELECT count(*) FROM event_logs")).scalar_one())
            total = int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
            largest = {str(name): int(size) for name, size in connection.execute(text(LARGEST))}
        else:
            records = f"SQLite in {folder}"
            files = [*folder.glob("history/**/*.db*"), *folder.glob("schedules/*.db*")]
            by_file = {str(path.relative_to(folder)): path.stat().st_size for path in files}
            events = sum(map(_events, folder.glob("history/runs/*.db")))
            total = sum(by_file.values())
            largest = dict(sorted(by_file.items(), key=lambda item: -item[1])[:5])
    oldest = instance.get_run_records(limit=1, ascending=True)
    return Sizes(
        records,
        instance.get_runs_count(),
        oldest[0].create_timestamp.replace(tzinfo=UTC).isoformat(timespec="seconds") if oldest else "",
        events,
        total,
        largest,
        _bytes(Path(instance.storage_directory())),
        _bytes(home.logs),
    )


def _events(path: Path) -> int:
    # What the index holds stands in the file of its run too.
    if path.name == "index.db":
        return 0
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM event_logs").fetchone()[0])
    return 0


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def ago(moment: str) -> str:
    """How long ago something was, in days."""
    return f"{(datetime.now(UTC) - datetime.fromisoformat(moment)).days} days" if moment else "·"
