"""Reading a study file, with errors that name the line.

The packaged studies are in `studies/`; `MBT_STUDY` chooses one by name or by path.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from partitions.study import Location, Study, problems

STUDIES = Path(__file__).parent / "studies"
DEFAULT_STUDY = "embedded"


class StudyError(ValueError):
    """A study file that cannot be used; the message lists every fault with its line."""


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
    """Check a study given as YAML text; `origin` stands for the file in messages.

    Raises:
        StudyError: as `load_study`.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise StudyError(f"{origin}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(content, dict):
        raise StudyError(f"{origin}: a study is a mapping with name, datasets, models, …; this file holds none")
    faults = list(_duplicate_keys(node, ()))
    study = None
    if not faults:
        study, faults = _validated(content)
    if study is None or faults:
        lines = [f"{origin}:{_line(node, where)}: {_dotted(where)}: {why}" for where, why in faults]
        raise StudyError("\n".join(lines))
    return study


def _validated(content: dict[str, Any]) -> tuple[Study | None, list[tuple[Location, str]]]:
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        return None, [(tuple(e["loc"]), e["msg"]) for e in error.errors(include_url=False)]
    return study, list(problems(study))


def _duplicate_keys(node: yaml.Node, where: Location) -> list[tuple[Location, str]]:
    """Keys that stand twice in one mapping, which YAML loaders drop silently."""
    found: list[tuple[Location, str]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            place = (*where, key.value)
            if key.value in seen:
                found.append((place, f"the key {key.value!r} stands twice in one mapping"))
            seen.add(key.value)
            found += _duplicate_keys(value, place)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            found += _duplicate_keys(value, (*where, i))
    return found


def _line(node: yaml.Node, where: Location) -> int:
    """The line of the deepest part of `where` that stands in the file (pydantic adds union tags that do not)."""
    line = node.start_mark.line + 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            match = [(key, value) for key, value in node.value if key.value == str(part)]
            if match:
                line, node = match[-1][0].start_mark.line + 1, match[-1][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _dotted(where: Location) -> str:
    return ".".join(str(part) for part in where) or "(whole file)"
