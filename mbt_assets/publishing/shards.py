"""Parquet files of one configuration and split, named as the Hub names them and cut by size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

SHARD_BYTES = 500_000_000
"""A file that has reached this size gets no further rows."""


@dataclass(frozen=True)
class Sharded:
    """What was written of one configuration.

    Attributes:
        files: in the order of their rows.
        rows: in all of them.
        data_bytes: of the rows in memory, as `datasets` counts them.
    """

    files: tuple[Path, ...]
    rows: int
    data_bytes: int

    @property
    def file_bytes(self) -> int:
        """Size of the files."""
        return sum(file.stat().st_size for file in self.files)


def write_shards(
    folder: Path, split: str, schema: pa.Schema, frames: Iterable[pl.DataFrame], shard_bytes: int = SHARD_BYTES
) -> Sharded:
    """Write `<split>-00000-of-0000N.parquet` into a new folder; one file where there is no row at all.

    Args:
        folder: is made.
        split: its name.
        schema: of every file.
        frames: the rows; each frame becomes one group of rows.
        shard_bytes: a file that has reached this size gets no further rows.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir()
    files: list[Path] = []
    rows = data_bytes = 0
    waiting = iter(frames)
    frame = next(waiting, None)
    while frame is not None or not files:
        files.append(folder / f"{len(files)}.parquet")
        with files[-1].open("wb") as sink, _writer(sink, schema) as writer:
            begun = False
            while frame is not None and (not begun or sink.tell() < shard_bytes):
                table = frame.select(schema.names).to_arrow().cast(schema)
                writer.write_table(table)
                rows, data_bytes, begun = rows + table.num_rows, data_bytes + table.nbytes, True
                frame = next(waiting, None)
    names = [folder / f"{split}-{number:05}-of-{len(files):05}.parquet" for number in range(len(files))]
    return Sharded(tuple(old.rename(new) for old, new in zip(files, names, strict=True)), rows, data_bytes)


def _writer(sink: object, schema: pa.Schema) -> pq.ParquetWriter:
    # Chunks that are cut by content let the Hub store only what has changed of a file that is pushed again.
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=3,
        write_page_index=True,
        use_content_defined_chunking=True,
    )
