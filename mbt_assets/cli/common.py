"""What commands share: consoles, the study option, and how a user's mistake ends."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from partitions.study import Study
from partitions.study_file import load_study, study_path

if TYPE_CHECKING:
    from mbt_assets.definitions import Platform
    from partitions.grid import Grid

OK, FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
WIDE = 160
# A pipe or a log has no width of its own; the fallback of 80 columns would fold tables to shreds.
out = Console(width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, width=None if sys.stderr.isatty() else WIDE)

StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study",
        "-s",
        help="Study file, or the name of a packaged study.",
        envvar="MBT_STUDY",
        show_default="embedded",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def say_interrupted() -> None:
    """Say what an interrupt means."""
    err.print("interrupted; what was finished is kept, the same command goes on from there")


def with_seed(study: Study, seed: int | None) -> Study:
    """The study under another seed, kept apart under a name of its own."""
    if seed is None or seed == study.seed:
        return study
    return study.model_copy(update={"seed": seed, "name": f"{study.name}-seed{seed}"})


def platform_of(name: str | None, seed: int | None = None) -> Platform:
    """The graph of the chosen study, and `MBT_STUDY` set for the processes that this one starts."""
    # The module builds the code location for MBT_STUDY when it is imported: choose before.
    os.environ["MBT_STUDY"] = str(study_path(name))
    study = with_seed(load_study(name), seed)
    from mbt_assets.definitions import build_platform

    return build_platform(study)


def grid_now(platform: Platform) -> Grid:
    """The study's grid, with what was imported into its lake up to now."""
    from partitions.grid import Grid

    return Grid(platform.study, platform.artifacts.imported_cells())
