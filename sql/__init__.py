"""SQL over the lake: one statement per file, with a header that names its grain, inputs and columns.

What belongs here: the SQL files, and the reading of their headers. Connections and functions come from elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
CELLS = ("cell_estimates", "judge_reliability", "cell_metrics")
"""What is computed of one cell, in an order in which each one's inputs come before it."""
MARTS = ("main_results", "aes", "rrp_profile", "mqi", "degeneration", "significance", "judge_quality", "cost")
"""The marts, in an order in which each one's inputs come before it. All of them come after `CELLS`."""

VIEWS = ("partition_lineage", "lineage", "training_lineage")
"""Views of the warehouse over the lake's tables, in an order in which each one's inputs come before it."""

ENDS = {"lo": "lower", "hi": "upper"}

_KEY = re.compile(r"(grain|inputs):(.*)")
_COLUMN = re.compile(r"(column|estimate) ([a-z_][a-z0-9_]*):(.*)")


class SqlFileError(ValueError):
    """A SQL file that cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One SQL file, read.

    Attributes:
        name: the table that it computes.
        path: where it stands.
        description: the header's opening sentences.
        grain: columns that name a row; no two rows share them.
        inputs: views that it reads.
        columns: description of each column of the result, in order.
        statement: the one statement, without header and semicolon.
        digest: sha256 of the file's text, hex.
    """

    name: str
    path: Path
    description: str
    grain: tuple[str, ...]
    inputs: tuple[str, ...]
    columns: dict[str, str]
    statement: str
    digest: str


def load(name: str) -> SqlFile:
    """Read the SQL file of a cell's figures, of a mart or of a view.

    Raises:
        SqlFileError: There is no such file, or its header or statement is not as it should be.
    """
    paths = [FOLDER / f"{name}.sql", *(FOLDER / folder / f"{name}.sql" for folder in ("marts", "views"))]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise SqlFileError(f"there is no SQL file {name!r}; there are {', '.join((*CELLS, *MARTS, *VIEWS))}")
    return parse(path.read_text(encoding="utf-8"), path)


def parse(text: str, path: Path) -> SqlFile:
    """Read a SQL file's text: comment lines (the header), then one statement.

    The header holds free text (the description), `-- grain: a, b`, `-- inputs: t, u` and one `-- column x: description`
    per column. `-- estimate x: description` stands for the three columns x, x_lo and x_hi, its 95 % interval. A line
    that is indented by two more spaces goes on with the one before.

    Args:
        text: The file's text.
        path: Its path, for the name and for errors.

    Raises:
        SqlFileError: grain, inputs, columns, description or statement are missing, or named twice.
    """
    lines = text.splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    header = _header([line[2:] for line in lines[:end]], path)
    statement = "\n".join(lines[end:]).strip().removesuffix(";").rstrip()
    if not statement:
        raise SqlFileError(f"{path}: there is no statement after the header")
    for part in ("grain", "inputs", "description", "columns"):
        if not header[part]:
            raise SqlFileError(f"{path}: the header says nothing about {part}; add it as the other files do")
    strangers = [name for name in header["grain"] if name not in header["columns"]]
    if strangers:
        raise SqlFileError(f"{path}: the grain names {', '.join(strangers)}, which no `-- column` line describes")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return SqlFile(name=path.stem, path=path, statement=statement, digest=digest, **header)


def _header(lines: list[str], path: Path) -> dict[str, Any]:
    description: list[str] = []
    keys: dict[str, tuple[str, ...]] = {"grain": (), "inputs": ()}
    columns: dict[str, str] = {}
    for line in _joined(lines):
        key, column = _KEY.fullmatch(line), _COLUMN.fullmatch(line)
        if (key and keys[key[1]]) or (column and column[2] in columns):
            raise SqlFileError(f"{path}: the header says twice {line.partition(':')[0]!r}")
        if key:
            keys[key[1]] = tuple(item.strip() for item in key[2].split(",") if item.strip())
        elif column:
            columns |= _columns(*column.groups())
        else:
            description.append(line)
    return {"description": " ".join(filter(None, description)), "columns": columns, **keys}


def _joined(lines: list[str]) -> Iterator[str]:
    """The header's lines, each with the indented ones that go on with it."""
    current = ""
    for line in lines:
        if line.startswith("   "):
            current = f"{current} {line.strip()}"
        else:
            yield current
            current = line.strip()
    yield current


def _columns(kind: str, name: str, text: str) -> dict[str, str]:
    if kind == "column":
        return {name: text.strip()}
    ends = {f"{name}_{end}": f"{word} end of the 95 % interval of {name}" for end, word in ENDS.items()}
    return {name: text.strip()} | ends
