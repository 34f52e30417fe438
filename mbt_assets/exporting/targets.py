"""Which files an export may be written to, and which it may replace."""

from __future__ import annotations

import stat
from pathlib import Path

from mbt_assets.exporting.choice import ExportError
from resources.home import Home

MAGIC = b"DUCK"
MAGIC_AT = 8
"""Where each file of DuckDB has these bytes."""


def check_target(target: Path, home: Home, force: bool) -> None:
    """See that an export may be written to a file.

    Args:
        target: the file.
        home: of the study.
        force: a file that DuckDB wrote is replaced, unless the study or its lake has it.

    Raises:
        ExportError: it may not.
    """
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else f"cannot be written: there is no folder {target.parent}"
        raise ExportError(f"{target} {what}: name a file, for example results.duckdb")
    if target.resolve() == home.warehouse.resolve():
        raise ExportError(f"{target} is the study's warehouse, which reads the lake: name another file")
    try:
        found = target.lstat()
    except FileNotFoundError:
        return
    if why := _why_kept(target, found.st_mode, home):
        raise ExportError(f"{target} is there already and is never replaced, since {why}: name another file")
    if not force:
        raise ExportError(f"{target} is there already: name another file, or give --force to replace it")


def _why_kept(target: Path, mode: int, home: Home) -> str:
    """Why a file must stay, whatever is asked; empty where it need not."""
    if not stat.S_ISREG(mode):
        return "it is a link or no regular file"
    if owner := owner_of(target, home):
        return f"it lies in {owner}, where studies keep their own files"
    try:
        with target.open("rb") as file:
            begin = file.read(MAGIC_AT + len(MAGIC))
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return "" if begin[MAGIC_AT:] == MAGIC else "DuckDB did not write it"


def owner_of(target: Path, home: Home) -> Path | None:
    """The folder of this machine in which home, lake or engine keep files and the target lies; None where none is."""
    places = [str(home.root), *(place.removeprefix("file://") for place in (home.lake, home.engine))]
    own = [Path(place).resolve() for place in places if "://" not in place]
    return next((folder for folder in own if target.resolve().is_relative_to(folder)), None)
