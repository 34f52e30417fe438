"""The lake: one Parquet file per table and partition, the only truth.

A partition is written under a temporary name and renamed (object stores: one put), so a reader sees the old rows or
the new, never half. Nothing takes a lock. Each file's footer says what its rows were made of.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import dataframely as dy
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from partitions.grid import Node, split_key
from resources import lake_files
from resources.object_store import StoreError, as_os_error, is_remote, options_of
from resources.tables import TABLES, Table

FOOTER_KEY = "mbt"
FAILED_CHECK = "failed check: "
"""Begins the fingerprint of rows that a blocking check refused: no recipe ever equals it."""
IMPORTED = "imported:"
"""Begins the source of rows that were imported from a file."""
ROWS_FILE = "rows.parquet"
SCHEMA_FILE = "_schema.parquet"


class LakeError(RuntimeError):
    """A partition that cannot be written or read; the message names table, partition and what to do."""


@dataclass(frozen=True)
class Provenance:
    """What a partition was made of.

    Attributes:
        fingerprint: digest of recipe and inputs; equal fingerprints mean that making it again changes nothing.
        recipe: the settings that its rows depend on.
        inputs: data version of each parent partition when it was read, by `asset[key]`.
        run_id: the Dagster run that wrote it.
        created_at: ISO 8601, UTC.
        source: which revision of which source its rows came from, where none of the parents is one: `hub:<commit>`,
            `mirror:sha256:<digest>` or `imported:<name of the file>:sha256:<digest>`.
    """

    fingerprint: str
    recipe: dict[str, Any]
    inputs: dict[str, str]
    run_id: str = ""
    created_at: str = ""
    source: str = ""

    @property
    def imported(self) -> bool:
        """Whether the rows came from a file that somebody gave (`mbt import`): they cannot be made again here."""
        return self.source.startswith(IMPORTED)


@dataclass(frozen=True)
class Stored:
    """A partition as it lies in the lake: its rows' digest, their number and what they were made of."""

    data_version: str
    rows: int
    provenance: Provenance


