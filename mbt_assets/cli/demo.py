"""`mbt demo`: the main job. Brings a study (or a slice of it) up to date and shows its table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from mbt_assets.cli.common import (
    FAILED,
    INTERRUPTED,
    DatasetsOption,
    JsonOption,
    StudyOption,
    VariantsOption,
    err,
    grid_now,
    platform_of,
    print_json,
    say_interrupted,
)
from mbt_assets.cli.progress import UnitProgress
from mbt_assets.cli.summary import show_summary
from resources.interrupts import end_as_with_ctrl_c

if TYPE_CHECKING:
    from jobs.plan import Unit
    from jobs.runner import Report
    from mbt_assets.definitions import Platform
    from partitions.grid import Grid


def demo(
    study: StudyOption = None,
    variant: VariantsOption = None,
    dataset: DatasetsOption = None,
    seed: Annotated[int | None, typer.Option(help="Another seed; its results are kept apart.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Parts that run at once.")] = 2,
    force: Annotated[
        bool,
        typer.Option("--force", help="Make every part anew: send every request and train every checkpoint again."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole study: questions, rollouts, traces, training, scores, marts, warehouse.

    What has not changed since an earlier run is used again; only what is missing or stale is made. Ends with a table
    of every cell, read from DuckDB.
    """
    platform = platform_of(study, seed)
    grid = grid_now(platform)
    planned = _planned(grid, variant, dataset)
    _tell_awaited(grid, variant, dataset)
    started = time.monotonic()
    try:
        reports = _run(platform, grid, planned, workers, force)
    except KeyboardInterrupt:
        # Typer would leave without a word.
        say_interrupted()
        raise typer.Exit(INTERRUPTED) from None
    _closing(reports, time.monotonic() - started)
    if as_json:
        print_json([_row(report) for report in reports])
    failed = [report for report in reports if report.outcome in ("failed", "skipped")]
    complete = all(report.outcome in ("made", "reused") for report in reports if report.unit.name == "marts")
    if complete and not as_json:
        show_summary(platform)
    if failed:
        raise typer.Exit(FAILED)


def _planned(grid: Grid, variants: Sequence[str] | None, datasets: Sequence[str] | None) -> list[Unit]:
    from jobs.plan import final_nodes, slice_of, units

    for given, known, what in ((variants, grid.variants, "variant"), (datasets, grid.datasets, "dataset")):
        strangers = [name for name in given or [] if name not in known]
        if strangers:
            raise typer.BadParameter(f"no {what} {strangers[0]!r} in this study; there are: {', '.join(known)}")
    nodes = slice_of(grid, datasets=set(datasets) if datasets else None, variants=set(variants) if variants else None)
    return units(grid, nodes | final_nodes())


def _tell_awaited(grid: Grid, variants: Sequence[str] | None, datasets: Sequence[str] | None) -> None:
    """Say which of the chosen cells are left out: there is nothing yet to make them from."""
    from partitions.grid import split_key

    chosen = [
        key
        for key in grid.keys("cell_metrics")
        if grid.awaits_import(key)
        and (not datasets or split_key(key)[0] in datasets)
        and (not variants or split_key(key)[1] in variants)
    ]
    if chosen:
        text = f"left out until their rollouts are imported (mbt import rollouts): {', '.join(chosen)}"
        err.print(escape(text), style="yellow", highlight=False, soft_wrap=True)


def _run(platform: Platform, grid: Grid, planned: list[Unit], workers: int, force: bool) -> list[Report]:
    from jobs.runner import Runner
    from mbt_assets.cli.instance import ready_home
    from mbt_assets.definitions import build_platform
    from resources.leases import stop_idle

    end_as_with_ctrl_c()
    err.print(
        f"study [bold]{escape(platform.study.name)}[/], {len(planned)} parts, in {escape(str(platform.home.folder))}"
    )
    ready_home(platform.home)
    with UnitProgress(len(planned)) as progress:
        runner = Runner(
            grid,
            platform.artifacts,
            platform.home,
            build_platform,
            workers,
            progress.started,
            progress.ended,
        )
        try:
            return runner.run(planned, force=force)
        finally:
            stop_idle(platform.home.servers)


def _row(report: Report) -> dict[str, Any]:
    return {
        "part": report.unit.name,
        "outcome": report.outcome,
        "seconds": round(report.seconds, 1) if report.seconds else None,
        "why": report.why or None,
    }


def _closing(reports: list[Report], seconds: float) -> None:
    counts = {
        outcome: sum(report.outcome == outcome for report in reports)
        for outcome in ("made", "reused", "failed", "skipped")
    }
    text = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    err.print(f"{text} in {seconds:.0f} s")
    for report in reports:
        if report.outcome == "failed":
            err.print(f"[red]failed[/] {escape(report.unit.name)}: {escape(report.why)}", highlight=False)
