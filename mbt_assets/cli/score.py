"""`mbt score`: answer scores for a file of predictions or responses.

What belongs here: the command line. Rows are read by `score_rows`, written by `score_files` and added up by
`score_totals`; the scores themselves are `scoring.answers`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.progress import Progress
from rich.table import Table

from mbt_assets.cli.common import USER_ERROR, err, working
from mbt_assets.cli.score_files import writing
from mbt_assets.cli.score_rows import Advance, ScoreInputError, chunks, is_parquet, size_of
from mbt_assets.cli.score_totals import Totals
from mbt_assets.scoring.answer_columns import score_frame
from mbt_assets.scoring.stats import RESAMPLES, Estimate


def score(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows to score, JSONL or .parquet.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="OUT", help="Where the scores go, JSONL or .parquet; without it, to stdout."),
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=0, help="Bootstrap resamples behind the intervals over questions; 0 leaves them out.")
    ] = RESAMPLES,
    as_json: Annotated[bool, typer.Option("--json", help="Totals as one JSON object instead of a table.")] = False,
) -> None:
    """Score answers against their references: exact match, substring match, F1 and plain F1.

    FILE holds rows, one JSON object per line or one row of Parquet, with

    id: a string or an integer, which comes back with the scores;

    references: the list of the gold answer and its aliases;

    prediction: the answer; or response: all that the model wrote. Its answer
    stands between the last <answer> and the next </answer>, after </think>.
    Without </think> all of it is reasoning, unless the row has reasoning,
    the server's own field ("" where there was none);

    question_id, where a question has several rollouts, and rollout_id, an
    integer; without it, rollouts come in the order of the rows.

    Each row gives one, in the same order: id, what it has of question_id and
    rollout_id, exact_match, substring_match, f1 and f1_plain; from a response
    also predicted_answer and answer_found.

    Totals go to stderr: means over rows, or, with question_id, means over
    questions with their 95 % intervals, and avg@k, maj@k and pass@k of exact
    match for k = 1, 2, 4, … up to the number of rollouts.

    Exit code 2: something in the command or the file is wrong, and OUT is
    left as it was.
    """
    try:
        totals = score_file(file, out)
    except ScoreInputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(USER_ERROR) from None
    with working("resampling questions"):
        estimates = totals.estimates(resamples) if totals.has_questions else {}
    if as_json:
        typer.echo(orjson.dumps(_report(totals, estimates)).decode(), err=True)
        return
    err.print(_table(totals, estimates, file))
    if totals.no_answer:
        typer.echo(f"{totals.no_answer:,} responses hold no answer between tags and score 0", err=True)
    if totals.unscorable_gold:
        typer.echo(f"{totals.unscorable_gold:,} rows have no reference left after normalisation and score 0", err=True)


def score_file(file: Path, out: Path | None) -> Totals:
    """Score a file's rows, some thousands at a time, so that their texts are never all in memory.

    Args:
        file: JSONL or Parquet of rows `{id, prediction or response, references[], question_id?, rollout_id?}`.
        out: Where the score rows go, complete or not at all; None for stdout.

    Returns:
        The totals.

    Raises:
        ScoreInputError: A file cannot be read or written, or a line is not such a row.
    """
    totals = Totals()
    try:
        with _progress(file, out) as advance, writing(out) as sink:
            for chunk in chunks(file, advance):
                scored = score_frame(chunk.answers)
                totals.add(chunk, scored)
                sink.write(chunk, scored)
            totals.check_rollouts(f"{file}, {'row' if is_parquet(file) else 'line'}")
    except BrokenPipeError:
        raise  # the reader of stdout has left: nothing to tell the user
    except OSError as error:
        raise ScoreInputError(f"{error.filename or out or file}: {error.strerror or error}") from error
    return totals


@contextlib.contextmanager
def _progress(file: Path, out: Path | None) -> Iterator[Advance]:
    """A bar on a terminal, unless the rows themselves go to it."""
    shown = err.is_interactive and not (out is None and sys.stdout.isatty())
    with Progress(console=err, transient=True, disable=not shown) as progress:
        task = progress.add_task(file.name, total=size_of(file))
        yield lambda amount: progress.advance(task, amount)


def _report(totals: Totals, estimates: dict[str, Estimate]) -> dict[str, float | int | None]:
    """The totals by the names of the marts."""
    found: dict[str, float | int | None] = {"rows": totals.rows}
    if estimates:
        found["questions"] = estimates["exact_match"].n
        for name, (count, value, interval) in estimates.items():
            lo, hi = interval or (None, None)
            found |= {name: value, f"{name}_lo": lo, f"{name}_hi": hi}
            if count != found["questions"]:
                # Fewer questions have so many rollouts.
                found[f"{name}_questions"] = count
    else:
        found |= totals.means()
    found["unscorable_gold"] = totals.unscorable_gold
    return found if totals.no_answer is None else {**found, "no_answer": totals.no_answer}


def _table(totals: Totals, estimates: dict[str, Estimate], file: Path) -> Table:
    table = Table("score", title=f"{totals.rows:,} rows of {file.name}")
    for column in ("mean", *(("95 % interval", "questions") if estimates else ())):
        table.add_column(column, justify="right")
    for name, (n, value, interval) in estimates.items():
        ends = f"{interval.lo:.4f} to {interval.hi:.4f}" if interval else "–"
        table.add_row(name, _shown(value), ends, f"{n:,}")
    for name, mean in {} if estimates else totals.means().items():
        table.add_row(name, _shown(mean))
    return table


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
