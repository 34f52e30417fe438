"""`mbt demo`: the main job. Brings a study (or a slice of it) up to date and shows its table."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mbt_assets.cli.common import FAILED, INTERRUPTED, StudyOption, err, out, platform_of, say_interrupted
from mbt_assets.cli.progress import UnitProgress
from mbt_assets.cli.summary import show_summary

if TYPE_CHECKING:
    from jobs.plan import Unit
    from jobs.runner import Report
    from mbt_assets.definitions import Platform


def demo(
    study: StudyOption = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this variant (with its base); may be repeated.")
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only this dataset; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed; its results are kept apart.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Parts that run at once.")] = 2,
    force: Annotated[
        bool,
        typer.Option("--force", help="Make every part anew: send every request and train every checkpoint again."),
    ] = False,
) -> None:
    """Run the whole study: questions, rollouts, traces, training, scores, marts, warehouse.

    What has not changed since an earlier run is used again; only what is missing or stale is made. Ends with a table
    of every cell, read from DuckDB.
    """
    platform = platform_of(study, seed)
    planned = _planned(platform, variant, dataset)
    started = time.monotonic()
    try:
        reports = _run(platform, planned, workers, force)
    except KeyboardInterrupt:
        # Typer would leave without a word.
        say_interrupted()
        raise typer.Exit(INTERRUPTED) from None
    _closing(reports, time.monotonic() - started)
    failed = [report for report in reports if report.outcome in ("failed", "skipped")]
    if all(report.outcome in ("made", "reused") for report in reports if report.unit.name == "marts"):
        show_summary(platform)
    if failed:
        raise typer.Exit(FAILED)


def _planned(platform: Platform, variants: Sequence[str] | None, datasets: Sequence[str] | None) -> list[Unit]:
    from jobs.plan import final_nodes, slice_of, units

    grid = platform.axes.grid
    for given, known, what in ((variants, grid.variants, "variant"), (datasets, grid.datasets, "dataset")):
        strangers = [name for name in given or [] if name not in known]
        if strangers:
            raise typer.BadParameter(f"no {what} {strangers[0]!r} in this study; there are: {', '.join(known)}")
    nodes = slice_of(grid, datasets=set(datasets) if datasets else None, variants=set(variants) if variants else None)
    return units(grid, nodes | final_nodes())


def _run(platform: Platform, planned: list[Unit], workers: int, force: bool) -> list[Report]:
    from jobs.runner import Runner
    from mbt_assets.cli.instance import ready_home
    from mbt_assets.definitions import build_platform
    from resources.leases import stop_idle

    # Told to end by a signal is as good as by Ctrl-C: what runs is ended and recorded, what was finished stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    err.print(
        f"study [bold]{escape(platform.study.name)}[/], {len(planned)} parts, in {escape(str(platform.home.folder))}"
    )
    ready_home(platform.home)
    with UnitProgress(len(planned)) as progress:
        runner = Runner(
            platform.axes.grid,
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
    if counts["failed"]:
        out.print("")
