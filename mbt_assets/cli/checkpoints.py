"""`mbt checkpoints`: the registry next to what lies on the disk, and throwing away what nobody needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mbt_assets.cli.common import FAILED, JsonOption, StudyOption, err, out, platform_of, print_json, watched

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform

COLOURS = {"whole": "green", "changed": "yellow", "unregistered": "yellow", "broken": "red", "missing": "dim"}
MEGABYTE = 1024 * 1024


def checkpoints(
    study: StudyOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the run with this seed.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every byte again, whatever the files' sizes and times say.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Remove trained checkpoints but the last limits.keep_checkpoints of each variant and those that a "
            "score or a registry row refers to. Training does so by itself.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show each variant's registered checkpoint: whether its files are whole and still those that were registered.

    Ends with status 1 if one is broken.
    """
    platform = platform_of(study, seed)
    if prune:
        _prune(platform)
    if verify and platform.home.digests.is_dir():
        for note in platform.home.digests.glob("*.json"):
            note.unlink()
    found = (_row(platform, slug) for slug in platform.axes.grid.variants)
    rows = list(watched(found, "looking at the files of each checkpoint"))
    if as_json:
        print_json(rows)
    else:
        out.print(_table(platform, rows))
    if any(row["state"] == "broken" for row in rows):
        raise typer.Exit(FAILED)


def _row(platform: Platform, slug: str) -> dict[str, Any]:
    from resources.checkpoints import CheckpointError
    from resources.lake import LakeError

    row: dict[str, Any] = {"variant": slug, "state": "missing", "why": "", "kind": None, "uri": None, "digest": None}
    try:
        row |= _registered(platform, slug)
    except (CheckpointError, LakeError) as error:
        row |= {"state": "broken", "why": str(error)}
    if row["state"] == "missing":
        row |= _unregistered(platform, slug)
    return row | {"megabytes": _megabytes(row["uri"])}


def _registered(platform: Platform, slug: str) -> dict[str, Any]:
    """What the registry says of a variant, and whether it is still so; nothing where it has no row."""
    from mbt_assets.registry import in_place, to_materialize
    from partitions.grid import Node
    from resources.checkpoints import CheckpointError

    lake, node = platform.artifacts.lake, Node("checkpoints", slug)
    if not lake.exists(node):
        return {}
    row = lake.read(node).row(0, named=True)
    found = {name: row[name] for name in ("kind", "uri", "digest")}
    try:
        same = in_place(row["uri"], row["digest"], platform.home).digest == row["digest"]
    except CheckpointError as error:
        return found | {"state": "broken", "why": str(error)}
    why = "" if same else f"materialize {to_materialize(slug)} again"
    return found | {"state": "whole" if same else "changed", "why": why}


def _unregistered(platform: Platform, slug: str) -> dict[str, Any]:
    """Where a variant's weights are that nobody registered yet, or why there are none."""
    from mbt_assets.registry import weights_now
    from resources.checkpoints import CheckpointError
    from resources.lake import LakeError

    try:
        now = weights_now(platform.study, platform.artifacts.lake, platform.home, slug)
    except CheckpointError as error:
        return {"why": str(error)}
    except LakeError:
        return {"why": "never made"}
    return {"state": "unregistered", "uri": now.uri, "why": f"materialize checkpoints[{slug}]"}


def _megabytes(uri: str | None) -> float | None:
    if uri is None or "://" in uri or not Path(uri).is_dir():
        return None
    return round(sum(path.stat().st_size for path in Path(uri).iterdir() if path.is_file()) / MEGABYTE, 1)


def _table(platform: Platform, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"study {escape(platform.study.name)}: checkpoints of {len(rows)} variants")
    for column in ("variant", "kind", "state", "digest", "MB", "where, or what is wrong"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for row in rows:
        size = "·" if row["megabytes"] is None else f"{row['megabytes']:,.1f}"
        state = f"[{COLOURS[row['state']]}]{row['state']}[/]"
        shown = (row["kind"] or "·", state, (row["digest"] or "·")[:12], size, escape(row["why"] or row["uri"] or ""))
        table.add_row(row["variant"], *shown)
    return table


def _prune(platform: Platform) -> None:
    from mbt_assets.retention import prune, trained_folders
    from partitions.study import split_variant

    grid, removed = platform.axes.grid, []
    for slug in (*grid.trained, *grid.grpo):
        model, mode = split_variant(slug)
        folders = trained_folders(platform.home, model, mode)
        if folders:
            keep = platform.study.limits.keep_checkpoints
            removed += prune(platform.home, model, mode, keep=keep, newest=folders[0])
    for folder in removed:
        err.print(f"removed {escape(str(folder))}", highlight=False)
    err.print(f"{len(removed)} checkpoints removed")
