"""`mbt fetch`: the models and data sets of a study into the Hugging Face Hub's cache, before anything is run.

What belongs here is the command line alone: options, tables, exit codes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from mbt_assets.cli.common import (
    FAILED,
    INTERRUPTED,
    JsonOption,
    StudyOption,
    err,
    out,
    print_json,
    say_interrupted,
    working,
)
from mbt_assets.cli.transfer import Transfer
from resources.interrupts import end_as_with_ctrl_c

if TYPE_CHECKING:
    from threading import Event

    from mbt_assets.fetching import Fetcher, Item
    from mbt_assets.hub_needs import Repository

STOP_TIMEOUT_S = 10.0
LISTEN_S = 0.2
SHORT_COMMIT = 8
COLOURS = {"to fetch": "yellow", "failed": "red", "fetched": "green", "cached": "green"}
T = TypeVar("T")


def fetch(
    study: StudyOption = None,
    skip_models: Annotated[bool, typer.Option("--skip-models", help="Fetch no model.")] = False,
    skip_datasets: Annotated[bool, typer.Option("--skip-datasets", help="Fetch no data set.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Fetch this alone: a Hub id, or the study's name for it. May be given several times."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be fetched, and fetch nothing.")] = False,
    attempts: Annotated[int, typer.Option(min=1, help="Tries of each repository while the Hub fails.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Fetch what a study needs from the Hugging Face Hub, so that its runs find it in the cache.

    Files that are there are not fetched again. Stopped or killed, the same command goes on with the files that are
    missing. Exit code 0: all is there; 1: something could not be fetched, the rest is there; 2: something in the
    command or the study is wrong, or the disk is too small; 130: interrupted.
    """
    from mbt_assets.fetching import Fetcher
    from mbt_assets.hub_needs import FetchError, chosen, needed
    from partitions.study_file import load_study

    _check_token()
    plan = load_study(study)
    skipped = {kind for kind, skip in (("model", skip_models), ("dataset", skip_datasets)) if skip}
    repositories = chosen([one for one in needed(plan) if one.kind not in skipped], only or [])
    end_as_with_ctrl_c()
    fetcher = Fetcher(attempts, _say)
    with working("asking the Hub"):
        items = looked_at = _stoppable(lambda: fetcher.look(repositories), fetcher.stop)
    if not as_json:
        out.print(_table(plan.name, items))
    _warn_of_left_overs(repositories)
    too_small = _lack_of_space(items)
    if not (dry_run or too_small):
        items = _stoppable(lambda: [_fetched(fetcher, item) for item in looked_at], fetcher.stop)
    _tell(plan.name, items, as_json)
    if too_small:
        raise FetchError(too_small)
    if any(item.state == "failed" for item in items):
        raise typer.Exit(FAILED)


def _check_token() -> None:
    """Refuse a token that no header can hold before it gets into the errors of those that try."""
    from huggingface_hub import get_token

    from mbt_assets.hub_needs import FetchError

    token = get_token()
    if token and not (token.isascii() and token.isprintable()):
        raise FetchError("HF_TOKEN, or the token of `hf auth login`, holds characters that no token has: set it anew")


