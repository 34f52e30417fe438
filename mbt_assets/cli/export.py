"""`mbt export`: everything that the lake holds of a study, in one DuckDB file to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mbt_assets.cli import complete
from mbt_assets.cli.common import (
    INTERRUPTED,
    DatasetsOption,
    JsonOption,
    StudyOption,
    VariantsOption,
    err,
    grid_now,
    platform_of,
    print_json,
)
from resources.interrupts import end_as_with_ctrl_c

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform
    from mbt_assets.exporting import Choice, Exported


def export(
    file: Annotated[Path, typer.Argument(help="The DuckDB file to write, for example results.duckdb.")],
    study: StudyOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the run with this seed.")] = None,
    no_text: Annotated[
        bool,
        typer.Option("--no-text", help="Leave out prompts, documents, responses, traces and judges' replies."),
    ] = False,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these tables, by name or as `marts` or `scores`; several with commas, or repeated.",
            autocompletion=complete.export_tables,
        ),
    ] = None,
    variant: VariantsOption = None,
    dataset: DatasetsOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there already and DuckDB wrote it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write one self-contained DuckDB file: all tables with their rows, descriptions, provenance and lineage.

    It needs neither the lake nor this project to be read. The file appears when it is whole.
    """
    from mbt_assets import exporting

    end_as_with_ctrl_c()
    platform = platform_of(study, seed)
    exporting.check_target(file, platform.home, force)
    choice = _choice(platform, tables, variant, dataset, texts=not no_text)
    try:
        made = _exported(platform, file, choice, force)
    except KeyboardInterrupt:
        err.print("interrupted; nothing was written")
        raise typer.Exit(INTERRUPTED) from None
    total = f"{len(made.rows)} tables, {sum(made.rows.values()):,} rows, {decimal(made.size)}"
    err.print(f"{file}: {total}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        told = {"file": str(file.absolute()), "bytes": made.size, "rows": made.rows, "note": made.note}
        print_json(told)
    err.print(made.note, highlight=False, markup=False, soft_wrap=True)


def _exported(platform: Platform, file: Path, choice: Choice, force: bool) -> Exported:
    """Export with a bar on a terminal."""
    from mbt_assets import exporting

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_interactive, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=escape(name), completed=done, total=total)

        lake, home = platform.artifacts.lake, platform.home
        return exporting.export(file, platform.study, lake, home, choice, force=force, progress=show)


def _choice(
    platform: Platform, tables: list[str] | None, variants: list[str] | None, datasets: list[str] | None, *, texts: bool
) -> Choice:
    from jobs.plan import slice_of
    from mbt_assets.exporting import Choice, chosen_tables

    names = [name.strip() for given in tables or [] for name in given.split(",") if name.strip()]
    grid = grid_now(platform)
    for given, known, what in ((variants, grid.variants, "variant"), (datasets, grid.datasets, "dataset")):
        strangers = [name for name in given or [] if name not in known]
        if strangers:
            raise typer.BadParameter(f"no {what} {strangers[0]!r} in this study; there are: {', '.join(known)}")
    nodes = None
    if variants or datasets:
        nodes = slice_of(grid, datasets=set(datasets or grid.datasets), variants=set(variants or grid.variants))
    return Choice(chosen_tables(names), texts, frozenset(nodes) if nodes is not None else None)
