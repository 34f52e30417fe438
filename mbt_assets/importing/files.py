"""Files of rollouts, read row by row: JSONL, Parquet, or a folder that `datasets` saved to disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from mbt_assets.importing import ImportingError

BATCH = 1_000
MAX_LINE = 64 * 1024 * 1024
"""Bytes of one line of JSONL: more is no rollout, and would have to be held in memory."""
KINDS: dict[str, Literal["jsonl", "parquet"]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
FORMATS = "a JSONL file (.jsonl), a Parquet file (.parquet) or a folder that datasets' save_to_disk wrote"


@dataclass(frozen=True)
class RowFile:
    """A file of rows, or a folder of one dataset.

    Attributes:
        path: where it lies.
        kind: how it is read.
    """

    path: Path
    kind: Literal["jsonl", "parquet", "dataset"]

    @classmethod
    def of(cls, path: Path) -> RowFile:
        """What lies at a path.

        Raises:
            ImportingError: nothing, or nothing that holds rows.
        """
        if path.is_dir():
            _check_folder(path)
            return cls(path, "dataset")
        if not path.exists():
            raise ImportingError(f"there is no file {path}: give {FORMATS}")
        kind = KINDS.get(path.suffix.lower())
        if kind is None:
            raise ImportingError(f"{path} cannot be read: give {FORMATS}")
        return cls(path, kind)

    @property
    def name(self) -> str:
        """What the file or folder is called, also where the path says it as `.` or `..`."""
        # Not resolved otherwise: a link is known by its own name, and may point to one that says nothing.
        return self.path.name if self.path.name not in ("", "..") else self.path.resolve().name

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each row with the words that name it in messages: `line 3` of JSONL, otherwise `row 3`.

        Raises:
            ImportingError: the file cannot be read to its end.
        """
        if self.kind == "jsonl":
            return self._lines()
        read = self._parquet if self.kind == "parquet" else self._dataset
        return ((f"row {number}", row) for number, row in enumerate(read(), start=1))

    def digest(self) -> str:
        """Sha256 of the file's bytes; of a folder, over the names and bytes of its files."""
        try:
            if self.kind != "dataset":
                with self.path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            sha = hashlib.sha256()
            for path in sorted(path for path in self.path.iterdir() if path.is_file()):
                with path.open("rb") as file:
                    sha.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
            return sha.hexdigest()
        except OSError as error:
            raise self._unreadable(error) from error

    def _lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            with self.path.open("rb") as file:
                number = 0
                while line := file.readline(MAX_LINE + 1):
                    number += 1
                    if len(line) > MAX_LINE:
                        raise ImportingError(f"{self.path}, line {number} has more than {MAX_LINE:,} bytes: split it")
                    # Some editors put a byte order mark in front of the first line.
                    text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
                    if text:
                        yield f"line {number}", self._object(text, number)
        except OSError as error:
            raise self._unreadable(error) from error

    def _object(self, text: bytes, number: int) -> dict[str, Any]:
        try:
            row = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            why = f"not JSON ({error})" if _is_utf8(text) else "not UTF-8: save the file in that encoding"
            raise ImportingError(f"{self.path}, line {number}: {why}") from None
        if not isinstance(row, dict):
            raise ImportingError(f"{self.path}, line {number}: there should be one JSON object on every line")
        return row

    def _parquet(self) -> Iterator[dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(BATCH):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def _dataset(self) -> Iterator[dict[str, Any]]:
        import datasets
        import pyarrow as pa

        try:
            # Mapped into memory, not read: only one batch becomes Python objects at a time.
            saved = datasets.Dataset.load_from_disk(str(self.path)).with_format("arrow")
            for batch in saved.iter(BATCH):
                yield from batch.to_pylist()
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ImportingError:
        return ImportingError(f"{self.path} cannot be read ({' '.join(str(error).split()) or type(error).__name__})")


def _check_folder(path: Path) -> None:
    splits = path / "dataset_dict.json"
    if splits.is_file():
        try:
            names = json.loads(splits.read_bytes())["splits"]
        except (OSError, ValueError, KeyError, TypeError):
            names = []
        raise ImportingError(f"{path} holds several splits: give the folder of one of them ({', '.join(names)})")
    if not (path / "state.json").is_file():
        raise ImportingError(f"{path} is no folder that datasets' save_to_disk wrote: give {FORMATS}")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
