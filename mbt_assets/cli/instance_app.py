"""`mbt instance`: sets Dagster's instance up, upgrades it, keeps it small, and says how large it is."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mbt_assets.cli.common import JsonOption, StudyOption, err, out, platform_of, print_json, working

if TYPE_CHECKING:
    import dagster as dg

    from mbt_assets.definitions import Platform

app = typer.Typer(no_args_is_help=True, help="Dagster's instance: set-up, upgrade, retention, sizes.")
UNITS = {"h": "hours", "d": "days", "w": "weeks"}
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--dagster-home",
        help="Work on this DAGSTER_HOME as it is, such as the one that a Helm chart mounts; its dagster.yaml stays.",
    ),
]


@contextlib.contextmanager
def _opened(platform: Platform, folder: Path | None) -> Iterator[dg.DagsterInstance]:
    """The study's instance, or that of a folder that somebody else has set up."""
    import dagster as dg

    from mbt_assets.cli.instance import open_instance
    from mbt_assets.instance import InstanceError

    if folder is None:
        with open_instance(platform.home) as instance:
            yield instance
        return
    if not (folder / "dagster.yaml").is_file():
        raise InstanceError(f"{folder} holds no dagster.yaml: give the DAGSTER_HOME of an instance")
    os.environ["DAGSTER_HOME"] = str(folder.absolute())
    with dg.DagsterInstance.get() as instance:
        yield instance


@app.command()
def init(
    study: StudyOption = None,
    pool: Annotated[list[str] | None, typer.Option(help="Runs at once in a pool, as gpu=4; repeatable.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="Runs at once in all.")] = None,
    folder: FolderOption = None,
) -> None:
    """Write DAGSTER_HOME and its settings, make the database's tables, and give every pool a limit.

    Can be repeated: limits that were set stay unless they are given.
    """
    from mbt_assets.cli.instance import ready_home
    from mbt_assets.instance.pools import default_limits, set_pools
    from mbt_assets.instance.settings import NAME, Options, written

    chosen = dict(map(_limit, pool or []))
    platform = platform_of(study)
    if folder is None:
        ready_home(platform.home, Options(runs) if runs else None)
    with _opened(platform, folder) as instance:
        there = written(Path(instance.root_directory) / NAME)
        at_once = there.options.runs if there else Options().runs
        limits = set_pools(instance, chosen, default_limits(at_once))
        table = Table(title=f"study {platform.study.name}: {instance.root_directory}")
        table.add_column("pool")
        table.add_column("runs at once", justify="right")
        for name, limit in limits.items():
            table.add_row(escape(name), str(limit))
        table.add_row("all runs", str(at_once))
    out.print(table)


def _limit(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.lstrip("-").isdecimal():
        raise typer.BadParameter(f"{text!r}: write the pool and its limit, as gpu=4", param_hint="--pool")
    return name, int(number)


@app.command()
def migrate(
    study: StudyOption = None,
    check: Annotated[bool, typer.Option("--check", help="Only say which revision it is at.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even if a daemon or runs are at work on it.")] = False,
    folder: FolderOption = None,
) -> None:
    """Bring the schema of Dagster's database to that of the Dagster installed here. Back the database up first."""
    from mbt_assets.instance.schema import migrate as upgrade
    from mbt_assets.instance.schema import revisions

    with _opened(platform_of(study), folder) as instance:
        for revision in revisions(instance):
            state = "at head" if revision.at_head else f"head is {revision.head}"
            out.print(f"{revision.part}: {revision.current} ({state})", highlight=False)
        if check:
            return
        done = upgrade(instance, lambda line: err.print(escape(line), highlight=False), force=force)
        out.print("migrated to head" if done else "nothing to migrate")


@app.command()
def prune(
    study: StudyOption = None,
    older_than: Annotated[str, typer.Option(help="Age of what goes: 90d, 12w, 36h.")] = "90d",
    keep_last: Annotated[int, typer.Option(min=0, help="So many of the newest runs stay, whatever their age.")] = 100,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; otherwise this only says what would go.")] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Delete old runs with their events and logs, and old logs of payloads.

    A run stays, however old, while it is under way, while its backfill is, and while it is the one that made what a
    partition holds now.
    """
    from mbt_assets.cli.common import grid_now
    from mbt_assets.instance import pruning

    age = _age(older_than)
    platform = platform_of(study)
    with _opened(platform, folder) as instance:
        with working("looking for old runs"):
            planned = pruning.plan(instance, platform.artifacts, grid_now(platform), platform.home, age, keep_last)
        problem = ""
        if yes:
            with working("deleting old runs"):
                pruning.carry_out(instance, planned, platform.home)
                problem = pruning.vacuum(instance, Path(instance.root_directory))
    if as_json:
        told = {"deleted": yes, "runs": planned.runs, "kept": planned.kept, "logs": [str(log) for log in planned.logs]}
        print_json(told)
        return
    verb = "deleted" if yes else "would go"
    out.print(f"{len(planned.runs)} runs and {len(planned.logs)} logs of payloads {verb}", highlight=False)
    for reason, count in planned.kept.items():
        out.print(f"{count} as old stay: {reason}", highlight=False)
    if not yes:
        out.print("nothing was deleted; --yes does it")
    if problem:
        err.print(f"[yellow]note:[/] {escape(problem)}", highlight=False, soft_wrap=True)


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"([0-9]+)([hdw])", text)
    if not found:
        raise typer.BadParameter(f"{text!r}: write a number and h, d or w, as 90d", param_hint="--older-than")
    try:
        age = timedelta(**{UNITS[found[2]]: int(found[1])})
        datetime.now(UTC) - age
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is before the year 1", param_hint="--older-than") from None
    return age


@app.command()
def info(study: StudyOption = None, as_json: JsonOption = False, folder: FolderOption = None) -> None:
    """Show how many runs and events there are, and how large the database and the logs are."""
    from mbt_assets.instance.sizes import ago, sizes

    platform = platform_of(study)
    with _opened(platform, folder) as instance, working("measuring"):
        found = sizes(instance, platform.home)
    if as_json:
        print_json(asdict(found))
        return
    table = Table(title=f"study {platform.study.name}: {escape(found.records)}", show_header=False)
    table.add_column("what")
    table.add_column("how much", justify="right")
    table.add_row("runs", f"{found.runs}")
    table.add_row("oldest run", ago(found.oldest))
    table.add_row("events", f"{found.events}")
    table.add_row("database", _megabytes(found.database_bytes))
    for name, size in found.largest.items():
        table.add_row(f"  {escape(name)}", _megabytes(size))
    table.add_row("logs of steps", _megabytes(found.compute_log_bytes))
    table.add_row("logs of payloads and servers", _megabytes(found.payload_log_bytes))
    out.print(table)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
