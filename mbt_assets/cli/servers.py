"""`mbt servers`: the model servers that run for a study, and stopping them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mbt_assets.cli.common import FAILED, JsonOption, StudyOption, err, out, print_json, with_seed, working

if TYPE_CHECKING:
    from resources.home import Home
    from resources.server_files import Record, ServerFiles

STOP_TIMEOUT_S = 45.0


def servers(
    study: StudyOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the run with this seed.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop all of them, used or not.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the model servers that run for the study: where they answer, who uses them, and their GPUs.

    A server is shared by all processes of a study and stops by itself some time after its last use.
    """
    from partitions.study_file import load_study
    from resources.home import Home
    from resources.server_files import kept_servers

    home = Home.from_environment(with_seed(load_study(study), seed).name)
    found = kept_servers(home.servers)
    if stop:
        with working("stopping the model servers"):
            _stop(home)
    elif as_json:
        print_json([_row(files, record) for files, record in found])
    else:
        out.print(_table(home, [_row(files, record) for files, record in found]))


def _row(files: ServerFiles, record: Record) -> dict[str, Any]:
    idle = None if record.idle_since is None else round(max(0.0, time.time() - record.idle_since), 1)
    return {
        "name": record.name,
        "state": record.state,
        "url": record.url,
        "pid": record.pid or None,
        "leases": files.leases(),
        "idle_seconds": idle,
        "idle_timeout_s": record.idle_timeout_s,
        "gpus": list(record.gpus),
        "log": record.log,
        "digest": record.digest,
    }


def _table(home: Home, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"study {escape(home.study)}: {len(rows)} model servers")
    for column, side in (("name", "left"), ("state", "left"), ("url", "left"), ("pid", "right"), ("leases", "right")):
        table.add_column(column, justify=side, overflow="fold")  # type: ignore[arg-type]
    for column in ("idle seconds", "gpus"):
        table.add_column(column, justify="right")
    for row in rows:
        idle = "·" if row["idle_seconds"] is None else f"{row['idle_seconds']:.0f} of {row['idle_timeout_s']:.0f}"
        shown = (escape(row["name"]), row["state"], row["url"], str(row["pid"] or "·"), str(row["leases"]))
        table.add_row(*shown, idle, ", ".join(row["gpus"]) or "·")
    return table


def _stop(home: Home) -> None:
    from resources.leases import stop
    from resources.server_files import kept_servers

    found: dict[str, ServerFiles] = {}
    deadline = time.monotonic() + STOP_TIMEOUT_S
    # Those that only wait for GPUs are no servers yet: there is nothing to stop.
    while running := [(files, record) for files, record in kept_servers(home.servers) if record.keeper]:
        for files, record in running:
            if record.boot not in found:
                found[record.boot] = files
                stop(files, record)
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    err.print(f"{len(found) - len(running)} model servers stopped")
    for _, record in running:
        err.print(f"[red]still there:[/] {escape(record.name)} ({record.state}); see {escape(record.log)}")
    if running:
        raise typer.Exit(FAILED)