def _stoppable(work: Callable[[], T], stop: Event) -> T:
    """The result of work in a thread of its own, so that an interrupt is heard whatever the work waits for."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            # In steps: polars has system calls restarted after a Ctrl-C, so that a wait without end would not hear it.
            while wait([future], LISTEN_S).not_done:
                pass
            return future.result()
        except KeyboardInterrupt:
            stop.set()
            say_interrupted()
            if wait([future], STOP_TIMEOUT_S).not_done:
                # It hangs in a dead connection, for which leaving in the usual way would wait.
                os._exit(INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from None


def _fetched(fetcher: Fetcher, item: Item) -> Item:
    if item.state != "to fetch":
        return item
    with Transfer(item.repository.repo, item.to_fetch) as transfer:
        done = fetcher.fetch(item, transfer.add)
    if done.state == "fetched":
        _say(f"{done.repository.repo}: fetched")
    return done


def _say(line: str) -> None:
    err.print(line, markup=False, highlight=False, soft_wrap=True)


def _lack_of_space(items: Sequence[Item]) -> str | None:
    """Why what is to be fetched does not fit on the disk, and what to do; None where it fits."""
    from mbt_assets.hub_cache import cache_folder, free_bytes

    total, free = sum(item.to_fetch for item in items if item.state == "to fetch"), free_bytes()
    if total <= free:
        return None
    return (
        f"{decimal(total)} are to be fetched and {decimal(free)} are free where the cache lies ({cache_folder()}): "
        "nothing was fetched. Free some space, set HF_HOME to a folder on a larger disk (for all that use the models "
        "too), or fetch a part with --only"
    )


def _warn_of_left_overs(repositories: Sequence[Repository]) -> None:
    from mbt_assets.hub_cache import left_overs

    parts = left_overs(repositories)
    if parts:
        folders = " ".join(f"{folder}/*.incomplete" for folder in sorted({str(part.parent) for part in parts}))
        size = decimal(sum(part.stat().st_size for part in parts))
        _say(f"{size} are parts of files that killed downloads left; unless a download is running, remove {folders}")


def _table(study: str, items: Sequence[Item]) -> Table:
    from mbt_assets.hub_cache import cache_folder, free_bytes

    there = f"cache {cache_folder()}, {decimal(free_bytes())} free"
    table = Table(title=f"study {escape(study)}: {len(items)} repositories", caption=escape(there), show_footer=True)
    listed = [item for item in items if item.listing]
    total, missing = sum(item.size for item in listed), sum(item.to_fetch for item in listed)
    table.add_column("repository", "total", overflow="fold")
    for column in ("kind", "for", "revision"):
        table.add_column(column, overflow="fold")
    for column, sum_ in (("size", total), ("already cached", total - missing), ("to fetch", missing)):
        table.add_column(column, decimal(sum_), justify="right")
    table.add_column("state")
    for item in items:
        one = item.repository
        sizes = (item.size, item.size - item.to_fetch, item.to_fetch) if item.listing else ()
        shown = [decimal(size) for size in sizes] or ["·"] * 3
        colour = COLOURS.get(item.state, "dim")
        state = "already cached" if item.state == "cached" else item.state
        told = (escape(one.repo), one.kind, escape(", ".join(one.names)), escape(_revision(item)))
        table.add_row(*told, *shown, f"[{colour}]{state}[/]")
    return table


def _revision(item: Item) -> str:
    given = item.repository.revision
    commit = item.listing.commit[:SHORT_COMMIT] if item.listing else "·"
    return commit if item.repository.pinned else f"{given or 'newest'} ({commit})"


def _tell(study: str, items: Sequence[Item], as_json: bool) -> None:
    if as_json:
        from mbt_assets.hub_cache import cache_folder, free_bytes

        rows = [_row(item) for item in items]
        told = {"study": study, "cache": str(cache_folder()), "free_bytes": free_bytes(), "repositories": rows}
        print_json(told)
    counts = Counter("already cached" if item.state == "cached" else item.state for item in items)
    for item in items:
        if item.state == "failed":
            err.print(f"[red]failed:[/] {escape(item.repository.repo)}: {escape(item.reason or '')}", soft_wrap=True)
    _say(", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing is needed from the Hub")


def _row(item: Item) -> dict[str, Any]:
    one = item.repository
    return {
        "repo": one.repo,
        "kind": one.kind,
        "names": list(one.names),
        "revision": one.revision,
        "commit": item.listing.commit if item.listing else None,
        "state": item.state,
        "bytes": item.size if item.listing else None,
        "to_fetch_bytes": item.to_fetch if item.listing else None,
        "path": str(item.path) if item.path else None,
        "reason": item.reason,
    }
