"""Rows for `mbt score`: read from JSONL or Parquet as a stream, each checked, some thousands at a time.

What belongs here: what a row is, and what is said of one that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mbt_assets.scoring.answers import extract_answer, split_reasoning

CHUNK_ROWS = 20_000
BATCH_ROWS = 1_000
OPTIONAL = ("prediction", "response", "question_id", "rollout_id")
READ = ("id", "references", "reasoning", *OPTIONAL)
PARQUET = ".parquet"

Row = dict[str, Any]
Numbered = tuple[int, Any]
Advance = Callable[[int], None]


class ScoreInputError(ValueError):
    """A file that cannot be scored; the message names the file, the line or row and what is wrong."""


@dataclass(frozen=True)
class Chunk:
    """Some rows to score.

    Attributes:
        places: the line or row of the file that each stands in, from 1.
        given: what goes from each row to its scores, by column: `id`, and `question_id`, `rollout_id`,
            `predicted_answer` and `answer_found` where the rows have them.
        answers: `prediction` and `references`, to be scored.
    """

    places: list[int]
    given: dict[str, list[Any]]
    answers: pl.DataFrame


def is_parquet(path: Path) -> bool:
    """Whether a file of this name holds Parquet; any other holds JSONL."""
    return path.suffix.lower() == PARQUET


def size_of(file: Path) -> int:
    """How far `advance` comes in all when the file is read: rows of Parquet, bytes of JSONL.

    Raises:
        ScoreInputError: It is named `.parquet` and is none.
        OSError: It cannot be read.
    """
    if not is_parquet(file):
        return file.stat().st_size
    with _opened(file) as parquet:
        return int(parquet.metadata.num_rows)


def chunks(file: Path, advance: Advance = lambda amount: None) -> Iterator[Chunk]:
    """Read a file's rows, `CHUNK_ROWS` at a time.

    Args:
        file: Parquet where its name ends in `.parquet`, otherwise JSONL, whose blank lines are skipped.
        advance: Is told of what has been read, in the unit of `size_of`.

    Raises:
        ScoreInputError: The file or a row is not what it should be.
        OSError: The file cannot be read.
    """
    word, rows = ("row", _parquet_rows(file, advance)) if is_parquet(file) else ("line", _json_rows(file, advance))
    checked = _checked(rows, f"{file}, {word}")
    while found := list(islice(checked, CHUNK_ROWS)):
        yield _chunk(found)


def _json_rows(file: Path, advance: Advance) -> Iterator[Numbered]:
    unsaid = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            unsaid += len(line)
            if number % BATCH_ROWS == 0:
                advance(unsaid)
                unsaid = 0
            if line.isspace():
                continue
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ScoreInputError(f"{file}, line {number}: not JSON ({error})") from None
    advance(unsaid)


def _parquet_rows(file: Path, advance: Advance) -> Iterator[Numbered]:
    with _opened(file) as parquet:
        columns = [name for name in parquet.schema_arrow.names if name in READ]
        read = 0
        try:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
                yield from enumerate(batch.to_pylist(), start=read + 1)
                read += batch.num_rows
                advance(batch.num_rows)
        except pa.ArrowException as error:
            raise ScoreInputError(f"{file}, after row {read}: broken Parquet ({error})") from None


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except pa.ArrowException as error:
        raise ScoreInputError(f"{file}: not a Parquet file ({error})") from None


def _checked(rows: Iterable[Numbered], where: str) -> Iterator[tuple[int, Row]]:
    """The rows, all of which have the same optional columns as the first."""
    shape: list[str] | None = None
    for number, row in rows:
        problem = _problem(row)
        if not problem:
            own = [name for name in OPTIONAL if name in row]
            shape = shape or own
            problem = _difference(own, shape) if own != shape else None
        if problem:
            raise ScoreInputError(f"{where} {number}: {problem}")
        yield number, row


def _problem(row: Any) -> str | None:
    """What is wrong with a row, or None."""
    if not isinstance(row, dict):
        return "expected a JSON object with id, prediction and references"
    missing = [name for name in ("id", "references") if name not in row]
    if "prediction" not in row and "response" not in row:
        missing.insert(1, "prediction (or response)")
    if missing:
        return f"missing {', '.join(missing)}; a row is {{id, prediction, references[]}}"
    if "prediction" in row and "response" in row:
        return "has both prediction and response; leave in the one that is to be scored"
    references = row["references"]
    if not isinstance(references, list) or not all(isinstance(item, str) for item in references):
        return "references must be a list of strings"
    return _text_problem(row) or _key_problem(row)


def _text_problem(row: Row) -> str | None:
    if not isinstance(row.get("prediction", ""), str):
        return "prediction must be a string; write an empty one where there was no answer"
    if not isinstance(row.get("response", ""), str):
        return "response must be a string; write an empty one where there was none"
    if "response" in row and not isinstance(row.get("reasoning"), str | None):
        return "reasoning must be a string, or null where the server sends none"
    return None


def _key_problem(row: Row) -> str | None:
    for name in ("id", "question_id"):
        if name in row and (not isinstance(row[name], str | int) or isinstance(row[name], bool)):
            return f"{name} must be a string or an integer"
    if "rollout_id" not in row:
        return None
    if "question_id" not in row:
        return "has a rollout_id but no question_id"
    number = row["rollout_id"]
    is_number = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63
    return None if is_number else "rollout_id must be an integer, 0 or above"


def _difference(own: list[str], first: list[str]) -> str:
    """How the columns of a row differ from those of the first."""
    lacking, more = [name for name in first if name not in own], [name for name in own if name not in first]
    said = [f"no {' or '.join(lacking)}"] if lacking else []
    said += [" and ".join(more)] if more else []
    return f"has {', but '.join(said)}, unlike the first row: all rows have the same columns"


def _chunk(rows: list[tuple[int, Row]]) -> Chunk:
    places, found = [number for number, _ in rows], [row for _, row in rows]
    keys = [name for name in ("id", "question_id", "rollout_id") if name in found[0]]
    given: dict[str, list[Any]] = {name: [row[name] for row in found] for name in keys}
    if "response" in found[0]:
        extracted = [extract_answer(split_reasoning(row["response"], row.get("reasoning"))[1]) for row in found]
        predictions = [answer for answer, _ in extracted]
        given |= {"predicted_answer": predictions, "answer_found": [is_there for _, is_there in extracted]}
    else:
        predictions = [row["prediction"] for row in found]
    # By way of Arrow: polars makes a Series of every list of strings, which takes longer than scoring it.
    references = pa.array([row["references"] for row in found], type=pa.list_(pa.string()))
    return Chunk(places, given, pl.DataFrame({"prediction": predictions, "references": pl.from_arrow(references)}))
