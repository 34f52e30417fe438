"""`mbt score`: answer scores for a file of predictions.

What belongs here: reading, checking and writing the files. The scores themselves are `scoring.answers`.
"""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from mbt_assets.scoring.answers import SCORE_COLUMNS, score_frame

CHUNK_ROWS = 20_000
USER_ERROR = 2
COLUMNS: dict[str, Any] = {"id": pl.Object, "prediction": pl.String, "references": pl.List(pl.String)}


class ScoreInputError(ValueError):
    """A file that cannot be scored; the message names the file, the line and what is wrong."""


@dataclass
class Totals:
    """Sums over the scored rows, from which the means are taken."""

    rows: int = 0
    unscorable_gold: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SCORE_COLUMNS, 0.0))

    def add(self, scored: pl.DataFrame) -> None:
        """Count in a chunk of scored rows."""
        self.rows += scored.height
        self.unscorable_gold += int(scored["unscorable_gold"].sum())
        for name in SCORE_COLUMNS:
            self.sums[name] += float(scored[name].sum())

    def report(self) -> dict[str, float | int | None]:
        """Rows, the mean of each score (None without rows), and the rows whose references are all empty."""
        means = {name: total / self.rows if self.rows else None for name, total in self.sums.items()}
        return {"rows": self.rows, **means, "unscorable_gold": self.unscorable_gold}


def score(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Rows of id, prediction and references.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT.jsonl", help="Where the scores go; without it, to stdout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Totals as one JSON object instead of a table.")] = False,
) -> None:
    """Score predictions against their references: exact match, substring match, F1 and plain F1.

    FILE.jsonl holds one JSON object per line, with id, prediction and references: the list of the gold answer and its
    aliases. Each gives one with id, exact_match, substring_match, f1 and f1_plain, in the same order. Totals go to
    stderr. Exit code 2: something in the command or the file is wrong, and OUT.jsonl is left as it was.
    """
    try:
        totals = score_file(file, out)
    except ScoreInputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(USER_ERROR) from None
    if as_json:
        typer.echo(orjson.dumps(totals.report()).decode(), err=True)
    else:
        Console(stderr=True).print(_table(totals, file))
        if totals.unscorable_gold:
            typer.echo(
                f"{totals.unscorable_gold:,} rows have no reference left after normalisation and score 0", err=True
            )


def score_file(file: Path, out: Path | None) -> Totals:
    """Score a file's rows, some thousands at a time, so that memory does not grow with the file.

    Args:
        file: JSONL of rows `{id, prediction, references[]}`; blank lines are skipped.
        out: Where the score rows go, complete or not at all; None for stdout.

    Returns:
        The totals.

    Raises:
        ScoreInputError: A file cannot be read or written, or a line is not such a row.
    """
    totals = Totals()
    try:
        with file.open("rb") as lines, _writing(out) as sink:
            for chunk in _chunks(_rows(lines, file)):
                scored = score_frame(chunk)
                totals.add(scored)
                sink.writelines(_lines(scored))
    except BrokenPipeError:
        raise  # the reader of stdout has left: nothing to tell the user
    except OSError as error:
        raise ScoreInputError(f"{error.filename or out or file}: {error.strerror or error}") from error
    return totals


@contextlib.contextmanager
def _writing(out: Path | None) -> Iterator[BinaryIO]:
    """Stdout, or a temporary file that becomes `out` when all has been written."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if out.is_dir():
        raise ScoreInputError(f"{out}: is a folder; --out names a file")
    if not out.parent.is_dir():
        raise ScoreInputError(f"{out}: there is no folder {out.parent}; make it first")
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as sink:
            yield sink
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def _rows(lines: Iterable[bytes], file: Path) -> Iterator[tuple[Any, str, list[str]]]:
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ScoreInputError(f"{file}, line {number}: not JSON ({error})") from None
        problem = _problem(row)
        if problem:
            raise ScoreInputError(f"{file}, line {number}: {problem}")
        yield row["id"], row["prediction"], row["references"]


def _problem(row: Any) -> str | None:
    """What is wrong with a row, or None."""
    if not isinstance(row, dict):
        return "expected a JSON object with id, prediction and references"
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        return f"missing {', '.join(missing)}; a row is {{id, prediction, references[]}}"
    if not isinstance(row["id"], str | int) or isinstance(row["id"], bool):
        return "id must be a string or an integer"
    if not isinstance(row["prediction"], str):
        return "prediction must be a string; write an empty one where there was no answer"
    references = row["references"]
    if not isinstance(references, list) or not all(isinstance(item, str) for item in references):
        return "references must be a list of strings"
    return None


def _chunks(rows: Iterator[tuple[Any, str, list[str]]]) -> Iterator[pl.DataFrame]:
    while chunk := list(islice(rows, CHUNK_ROWS)):
        ids, predictions, references = zip(*chunk, strict=True)
        yield pl.DataFrame(
            {"id": list(ids), "prediction": list(predictions), "references": list(references)}, schema=COLUMNS
        )


def _lines(scored: pl.DataFrame) -> Iterator[bytes]:
    columns = ("id", *SCORE_COLUMNS)
    for values in zip(*(scored[name].to_list() for name in columns), strict=True):
        yield orjson.dumps(dict(zip(columns, values, strict=True)), option=orjson.OPT_APPEND_NEWLINE)


def _table(totals: Totals, file: Path) -> Table:
    table = Table(title=f"{totals.rows:,} rows of {file.name}")
    table.add_column("score")
    table.add_column("mean", justify="right")
    report = totals.report()
    for name in SCORE_COLUMNS:
        mean = report[name]
        table.add_row(name, "–" if mean is None else f"{mean:.4f}")
    return table
