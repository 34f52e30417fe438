"""Reading a study file, with errors that name the line.

The packaged studies are in `studies/`; `MBT_STUDY` chooses one by name or by path. A study may extend another one
(see `layers`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from partitions.json_values import json_problems
from partitions.layers import STUDIES, StudyError, duplicate_keys, listed, merged, read_layers
from partitions.published import published_problems
from partitions.study import Location, Study
from partitions.study_problems import problems

__all__ = ["StudyError", "load_study", "packaged_studies", "parse_study", "study_path"]

DEFAULT_STUDY = "embedded"


def packaged_studies() -> list[str]:
    """Names of the studies that come with the project."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def study_path(name_or_path: str | None = None) -> Path:
    """The file of a study: a path, the name of a packaged one, or what `MBT_STUDY` says.

    Raises:
        StudyError: there is no such file.
    """
    chosen = name_or_path or os.environ.get("MBT_STUDY") or DEFAULT_STUDY
    for candidate in (STUDIES / f"{chosen}.yaml", Path(chosen)):
        if candidate.is_file():
            return candidate
    raise StudyError(
        f"no study {chosen!r}: give a file, or one of {', '.join(packaged_studies())} (MBT_STUDY or --study)"
    )


def load_study(name_or_path: str | None = None) -> Study:
    """Read and check a study.

    Args:
        name_or_path: a packaged study's name or a file; `MBT_STUDY`, then `embedded`, when it is None.

    Raises:
        StudyError: with one line per fault: file, line, field and reason.
    """
    path = study_path(name_or_path)
    try:
        return parse_study(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read: {error}") from error


def parse_study(text: str, origin: str = "study") -> Study:
    """Check a study given as YAML text.

    Args:
        text: the YAML.
        origin: stands for the file in messages; what the study extends is looked for in its folder.

    Raises:
        StudyError: as `load_study`.
    """
    layers = read_layers(text, origin)
    for layer in layers:
        if faults := duplicate_keys(layer):
            raise listed([layer], faults)
    study, faults = _validated(merged(layers))
    if study is None or faults:
        raise listed(layers, faults)
    return study


def _validated(content: dict[str, Any]) -> tuple[Study | None, list[tuple[Location, str]]]:
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        return None, [(tuple(e["loc"]), e["msg"]) for e in error.errors(include_url=False)]
    # The grid, which knows the partitions, can be made only of a study that is right in itself.
    return study, [*problems(study), *json_problems(study)] or list(published_problems(study))