class _Hasher(io.RawIOBase):
    """A sink that digests what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sha = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha.update(data)
        return len(data)


def rows_digest(frame: pl.DataFrame) -> str:
    """Sha256 of the rows, whatever order or chunks they come in; `frame` is sorted by all its plain columns."""
    order = [name for name, dtype in frame.schema.items() if not dtype.is_nested()]
    hasher = _Hasher()
    chunk = frame.sort(order, nulls_last=True).rechunk()
    chunk.write_ipc_stream(cast(IO[bytes], hasher), compat_level=pl.CompatLevel.oldest())
    return hasher.sha.hexdigest()


class Lake:
    """Tables under one root folder or object-store prefix.

    Args:
        root: a path or fsspec URL (`s3://bucket/prefix`).
        storage_options: handed to fsspec, beside those of `object_store`; credentials come from the environment.
    """

    def __init__(self, root: str | Path, **storage_options: Any):
        self.root = UPath(str(root), **{**options_of(str(root)), **storage_options})

    @cached_property
    def files(self) -> Any:
        """Fsspec's file system of the lake, for DuckDB: it may remember listings, which that of `root` must not."""
        return type(self.root.fs)(**self.root.storage_options, skip_instance_cache=True)

    def folder(self, table: str) -> UPath:
        """The folder of a table."""
        return self.root / table

    def path(self, node: Node) -> UPath:
        """The file of a partition: `table/dataset=…/variant=…/rows.parquet`."""
        folder = self.folder(node.asset)
        if "|" in node.key:
            dataset, slug = split_key(node.key)
            folder = folder / f"dataset={dataset}" / f"variant={slug}"
        elif node.key:
            folder = folder / f"partition={node.key}"
        return folder / ROWS_FILE

    def glob(self, table: str) -> str:
        """A pattern that DuckDB reads a whole table by; temporary files never match it."""
        return f"{self.folder(table)}/**/*.parquet"

    def exists(self, node: Node) -> bool:
        """Whether the partition was ever written."""
        return self.path(node).exists()

    def write(self, node: Node, frame: pl.DataFrame, provenance: Provenance) -> Stored:
        """Check the rows against the table's schema and put them in place of the old ones.

        Raises:
            LakeError: the rows do not fit the schema, or the store refuses them; the old rows stay.
        """
        frame = checked(node, frame)
        version = rows_digest(frame)
        stored = Stored(version, frame.height, provenance)
        path = self.path(node)
        try:
            lake_files.put(path, frame, _footer(stored))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise LakeError(_write_problem(node, path, error)) from error
        return stored

    def read(self, node: Node) -> pl.DataFrame:
        """The rows of a partition, checked against the table's schema.

        Raises:
            LakeError: it was never written, is damaged, or does not fit the schema.
        """
        path = self.path(node)
        try:
            with lake_files.opened(path) as file:
                frame = pl.read_parquet(file)
        except FileNotFoundError as error:
            raise LakeError(f"{node} is not in the lake ({path}): materialize it first") from error
        except StoreError as error:
            raise LakeError(_store_problem(node, path, error)) from error
        except (OSError, pl.exceptions.PolarsError) as error:
            raise LakeError(f"{node}: {path} cannot be read as Parquet ({error}): materialize it again") from error
        return checked(node, frame)

    def values(self, node: Node, column: str) -> set[Any]:
        """The different values of one column of a partition; none where it was never written.

        Raises:
            LakeError: it is damaged, or lacks the column.
        """
        path = self.path(node)
        try:
            return lake_files.values(path, column)
        except FileNotFoundError:
            return set()
        except StoreError as error:
            raise LakeError(_store_problem(node, path, error)) from error
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise LakeError(f"{node}: {path} has no readable {column} ({error}): materialize it again") from error

    def copy_of(self, node: Node, columns: Collection[str]) -> tuple[Stored, pa.Table]:
        """Footer and rows of one write of a partition; `stored` and `read`, one after the other, may be of two.

        Args:
            node: the partition.
            columns: which columns, where it has them.

        Raises:
            LakeError: it was never written, or is damaged.
        """
        path = self.path(node)
        with _reading(node, path), lake_files.opened(path) as source:
            file = pq.ParquetFile(source)
            return _stored_of(node, path, _footer_of(file)), file.read(columns=_there(file, columns))

    def batches_of(self, node: Node, columns: Collection[str], rows: int) -> tuple[Stored, Iterator[pa.RecordBatch]]:
        """Like `copy_of`, with at most so many rows at once: not all of a partition need fit into memory.

        Raises:
            LakeError: it was never written, or is damaged; where the damage is among the rows, while they are read.
        """
        path = self.path(node)
        with contextlib.ExitStack() as stack, _reading(node, path):
            file = pq.ParquetFile(stack.enter_context(lake_files.opened(path)))
            stored = _stored_of(node, path, _footer_of(file))
            return stored, _batches(node, path, file, columns, rows, stack.pop_all())

    def stored(self, node: Node) -> Stored | None:
        """What lies in the lake for a partition, read from the file's footer; None where there is nothing."""
        path = self.path(node)
        try:
            footer = lake_files.footer_of(path)
        except FileNotFoundError:
            return None
        except StoreError as error:
            raise LakeError(_store_problem(node, path, error)) from error
        except (OSError, pa.ArrowInvalid) as error:
            raise LakeError(f"{node}: {path} is damaged ({error}): delete it and materialize it again") from error
        return _stored_of(node, path, footer)

    def imported(self, node: Node) -> Stored | None:
        """What was imported into a partition; None where its rows were made here, or cannot be read."""
        with contextlib.suppress(LakeError):
            stored = self.stored(node)
            return stored if stored is not None and stored.provenance.imported else None
        return None

    def keys(self, table: str) -> list[str]:
        """Partition keys of a table that are in the lake."""
        folder = self.folder(table)
        try:
            with as_os_error():
                return sorted(_key_of(path, table) for path in folder.glob(f"**/{ROWS_FILE}"))
        except StoreError as error:
            raise LakeError(_store_problem(table, folder, error)) from error

    def marks(self, tables: Collection[str] | None = None) -> dict[str, Any]:
        """What tells each file of some tables, or of all, from the one that was in its place before.

        Raises:
            LakeError: the store does not answer.
        """
        found: dict[str, Any] = {}
        for folder in [self.root] if tables is None else map(self.folder, tables):
            try:
                found |= lake_files.marks(folder)
            except StoreError as error:
                raise LakeError(_store_problem("the lake", folder, error)) from error
        return found

    def ensure_schema(self, table: str, empty: pl.DataFrame) -> None:
        """Put an empty file with the table's columns beside its partitions, so that views of it always work.

        Raises:
            LakeError: the store refuses it.
        """
        path = self.folder(table) / SCHEMA_FILE
        with contextlib.suppress(OSError, pl.exceptions.PolarsError), lake_files.opened(path) as file:
            if pl.read_parquet_schema(file) == empty.schema:
                return
        try:
            lake_files.put(path, empty, {})
        except (OSError, pl.exceptions.PolarsError) as error:
            raise LakeError(_write_problem(table, path, error)) from error


