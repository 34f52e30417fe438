"""The reference of tables and columns, made from the schemas of the lake and the headers of the SQL files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import duckdb
from markdown_text import prose, table

import sql
from mbt_assets.scoring import udfs
from partitions.grid import CELL_SQL, MARTS, Grid
from partitions.study import Study
from partitions.study_file import load_study
from resources.provenance import VIEW as PROVENANCE
from resources.provenance import Provenances
from resources.study_frames import STUDY_TABLES, study_frames
from resources.tables import TABLES, Table

AXES = {(True, True): "dataset × variant", (True, False): "dataset", (False, True): "variant", (False, False): "none"}
Types = dict[str, dict[str, str]]


def page() -> str:
    """The page as Markdown."""
    study, types = load_study("embedded"), column_types()
    groups = [
        ("Lake", "One folder per table and partition.", [_lake(name, types, study) for name in TABLES]),
        ("Figures of a cell", "Made with each cell.", [_file(name, types, study) for name in CELL_SQL]),
        ("Marts", "What puts cells side by side.", [_file(name, types, study) for name in MARTS]),
        ("Views", "Joins over the lake ([examples](../lineage.md)).", [_file(name, types) for name in sql.VIEWS]),
        (
            "The study as tables",
            "In the warehouse alone.",
            [_schema(name, schema, types) for name, schema in study_tables().items()],
        ),
    ]
    parts = [f"## {title}\n\n{text}\n\n" + "\n\n".join(sections) for title, text, sections in groups]
    return "\n\n".join(parts) + "\n"


def study_tables() -> dict[str, Table]:
    """Tables of the warehouse that are no files of the lake."""
    return {**STUDY_TABLES, PROVENANCE: Provenances}


def column_types() -> Types:
    """DuckDB's type of each column, by table; that of a SQL file's columns is what it makes of tables without rows."""
    study = load_study("embedded")
    with contextlib.closing(duckdb.connect()) as connection:
        udfs.register(connection, study.resamples, study.seed)
        for name, schema in {**TABLES, PROVENANCE: Provenances}.items():
            connection.register(name, schema.create_empty())
        for name, frame in study_frames(study).items():
            connection.register(name, frame)
        for name in (*CELL_SQL, *MARTS, *sql.VIEWS):
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM ({sql.load(name).statement}) LIMIT 0")
        names = (*TABLES, *study_tables(), *CELL_SQL, *MARTS, *sql.VIEWS)
        described = {name: connection.execute(f"DESCRIBE {name}").fetchall() for name in names}
    return {name: {row[0]: row[1] for row in rows} for name, rows in described.items()}


def undescribed() -> list[str]:
    """Columns, as `table.column`, of which nothing says what they hold."""
    schemas = {**TABLES, **study_tables()}
    columns = {name: {c: spec.description or "" for c, spec in t.columns().items()} for name, t in schemas.items()}
    columns |= {name: sql.load(name).columns for name in (*CELL_SQL, *MARTS, *sql.VIEWS)}
    return [f"{name}.{column}" for name, there in columns.items() for column, text in there.items() if not text]


def _lake(name: str, types: Types, study: Study) -> str:
    return _schema(name, TABLES[name], types, _partitions(name, study))


def _schema(name: str, schema: Table, types: Types, partitions: str = "") -> str:
    keys = [column for column, spec in schema.columns().items() if spec.primary_key]
    rows = [
        [f"`{column}`", f"`{types[name][column]}`", "null" if spec.nullable else "", prose(spec.description or "")]
        for column, spec in schema.columns().items()
    ]
    return _section(name, (schema.__doc__ or "").strip(), keys, partitions, ["column", "type", "", "meaning"], rows)


def _file(name: str, types: Types, study: Study | None = None) -> str:
    file = sql.load(name)
    rows = [[f"`{column}`", f"`{types[name][column]}`", prose(text)] for column, text in file.columns.items()]
    text = f"{file.description} Made from: {', '.join(file.inputs)}."
    partitions = _partitions(name, study) if study else ""
    return _section(name, text, file.grain, partitions, ["column", "type", "meaning"], rows)


def _section(
    name: str, text: str, keys: Sequence[str], partitions: str, head: Sequence[str], rows: list[list[str]]
) -> str:
    facts = f"**Key**: {', '.join(f'`{key}`' for key in keys)}."
    if partitions:
        facts += f" **Partitions**: {partitions}."
    return f"### {name}\n\n{prose(text)}\n\n{facts}\n\n{table(head, rows)}"


def _partitions(name: str, study: Study) -> str:
    datasets, variants = Grid(study).axes_of(name)
    return AXES[datasets is not None, variants is not None]
