"""The warehouse: one DuckDB file of views over the lake, built aside and swapped in by rename.

It can be deleted and rebuilt at any time. Every reader opens it read-only, so readers and builder never block.
"""

from __future__ import annotations

import contextlib
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from dagster_duckdb import DuckDBResource

from partitions.grid import CELL_ASSETS, Grid
from partitions.study import Study
from resources.interrupts import interrupting
from resources.lake import Lake
from resources.lake_in_duckdb import one_listing, open_lake, steadily
from resources.provenance import VIEW as PROVENANCE_VIEW
from resources.provenance import Provenances, attach_provenance, quoted
from resources.study_frames import STUDY_TABLES, study_frames
from resources.study_frames import settings_frame as settings_frame
from resources.study_frames import variants_frame as variants_frame
from resources.tables import LAKE_TABLES, TABLES, Table

Comment = tuple[str, dict[str, str]]
"""A table's description, and that of each of its columns."""
_EXPLAIN = re.compile(r"^explain\b\s*(?:analy[zs]e\b)?", re.IGNORECASE)
_MAY_WRITE = re.compile(r"copy|query|execute_serialized", re.IGNORECASE)
"""What a SELECT that writes a file cannot do without: COPY in its WITH, or a function that runs a text."""
_WRITES = re.compile(r'"name":\s*"\w*(?:COPY|EXECUTE_SERIALIZED)')
_OPTIONS = re.compile(r"^\s*\([^()]*\)")

WHAT_TO_DO = {
    "Invalid string encoding found in Parquet file": "Delete this file and materialize its partition again",
    "No files found that match the pattern": "This table of the lake is gone: materialize it, or run `mbt demo`",
}
"""What a user can do about what DuckDB says of the lake's files."""


class QueryError(ValueError):
    """A query that cannot be run; the message says why in one or two lines."""


def attach_lake(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    study: Study,
    tables: tuple[str, ...],
    without: Sequence[str] = (),
) -> None:
    """Create a view per lake table, and the tables of `study_frames`, in an open database.

    Args:
        connection: of the database.
        lake: what the views read.
        study: which partitions are shown.
        tables: which views to make.
        without: cells whose scores and figures are left out.
    """
    open_lake(connection, lake)
    for table, schema in TABLES.items():
        if table in tables:
            lake.ensure_schema(table, schema.create_empty())
    with one_listing(lake):
        _make_views(connection, lake, study, tables, without)
    for name, frame in study_frames(study).items():
        connection.register(f"{name}_frame", frame)
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name}_frame")
        connection.unregister(f"{name}_frame")


def _make_views(
    connection: duckdb.DuckDBPyConnection, lake: Lake, study: Study, tables: tuple[str, ...], without: Sequence[str]
) -> None:
    for table in tables:
        source = f"read_parquet({quoted(lake.glob(table))}, union_by_name = true, hive_partitioning = false)"
        chosen = _rows_of_study(Grid(study), table, without if table in CELL_ASSETS else ())
        connection.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM {source}{chosen}")