@contextlib.contextmanager
def _reading(node: Node, path: UPath) -> Iterator[None]:
    """What goes wrong with a partition's file, as an error that says what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise LakeError(f"{node} is not in the lake ({path}): materialize it first") from error
    except StoreError as error:
        raise LakeError(_store_problem(node, path, error)) from error
    except (OSError, pa.ArrowInvalid) as error:
        raise LakeError(f"{node}: {path} is damaged ({error}): delete it and materialize it again") from error


def _batches(
    node: Node, path: UPath, file: pq.ParquetFile, columns: Collection[str], rows: int, opened: contextlib.ExitStack
) -> Iterator[pa.RecordBatch]:
    """The rows of an open file, which is closed at the end; only its own faults are told as such, not the reader's."""
    with opened:
        batches = file.iter_batches(rows, columns=_there(file, columns))
        while True:
            with _reading(node, path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def _there(file: pq.ParquetFile, columns: Collection[str]) -> list[str]:
    return [name for name in file.schema_arrow.names if name in columns]


def _footer_of(file: pq.ParquetFile) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items()}


def _stored_of(node: Node, path: UPath, footer: dict[str, str]) -> Stored:
    if FOOTER_KEY not in footer:
        raise LakeError(f"{node}: {path} was not written by this lake: move it away")
    content = orjson.loads(footer[FOOTER_KEY])
    return Stored(content["data_version"], content["rows"], Provenance(**content["provenance"]))


def _key_of(path: UPath, table: str) -> str:
    parts = path.parts[path.parts.index(table) + 1 : -1] if table in path.parts else ()
    return "|".join(part.partition("=")[2] for part in parts)


def _footer(stored: Stored) -> dict[str, str]:
    content = {"data_version": stored.data_version, "rows": stored.rows, "provenance": stored.provenance.__dict__}
    return {FOOTER_KEY: orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()}


def _write_problem(what: Node | str, path: UPath, error: OSError | pl.exceptions.PolarsError) -> str:
    # Polars passes the operating system's error on as text alone.
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)
    advice = "free space there" if full else _STORE_ADVICE if is_remote(path) else "check that folder"
    return f"{what}: cannot write {path}: {error}; the old rows stay: {advice} and materialize it again"


_STORE_ADVICE = "check the bucket's name, AWS_ENDPOINT_URL and the AWS_ credentials"


def _store_problem(what: Node | str, path: UPath, error: StoreError) -> str:
    return f"{what}: {path} cannot be read: {error}: {_STORE_ADVICE}, or wait until the store answers again"


def checked(node: Node, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame in its table's column order.

    Raises:
        LakeError: a column is missing or has another type, a key repeats, or a value is out of bounds; names table,
            partition, column and the first bad rows. Tables that SQL declares are taken as they are.
    """
    table = TABLES.get(node.asset)
    if table is None:
        return frame
    faults = list(_column_faults(table, frame))
    if faults:
        raise LakeError(f"{node}: {'; '.join(faults)}")
    frame = frame.select(table.column_names())
    good, failures = table.filter(frame)
    if good.height < frame.height:
        raise LakeError(f"{node}: {_rule_faults(table, failures)}")
    return frame


def _column_faults(table: Table, frame: pl.DataFrame) -> Iterator[str]:
    declared = {name: column.dtype for name, column in table.columns().items()}
    for name, dtype in declared.items():
        if name not in frame.columns:
            yield f"column {name} is missing"
        elif frame.schema[name] != dtype:
            yield f"column {name} is {frame.schema[name]}, declared {dtype}"
    yield from (f"column {name} is not declared" for name in frame.columns if name not in declared)


def _rule_faults(table: Table, failures: dy.FailureInfo) -> str:
    keys = table.primary_key()
    first = failures.invalid().head(3)
    rules = ", ".join(f"{rule} ({count} rows)" for rule, count in failures.counts().items())
    columns = {rule.partition("|")[0] for rule in failures.counts()}
    shown = [name for name in first.columns if name in {*keys, *columns}]
    return f"rows break {rules}; first bad rows: {[_short(row) for row in first.select(shown).iter_rows(named=True)]}"


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value[:80] if isinstance(value, str) else value for name, value in row.items()}
