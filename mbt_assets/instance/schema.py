"""The schema of Dagster's database: which revision it is at, and bringing it to that of the Dagster installed here."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION

from mbt_assets.instance import InstanceError

HEARTBEAT_S = 60.0
"""A daemon that was heard of so long ago or less is taken to be running."""
UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass(frozen=True)
class Revision:
    """Where one part of the database stands.

    Attributes:
        part: runs, events or schedules.
        current: its revision; None for tables that were never stamped with one.
        head: the revision that the installed Dagster works with.
    """

    part: str
    current: str | None
    head: str | None

    @property
    def at_head(self) -> bool:
        """Whether there is nothing to migrate."""
        return self.current == self.head


def revisions(instance: dg.DagsterInstance) -> list[Revision]:
    """The revision of each part of an instance's database."""
    stores = {
        "runs": instance.run_storage,
        "events": instance.event_log_storage,
        "schedules": instance.schedule_storage,
    }
    found = []
    for part, store in stores.items():
        current, head = store.alembic_version()  # type: ignore[union-attr, misc]
        found.append(Revision(part, current, head if isinstance(head, str) else None))
    return found


def newer_than_installed(found: list[Revision]) -> bool:
    """Whether a newer Dagster has migrated the database: the one installed here does not know its revision."""
    package, _, folder = ALEMBIC_SCRIPTS_LOCATION.partition(":")
    script = ScriptDirectory(str(_package_folder(package) / folder))
    for revision in found:
        try:
            if revision.current:
                script.get_revision(revision.current)
        except CommandError:
            return True
    return False


def migrate(instance: dg.DagsterInstance, tell: Callable[[str], None], *, force: bool = False) -> bool:
    """Bring the schema to that of the Dagster installed here.

    Args:
        instance: Dagster's; its database ought to have been backed up.
        tell: shown each step.
        force: migrate although somebody seems to be at work.

    Returns:
        Whether there was anything to do.

    Raises:
        InstanceError: a daemon or runs are at work on it, or it is of a newer Dagster.
    """
    found = revisions(instance)
    if newer_than_installed(found):
        raise InstanceError(
            f"the database was migrated by a newer Dagster than {dg.__version__}: upgrade this installation"
        )
    if all(revision.at_head for revision in found):
        return False
    busy = _at_work(instance)
    if busy and not force:
        raise InstanceError(f"{busy}: stop that and back the database up first (--force migrates all the same)")
    instance.upgrade(tell)
    return True


def _at_work(instance: dg.DagsterInstance) -> str:
    now = time.time()
    heard = [beat for beat in instance.get_daemon_heartbeats().values() if now - beat.timestamp < HEARTBEAT_S]
    if heard:
        return "a Dagster daemon is running on this database"
    runs = instance.get_runs_count(dg.RunsFilter(statuses=UNDER_WAY))
    return f"{runs} runs are under way" if runs else ""


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent
