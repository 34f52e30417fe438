"""Where the rows of `mbt score` go: stdout, or a file that is written whole or not at all.

What belongs here: writing. The rows are made elsewhere.
"""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mbt_assets.cli.score_rows import Chunk, ScoreInputError, is_parquet
from mbt_assets.scoring.answers import SCORE_COLUMNS

_KEYS = ("id", "question_id")
_TYPES = {"rollout_id": pa.int64(), "predicted_answer": pa.string(), "answer_found": pa.bool_()}


class Sink(Protocol):
    """Takes scored rows, a chunk at a time."""

    def write(self, chunk: Chunk, scored: pl.DataFrame) -> None:
        """Take a chunk, and its scores in the same order."""


@contextlib.contextmanager
def writing(out: Path | None) -> Iterator[Sink]:
    """A sink that writes to `out`: nothing of it shows there before all of it does.

    Args:
        out: Parquet where its name ends in `.parquet`, otherwise JSONL; None for JSONL on stdout.

    Raises:
        ScoreInputError: `out` is a folder, or stands in one that does not exist.
        OSError: It cannot be written.
    """
    if out is None:
        yield _JsonLines(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    if out.is_dir():
        raise ScoreInputError(f"{out}: is a folder; --out names a file")
    if not out.parent.is_dir():
        raise ScoreInputError(f"{out}: there is no folder {out.parent}; make it first")
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            if is_parquet(out):
                with contextlib.closing(_Parquet(file, out)) as sink:
                    yield sink
            else:
                yield _JsonLines(file)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


class _JsonLines:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, chunk: Chunk, scored: pl.DataFrame) -> None:
        columns = {**chunk.given, **{name: scored[name].to_list() for name in SCORE_COLUMNS}}
        for values in zip(*columns.values(), strict=True):
            self._file.write(orjson.dumps(dict(zip(columns, values, strict=True)), option=orjson.OPT_APPEND_NEWLINE))


class _Parquet:
    def __init__(self, file: BinaryIO, out: Path) -> None:
        self._file, self._out = file, out
        self._writer: pq.ParquetWriter | None = None
        self._kinds: dict[str, type[Any]] = {}

    def write(self, chunk: Chunk, scored: pl.DataFrame) -> None:
        fields = [(name, self._type(name, values, chunk.places)) for name, values in chunk.given.items()]
        fields += [(name, pa.float64()) for name in SCORE_COLUMNS]
        columns = [*chunk.given.values(), *(scored[name].to_list() for name in SCORE_COLUMNS)]
        self._open(pa.schema(fields)).write_table(pa.table(columns, schema=pa.schema(fields)))

    def close(self) -> None:
        self._open(pa.schema([("id", pa.string()), *((name, pa.float64()) for name in SCORE_COLUMNS)])).close()

    def _open(self, schema: pa.Schema) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, schema)
        return self._writer

    def _type(self, name: str, values: list[Any], places: list[int]) -> pa.DataType:
        if name not in _KEYS:
            return _TYPES[name]
        kind = self._kinds.setdefault(name, type(values[0]))
        for value, place in zip(values, places, strict=True):
            if type(value) is not kind:
                raise ScoreInputError(
                    f"{self._out}: {name} is of type {kind.__name__} in the first row and {type(value).__name__} in "
                    f"{place}, while a Parquet column holds one type; write JSONL, or make them alike"
                )
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ScoreInputError(f"{self._out}: {name} {value} in {place} needs more than 64 bits; write JSONL")
        return pa.int64() if kind is int else pa.string()
