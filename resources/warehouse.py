"""The warehouse: one DuckDB file of views over the lake, built aside and swapped in by rename.

It can be deleted and rebuilt at any time. Every reader opens it read-only, so readers and builder never block.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from dagster_duckdb import DuckDBResource

from partitions.grid import CELL_FIGURES, Grid
from partitions.modes import MODES
from partitions.study import Study, split_variant, variant
from resources.lake import Lake
from resources.tables import LAKE_TABLES, TABLES

READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


class QueryError(ValueError):
    """A query that cannot be run; the message says why in one or two lines."""


def variants_frame(study: Study) -> pl.DataFrame:
    """One row per variant of the study: variant, model, mode, base_variant, model_role."""
    rows = []
    for slug in Grid(study).variants:
        model, mode = split_variant(slug)
        role = study.models[model].role
        rows.append((slug, model, mode, variant(model, "base"), role, MODES[mode].description))
    names = ["variant", "model", "mode", "base_variant", "model_role", "description"]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def settings_frame(study: Study) -> pl.DataFrame:
    """One row: the constants that the marts use."""
    return pl.DataFrame(
        {
            "study": [study.name],
            "alpha": [study.aes.alpha],
            "beta": [study.aes.beta],
            "gamma": [study.aes.gamma],
            "seed": [study.seed],
            "primary_judge": [study.judges[0]],
            "teacher": [study.teacher],
            "resamples": [study.resamples],
        }
    )


def models_frame(study: Study) -> pl.DataFrame:
    """One row per model of the study: model, role, and what a million of its tokens cost (null: not known)."""
    rows = [
        (name, model.role, *((p.input, p.output, p.cached_input, p.currency) if (p := model.price) else [None] * 4))
        for name, model in study.models.items()
    ]
    prices = ("price_input", "price_output", "price_cached_input")
    schema = {"model": pl.String, "role": pl.String, **dict.fromkeys(prices, pl.Float64), "currency": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def study_frames(study: Study) -> dict[str, pl.DataFrame]:
    """What SQL has to know of the study itself, as tables by name."""
    return {
        "variants": variants_frame(study),
        "models": models_frame(study),
        "settings": settings_frame(study),
    }


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
    if lake.root.protocol not in ("", "file"):
        connection.register_filesystem(lake.root.fs)
    for table, schema in TABLES.items():
        if table in tables:
            lake.ensure_schema(table, schema.create_empty())
    for table in tables:
        source = f"read_parquet({_quoted(lake.glob(table))}, union_by_name = true, hive_partitioning = false)"
        chosen = _rows_of_study(Grid(study), table, without if table in CELL_FIGURES else ())
        connection.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM {source}{chosen}")
    for name, frame in study_frames(study).items():
        connection.register(f"{name}_frame", frame)
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name}_frame")
        connection.unregister(f"{name}_frame")


def _rows_of_study(grid: Grid, table: str, without: Sequence[str]) -> str:
    """The clause that leaves out partitions that the study no longer has: the lake keeps them, figures must not."""
    axes = zip(("dataset", "variant"), grid.axes_of(table), strict=True)
    # An axis may be empty, but a list in SQL may not.
    conditions = [f"{axis} IN ({', '.join(map(_quoted, keys)) or 'NULL'})" for axis, keys in axes if keys is not None]
    if without:
        conditions.append(f"dataset || '|' || variant NOT IN ({', '.join(map(_quoted, without))})")
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def lake_connection(
    lake: Lake, study: Study, tables: tuple[str, ...] = tuple(TABLES), without: Sequence[str] = ()
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the lake's views; the arguments are those of `attach_lake`."""
    connection = duckdb.connect()
    attach_lake(connection, lake, study, tables, without)
    return connection


def build(path: Path, lake: Lake, study: Study, comments: dict[str, tuple[str, dict[str, str]]]) -> dict[str, int]:
    """Build the warehouse as a new file, read every view once, and swap it in.

    Args:
        path: the DuckDB file to replace.
        lake: what the views read.
        study: fills the tables of `study_frames`.
        comments: description and column descriptions of each table.

    Returns:
        Rows of each view.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.duckdb.tmp")
    try:
        with contextlib.closing(duckdb.connect(str(temporary))) as connection:
            attach_lake(connection, lake, study, LAKE_TABLES)
            for table, (text, columns) in comments.items():
                _comment(connection, table, text, columns)
            counts = {table: _count(connection, table) for table in LAKE_TABLES}
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        temporary.with_name(temporary.name + ".wal").unlink(missing_ok=True)
    return counts


def _comment(connection: duckdb.DuckDBPyConnection, table: str, text: str, columns: dict[str, str]) -> None:
    there = {row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()}
    connection.execute(f"COMMENT ON VIEW {table} IS {_quoted(text)}")
    for name, description in columns.items():
        if name in there and description:
            connection.execute(f'COMMENT ON COLUMN {table}."{name}" IS {_quoted(description)}')


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else 0


def reads(path: Path, lake: Lake) -> bool:
    """Whether there is a warehouse whose views read this lake: one that was moved along still reads the old place."""
    if not path.is_file():
        return False
    with reading(path) as connection:
        views = query(connection, "SELECT sql FROM duckdb_views() WHERE view_name = ?", ["checkpoints"])["sql"]
    return any(_quoted(lake.glob("checkpoints")) in sql for sql in views)


@contextlib.contextmanager
def reading(path: Path, lake: Lake | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to the warehouse.

    Raises:
        QueryError: there is no warehouse yet.
    """
    if not path.is_file():
        raise QueryError(f"there is no warehouse at {path}: run `mbt demo`, or materialize the asset `warehouse`")
    resource = DuckDBResource(database=str(path), connection_config={"access_mode": "READ_ONLY"})
    with resource.get_connection() as connection:
        if lake is not None and lake.root.protocol not in ("", "file"):
            connection.register_filesystem(lake.root.fs)
        yield connection


def query(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> pl.DataFrame:
    """Run one reading statement.

    Raises:
        QueryError: it does not parse, is no SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN, is more than one
            statement, or fails.
    """
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise QueryError(f"give one SQL statement; this is {len(statements)}")
        if statements[0].type not in READS:
            raise QueryError(f"the warehouse is read-only: {statements[0].type.name} is not allowed, SELECT is")
        return connection.sql(sql, params=parameters).pl()
    except duckdb.Error as error:
        raise QueryError(str(error).split("\n\nStack Trace")[0]) from error
