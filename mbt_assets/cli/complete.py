"""What a shell offers after TAB: names of studies, and what the chosen study calls its parts.

Nothing here loads the graph: a shell waits for it at every TAB. What cannot be told is left out; a completion has no
place to complain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from partitions.study import Study

Completer = Callable[[typer.Context, str], list[str]]
EXPORT_GROUPS = ("marts", "scores")


def studies(ctx: typer.Context, incomplete: str) -> list[str]:
    """Packaged studies, and study files below what is typed so far."""
    from partitions.study_file import packaged_studies

    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    try:
        there = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") or path.is_dir())
    except OSError:
        there = []
    if not incomplete:
        # Folders come once something is typed: nobody looks for a study in each of them.
        there = [path for path in there if path.is_file()]
    # A folder ends in a slash, so that the next TAB looks into it.
    files = [f"{path}/" if path.is_dir() else str(path) for path in there if not path.name.startswith(".")]
    return _fitting(incomplete, [*packaged_studies(), *files])


def _of_study(names: Callable[[Study], Iterable[str]]) -> Completer:
    """Offers names that the study of the command has."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from partitions.study_file import StudyError, load_study

        try:
            return _fitting(incomplete, names(load_study(ctx.params.get("study"))))
        except (StudyError, OSError):
            return []

    return complete


def _modes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Modes of the model that was named before, or of all."""
    model = ctx.params.get("model")

    def of(study: Study) -> Iterable[str]:
        chosen = [entry for name, entry in study.models.items() if model in (None, name)]
        return dict.fromkeys(mode for entry in chosen for mode in entry.modes)

    return _of_study(of)(ctx, incomplete)


def _listed(names: Callable[[], Iterable[str]]) -> Completer:
    """Offers names for an option that takes several, joined by commas."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        done, comma, last = incomplete.rpartition(",")
        given = done.split(",")
        return [f"{done}{comma}{name}" for name in names() if name.startswith(last) and name not in given]

    return complete


def _export_tables() -> list[str]:
    import sql
    from partitions.grid import CELL_SQL, MARTS, Grid

    made = [asset for asset in Grid.ASSETS if asset not in ("warehouse", "report")]
    return list(dict.fromkeys([*EXPORT_GROUPS, *made, *CELL_SQL, *MARTS, *sql.VIEWS]))


def _fitting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


datasets = _of_study(lambda study: study.datasets)
variants = _of_study(lambda study: study.variants)
models = _of_study(lambda study: study.models)
modes: Completer = _modes
export_tables = _listed(_export_tables)
"""Tables of the lake, and the names that stand for several."""


def one_of(names: Iterable[str]) -> Completer:
    """Offers names of a fixed list, joined by commas."""
    fixed = list(names)
    return _listed(lambda: fixed)
