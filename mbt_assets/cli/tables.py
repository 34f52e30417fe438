"""`mbt tables`: the paper's tables and figures, as files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mbt_assets.cli import complete
from mbt_assets.cli.common import (
    DatasetsOption,
    JsonOption,
    StudyOption,
    err,
    grid_now,
    out,
    platform_of,
    print_json,
    ready_warehouse,
    watched,
    working,
)
from mbt_assets.tables import TablesError
from mbt_assets.tables.layout import LAYOUTS, Interval
from mbt_assets.tables.render import Format
from partitions.grid import Node

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform
    from mbt_assets.tables.frames import Marts
    from partitions.study import Study

PICTURES = ("svg", "png")


def tables(
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the files.", show_default="tables/ in the study's home"),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", "-f", help="Formats of the tables.", autocompletion=complete.one_of(Format))
    ] = "md,latex,csv",
    only: Annotated[
        str, typer.Option(help="Which tables, with their figures.", autocompletion=complete.one_of(LAYOUTS))
    ] = ",".join(LAYOUTS),
    dataset: DatasetsOption = None,
    figures: Annotated[
        str, typer.Option(help="Formats of the figures.", autocompletion=complete.one_of(PICTURES))
    ] = ",".join(PICTURES),
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Tables alone; needs no matplotlib.")] = False,
    interval: Annotated[
        Interval, typer.Option(help="Intervals as half their width (±), as both ends, or not at all.")
    ] = Interval.half,
    study: StudyOption = None,
    seed: Annotated[int | None, typer.Option(help="Of the run with this seed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the paper's tables and figures from the marts; several values of an option are joined by commas.

    Tables: main (accuracy and length), aes, rrp, mqi, as Markdown, LaTeX and CSV. Files of an earlier run are
    replaced. Prints the path of each file.
    """
    chosen = _chosen("--only", only, LAYOUTS)
    formats = [Format(name) for name in _chosen("--format", format, [*Format])]
    pictures = [] if no_figures else _chosen("--figures", figures, PICTURES)
    platform = platform_of(study, seed)
    _known(dataset, platform)
    marts, remark = _read(platform, chosen, lengths=bool(pictures) and "main" in chosen)
    target = folder or platform.home.folder / "tables"
    paths = []
    for path in _written(target, marts, platform.study, chosen, formats, pictures, dataset, interval, remark):
        paths.append(str(path))
        if not as_json:
            out.print(str(path), highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json({"study": platform.study.name, "files": paths, "outdated": remark or None})


def _chosen(option: str, text: str, choices: Iterable[str]) -> list[str]:
    """The values in a list with commas, each once, in the order of the choices."""
    given = [name.strip() for name in text.split(",") if name.strip()]
    known = [str(choice) for choice in choices]
    strangers = [name for name in given if name not in known]
    if strangers or not given:
        raise typer.BadParameter(f"{option} takes {', '.join(known)}, joined by commas, not {text!r}")
    return [name for name in known if name in given]


def _known(datasets: Sequence[str] | None, platform: Platform) -> None:
    strangers = [name for name in datasets or [] if name not in platform.study.datasets]
    if strangers:
        there = ", ".join(platform.study.datasets)
        raise typer.BadParameter(f"no dataset {strangers[0]!r} in this study; there are: {there}")


def _read(platform: Platform, chosen: list[str], *, lengths: bool) -> tuple[Marts, str]:
    """The marts behind the tables, and what has to be said of their age; that is also said on stderr."""
    from mbt_assets.tables.frames import marts_of, read_marts
    from mbt_assets.tables.standing import outdated
    from resources import warehouse
    from resources.lake_in_duckdb import steadily

    if platform.artifacts.stored(Node("main_results")) is None:
        raise TablesError(
            f"the study {platform.study.name} has no marts yet in {platform.home.folder}: run `mbt demo` first"
        )
    ready_warehouse(platform)
    where = (platform.home.warehouse, platform.artifacts.lake)
    with working("reading the marts"), warehouse.reading(*where) as connection:
        marts = steadily(platform.artifacts.lake, lambda: read_marts(connection, chosen, lengths=lengths))
        remark = outdated(grid_now(platform), platform.artifacts, marts_of(chosen))
    if remark:
        err.print(remark, highlight=False, markup=False, soft_wrap=True)
    return marts, remark


def _written(
    folder: Path,
    marts: Marts,
    study: Study,
    chosen: list[str],
    formats: list[Format],
    pictures: list[str],
    datasets: list[str] | None,
    interval: Interval,
    remark: str,
) -> Iterator[Path]:
    from mbt_assets.tables.files import write_figures, write_tables

    tables = write_tables(folder, marts, study, chosen, formats, datasets, interval, remark)
    yield from watched(tables, "writing the tables")
    if pictures:
        yield from watched(write_figures(folder, marts, study, chosen, pictures, datasets, remark), "drawing")
