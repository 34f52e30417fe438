"""`mbt report`: where the report is, whether it is up to date, and a copy of it to hand on."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mbt_assets.cli.common import JsonOption, StudyOption, err, grid_now, platform_of, print_json, working

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform
    from mbt_assets.staleness import Standing


def report(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Copy it to this file; an earlier report there is replaced.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file at --out whatever it holds.")] = False,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    study: StudyOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the run with this seed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the path of the newest report, and say whether it is up to date.

    The report is one HTML file with summary, tables, figures and settings, which needs nothing else to be read. The
    last step of `mbt demo`, of the job marts_only, and of the sensor refresh_marts makes it.
    """
    platform = platform_of(study, seed)
    standing = _standing(platform)
    path = platform.artifacts.files["report"]
    if out is not None:
        path = _copied(path, out, platform, force)
    if standing.state == "stale":
        again = "`mbt demo` makes it anew, or materialize what is stale in the UI"
        err.print(f"Outdated: {standing.reason}; {again}.", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json(_row(path, standing))
    else:
        print(path)
    if open_browser:
        webbrowser.open(path.absolute().as_uri())


def _copied(path: Path, out: Path, platform: Platform, force: bool) -> Path:
    from mbt_assets.exporting.targets import owner_of
    from mbt_assets.reporting.page import is_report
    from mbt_assets.tables import TablesError
    from mbt_assets.tables.files import replaced

    if owner := owner_of(out, platform.home):
        raise TablesError(f"{out} lies in {owner}, where studies keep their own files: choose another place")
    if not out.parent.is_dir():
        raise TablesError(f"{out.parent} is no folder: make it first, or choose another place")
    if out.exists() and not (out.is_file() and (force or is_report(out))):
        raise TablesError(f"{out} is there already and is no report: choose another name, or give --force")
    return replaced(out, path.read_bytes())


def _standing(platform: Platform) -> Standing:
    from mbt_assets.staleness import assess
    from mbt_assets.tables import TablesError
    from partitions.grid import Node

    with working("looking whether the report is up to date"):
        standing = assess(grid_now(platform), platform.artifacts)[Node("report")]
    if standing.state == "missing":
        raise TablesError(
            f"the study {platform.study.name} has no report yet in {platform.home.folder}: run `mbt demo` first, or "
            "materialize `report` in the UI"
        )
    return standing


def _row(path: Path, standing: Standing) -> dict[str, str | int | None]:
    stored = standing.stored
    return {
        "path": str(path.absolute()),
        "state": standing.state,
        "reason": standing.reason,
        "bytes": path.stat().st_size,
        "made": stored.provenance.created_at if stored else None,
        "data_version": stored.data_version if stored else None,
    }
