"""`dagster.yaml`: written by the project, renewed when its settings change, and left alone once somebody edits it.

The first line holds what the file was made with and a digest of the rest, by which an edit shows.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from mbt_assets.instance import InstanceError
from mbt_assets.instance.postgres import VARIABLE

NAME = "dagster.yaml"
MARK = "# mbt "
NOTICE = "# Renewed by mbt when its settings change, as long as nobody edits it. Edit it as you like: it then stays."
FIRST_HEADER = "# Written once; edit it as you like.\n"
FIRST_DIGESTS = ("791e157d55908838", "0355fa1b826e00a3")
"""Of the settings that the files with that header were written with."""
STORAGE = {"postgres": {"postgres_url": {"env": VARIABLE}}}
DAYS = {"skipped": 7, "started": 30, "success": 30, "failure": 90}


@dataclass(frozen=True)
class Options:
    """What a user chooses of the settings.

    Attributes:
        runs: runs at once.
    """

    runs: int = 2


@dataclass(frozen=True)
class Written:
    """What lies in a DAGSTER_HOME.

    Attributes:
        options: what the file was made with.
        edited: somebody has changed it since.
        current: digest of the settings that it was made of.
        postgres: it names a PostgreSQL database.
    """

    options: Options
    edited: bool
    current: str
    postgres: bool


def settings(options: Options, postgres: bool) -> dict[str, Any]:
    """What `dagster.yaml` says.

    Args:
        options: the user's choice.
        postgres: keep records in the database that `MBT_POSTGRES` names rather than in SQLite. The variable alone is
            written down, never its value: it holds a password.
    """
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        **({"storage": STORAGE} if postgres else {}),
        "concurrency": {
            "runs": {"max_concurrent_runs": options.runs},
            # Counted over runs that are under way: a killed run has its place until it is known to be lost, no longer.
            "pools": {"granularity": "run"},
        },
        "run_monitoring": {
            "enabled": True,
            # The last resort, for runs that nothing else can tell to be lost; see `jobs.lost_runs`.
            "max_runtime_seconds": 2 * 86_400,
            # Slots are taken by steps where somebody sets the granularity to `op`; a killed run cannot give its back.
            "free_slots_after_run_end_seconds": 60,
        },
        "retention": {kind: {"purge_after_days": {**DAYS}} for kind in ("sensor", "schedule", "auto_materialize")},
    }


def ready_settings(folder: Path, postgres: bool, options: Options | None = None) -> str:
    """Write `dagster.yaml` where it is not there or nobody has edited it.

    Args:
        folder: DAGSTER_HOME.
        postgres: `MBT_POSTGRES` is set.
        options: the user's choice; that of the file which is there when None.

    Returns:
        What the user ought to know; empty when all is as it was.

    Raises:
        InstanceError: the file and `MBT_POSTGRES` disagree about where the records lie.
    """
    path = folder / NAME
    there = written(path)
    if there is None:
        _write(path, options or Options(), postgres)
        return ""
    if there.postgres and not postgres:
        raise InstanceError(
            f"{path} keeps Dagster's records in PostgreSQL, and {VARIABLE} is not set: set it, or delete that file to "
            "begin anew with SQLite"
        )
    chosen = options or there.options
    today = _digest(_body(chosen, postgres))
    if not there.edited:
        if today != there.current or not path.read_text().startswith(MARK):
            _write(path, chosen, postgres)
        moved = postgres and not there.postgres
        return f"records go to PostgreSQL from now on; those up to now stay in {folder / 'history'}" if moved else ""
    if postgres and not there.postgres:
        raise InstanceError(
            f"{VARIABLE} is set, and {path}, which was edited by hand, keeps Dagster's records elsewhere: add "
            f"`{yaml.safe_dump({'storage': STORAGE}, default_flow_style=True).strip()}` to it, or delete it"
        )
    if today == there.current:
        return ""
    return f"{path} was edited by hand and stays as it is; delete it to get today's settings"


def written(path: Path) -> Written | None:
    """What lies there; None for no file.

    Raises:
        InstanceError: it is no YAML.
    """
    if not path.is_file():
        return None
    text = path.read_text()
    head, _, rest = text.partition("\n")
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InstanceError(f"{path} is no YAML ({error}): mend it, or delete it to have it written anew") from error
    postgres = "postgres" in (content.get("storage") or {})
    if f"{head}\n" == FIRST_HEADER:
        return Written(Options(), _digest(rest) not in FIRST_DIGESTS, FIRST_DIGESTS[0], postgres)
    try:
        made = json.loads(head.removeprefix(MARK))
        return Written(Options(**made["options"]), _digest(rest) != made["digest"], made["digest"], postgres)
    except (json.JSONDecodeError, KeyError, TypeError):
        # Somebody's own: nothing is said about it again and again.
        return Written(Options(), True, _digest(_body(Options(), postgres)), postgres)


def _write(path: Path, options: Options, postgres: bool) -> None:
    body = _body(options, postgres)
    head = MARK + json.dumps({"options": asdict(options), "digest": _digest(body)}, sort_keys=True)
    # Other processes read it at any time.
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    temporary.write_text(f"{head}\n{body}")
    temporary.replace(path)


def _body(options: Options, postgres: bool) -> str:
    return f"{NOTICE}\n{yaml.safe_dump(settings(options, postgres), sort_keys=False)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
