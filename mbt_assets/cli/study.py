"""`mbt study`: check a study file, show a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.table import Table

from mbt_assets.cli import complete
from mbt_assets.cli.common import JsonOption, StudyOption, out, print_json
from partitions.grid import Grid
from partitions.modes import MODES
from partitions.study import Study, split_variant
from partitions.study_file import load_study, packaged_studies, study_path

app = typer.Typer(help="Check and show study files.", no_args_is_help=True)


@app.command()
def validate(
    file: Annotated[
        Path,
        typer.Argument(help="The study file.", exists=True, dir_okay=False, autocompletion=complete.studies),
    ],
    as_json: JsonOption = False,
) -> None:
    """Check a study file; each fault is shown with its line."""
    study = load_study(str(file))
    if as_json:
        cells = len(Grid(study).keys("cell_metrics"))
        sizes = {"variants": len(study.variants), "datasets": len(study.datasets), "cells": cells}
        print_json({"file": str(file), "study": study.name, **sizes})
        return
    out.print(f"{file}: study [bold]{study.name}[/] is valid: {_size(study)}", highlight=False)


@app.command()
def show(study: StudyOption = None, as_json: JsonOption = False) -> None:
    """Show a study: its models, variants and cells."""
    chosen = load_study(study)
    if as_json:
        print(orjson.dumps(chosen.model_dump(), option=orjson.OPT_INDENT_2).decode())
        return
    out.print(
        f"[bold]{chosen.name}[/]: {chosen.description}\n{_size(chosen)}\nfile: {study_path(study)}", highlight=False
    )
    out.print(_model_table(chosen))
    out.print(_variant_table(chosen))
    out.print(f"packaged studies: {', '.join(packaged_studies())}", highlight=False)


def _size(study: Study) -> str:
    cells = len(Grid(study).keys("cell_metrics"))
    return f"{len(study.variants)} variants × {len(study.datasets)} datasets = {cells} cells"


def _model_table(study: Study) -> Table:
    table = Table(title="models")
    for column in ("model", "role", "source", "server", "modes"):
        table.add_column(column, overflow="fold")
    for name, model in study.models.items():
        source = getattr(model.source, "repo", None) or getattr(model.source, "path", None) or model.source.kind
        table.add_row(name, model.role, source, model.server.kind, str(len(model.modes)))
    return table


def _variant_table(study: Study) -> Table:
    table = Table(title="variants")
    for column in ("variant", "kind", "what it is"):
        table.add_column(column, overflow="fold")
    for slug in study.variants:
        mode = MODES[split_variant(slug)[1]]
        table.add_row(slug, mode.kind, mode.description)
    return table