def _rows_of_study(grid: Grid, table: str, without: Sequence[str]) -> str:
    """The clause that leaves out partitions that the study no longer has: the lake keeps them, figures must not."""
    axes = zip(("dataset", "variant"), grid.axes_of(table), strict=True)
    # An axis may be empty, but a list in SQL may not.
    conditions = [f"{axis} IN ({', '.join(map(quoted, keys)) or 'NULL'})" for axis, keys in axes if keys is not None]
    if without:
        conditions.append(f"dataset || '|' || variant NOT IN ({', '.join(map(quoted, without))})")
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def lake_connection(
    lake: Lake, study: Study, tables: tuple[str, ...] = tuple(TABLES), without: Sequence[str] = ()
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the lake's views; the arguments are those of `attach_lake`."""
    connection = duckdb.connect()
    attach_lake(connection, lake, study, tables, without)
    return connection


def build(
    path: Path,
    lake: Lake,
    study: Study,
    comments: Mapping[str, Comment],
    views: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Build the warehouse as a new file, read every table once, and swap it in.

    Args:
        path: the DuckDB file to replace.
        lake: what the views read.
        study: fills the tables of `study_frames`.
        comments: description and column descriptions of lake tables and of `views`.
        views: further views over the lake's tables: statement by name, each after those that it reads.

    Returns:
        Rows of each lake table.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.duckdb.tmp")
    try:
        with contextlib.closing(duckdb.connect(str(temporary))) as connection:
            attach_lake(connection, lake, study, LAKE_TABLES)
            attach_provenance(connection, lake)
            for view, statement in (views or {}).items():
                connection.execute(f"CREATE VIEW {view} AS {statement}")
            for table, comment in {**comments, **own_comments()}.items():
                comment_on(connection, table, comment)
            counts = {table: steadily(lake, partial(_count, connection, table), (table,)) for table in LAKE_TABLES}
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        temporary.with_name(temporary.name + ".wal").unlink(missing_ok=True)
    return counts


def own_comments() -> dict[str, Comment]:
    """Descriptions of the tables that tell of the study, and of `provenance`."""
    return {name: described(table) for name, table in STUDY_TABLES.items()} | {PROVENANCE_VIEW: described(Provenances)}


def described(table: Table) -> Comment:
    """A schema's description and those of its columns."""
    return (table.__doc__ or "").strip(), {name: spec.description or "" for name, spec in table.columns().items()}


def comment_on(connection: duckdb.DuckDBPyConnection, table: str, comment: Comment) -> None:
    """Write a description into the catalogue of an open database, for those columns that the table has."""
    text, columns = comment
    views = connection.execute("SELECT view_name FROM duckdb_views() WHERE view_name = ?", [table]).fetchall()
    connection.execute(f"COMMENT ON {'VIEW' if views else 'TABLE'} {table} IS {quoted(text)}")
    there = {row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()}
    for name, description in columns.items():
        if name in there and description:
            connection.execute(f'COMMENT ON COLUMN {table}."{name}" IS {quoted(description)}')


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else 0


def reads(path: Path, lake: Lake) -> bool:
    """Whether there is a warehouse whose views read this lake: one that was moved along still reads the old place."""
    if not path.is_file():
        return False
    with reading(path) as connection:
        views = query(connection, "SELECT sql FROM duckdb_views() WHERE view_name = ?", ["checkpoints"])["sql"]
    return any(quoted(lake.glob("checkpoints")) in sql for sql in views)


@contextlib.contextmanager
def reading(path: Path, lake: Lake | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to the warehouse.

    Raises:
        QueryError: there is no warehouse yet.
    """
    if not path.is_file():
        raise QueryError(f"there is no warehouse at {path}: run `mbt demo`, or materialize the asset `warehouse`")
    resource = DuckDBResource(database=str(path), connection_config={"access_mode": "READ_ONLY"})
    # The resource closes it only where all goes well; while one is open, others of this process read the same file,
    # even after a new one was put in its place.
    with resource.get_connection() as connection, contextlib.closing(connection):
        if lake is not None:
            open_lake(connection, lake)
        yield connection


def query(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None, *, lake: Lake | None = None
) -> pl.DataFrame:
    """Run one reading statement.

    Args:
        connection: of `reading`.
        sql: the statement.
        parameters: of the statement.
        lake: what it reads, where it reads rows: they are then all of whole writes.

    Raises:
        QueryError: it does not parse, is no SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN, is more than one
            statement, or fails.
        LakeError: the lake changed whenever it was read.
    """
    try:
        one_read(connection, sql, parameters)

        def ask() -> pl.DataFrame:
            return connection.sql(sql, params=parameters).pl()

        # Left to itself, DuckDB hears Ctrl-C, and then waits for its own threads until they have done all of the query.
        with interrupting(connection.interrupt):
            return ask() if lake is None else steadily(lake, ask)
    except duckdb.Error as error:
        raise query_error(error) from error
    except RuntimeError as error:
        # What DuckDB makes of Ctrl-C, which only the main thread hears.
        if "Query interrupted" in str(error) and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt from error
        raise


def query_error(error: duckdb.Error) -> QueryError:
    """What DuckDB says of a query that failed, less what is for its own developers; what to do about a bad file."""
    said = str(error).split("\n\nStack Trace")[0]
    for sign, what_to_do in WHAT_TO_DO.items():
        if sign in said:
            return QueryError(f"{said}\n{what_to_do}")
    return QueryError(said)


def one_read(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> duckdb.Statement:
    """The one statement of a text, which only reads.

    Args:
        connection: that is to run it.
        sql: the text.
        parameters: for its question marks.

    Raises:
        QueryError: it is no SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN of one, or is more than one statement.
        duckdb.Error: it does not parse.
    """
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise QueryError(f"give one SQL statement; this is {len(statements)}")
    read = statements[0]
    if read.type == duckdb.StatementType.EXPLAIN:
        # EXPLAIN ANALYZE carries out what it explains, and COPY writes files beside the read-only database.
        read = _explained(connection, read)
    if read.type != duckdb.StatementType.SELECT:
        raise QueryError(f"the warehouse is read-only: {read.type.name} is not allowed, SELECT is")
    if _MAY_WRITE.search(sql) and _WRITES.search(_plan(connection, read, parameters)):
        raise QueryError("the warehouse is read-only: COPY is not allowed within a SELECT, nor SQL from JSON")
    return statements[0]


def bare(sql: str) -> str:
    """A statement without the semicolon that ends it and without comments, each of which leaves a space."""
    # Places are those of bytes. What is a comment DuckDB says, which nests them: a pattern cannot.
    text = sql.encode("utf-8", "surrogatepass")
    tokens = duckdb.tokenize(sql)
    ends = [place for place, _ in tokens[1:]] + [len(text)]
    found = b""
    for (start, kind), end in zip(tokens, ends, strict=True):
        if kind == duckdb.token_type.operator and text[start:end].strip() == b";":
            break
        found += b" " if kind == duckdb.token_type.comment else text[start:end]
    return found.decode("utf-8", "surrogatepass").strip()


def _explained(connection: duckdb.DuckDBPyConnection, explain: duckdb.Statement) -> duckdb.Statement:
    """The statement that an EXPLAIN is about; the EXPLAIN where that is not plainly one statement."""
    rest = _EXPLAIN.sub("", bare(explain.query), count=1)
    try:
        found = connection.extract_statements(rest)
    except duckdb.ParserException:
        found = connection.extract_statements(_OPTIONS.sub("", rest, count=1))
    return found[0] if len(found) == 1 else explain


def _plan(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement, parameters: list[Any] | None) -> str:
    """DuckDB's plan for a statement, as JSON; nothing is carried out."""
    sql = f"EXPLAIN (FORMAT json) {bare(statement.query)}"
    return str(connection.execute(sql, parameters).fetchall()[0][-1])
