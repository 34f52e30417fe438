"""Figures by SQL: each cell's metrics, the marts over the lake, and the warehouse that shows them all."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import duckdb
import polars as pl

import sql
from mbt_assets.registry import check_landing, mixed_cells
from mbt_assets.scoring import udfs
from mbt_assets.stage import OWNERS, OpTags, Stage, StageSpec, no_tags, provenance_of, when_updated
from mbt_assets.tables.attachments import attachments
from partitions.axes import Axes
from partitions.grid import MARTS, Node
from partitions.study import Study
from resources import warehouse
from resources.artifacts import Artifacts
from resources.lake import Lake, Stored
from resources.lake_in_duckdb import steadily
from resources.tables import LAKE_TABLES, SQL_TABLES, TABLES


@contextlib.contextmanager
def sql_over(
    lake: Lake, study: Study, tables: tuple[str, ...], without: Sequence[str] = ()
) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB with views of `tables` (some cells left out) and the functions that the SQL files call."""
    with contextlib.closing(warehouse.lake_connection(lake, study, tables, without)) as connection:
        udfs.register(connection, study.resamples, study.seed)
        yield connection


def declare_sql_tables(lake: Lake, study: Study) -> None:
    """Give every table that SQL makes its empty file, so that views of it work before it was ever made."""
    with contextlib.closing(duckdb.connect()) as connection:
        udfs.register(connection, study.resamples, study.seed)
        for name, schema in TABLES.items():
            connection.register(name, schema.create_empty())
        for name, frame in warehouse.study_frames(study).items():
            connection.register(name, frame)
        for name in SQL_TABLES:
            # Of no rows, some marts still make some (a cell that is missing is shown): keep the columns alone.
            empty = connection.sql(f"SELECT * FROM ({_statement(name)}) LIMIT 0").pl()
            lake.ensure_schema(name, empty)
            connection.register(name, empty)


def _statement(name: str) -> str:
    return sql.load(name).statement


def _cell_sql(stage: Stage) -> pl.DataFrame:
    """This cell's parents, read by key, under the SQL that the whole lake could be put through."""
    study = stage.study
    with contextlib.closing(duckdb.connect()) as connection:
        udfs.register(connection, study.resamples, study.seed)
        for parent in stage.grid.parents(stage.node):
            connection.register(parent.asset, stage.read(parent.asset, parent.key))
        connection.register("settings", warehouse.settings_frame(study))
        return connection.sql(_statement(stage.node.asset)).pl()


def _cell_metrics(stage: Stage) -> pl.DataFrame:
    frame = _cell_sql(stage)
    if frame.height != 1:
        raise ValueError(f"{stage.node}: cell_metrics.sql made {frame.height} rows of one cell")
    return frame


def _cell_figures(frame: pl.DataFrame) -> dict[str, Any]:
    row = frame.row(0, named=True)
    return {
        name: value for name, value in row.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _mart_figures(frame: pl.DataFrame) -> dict[str, Any]:
    """How many rows show a figure for each numeric column: what is missing is seen at a glance."""
    return {f"n_{name}": frame[name].count() for name, dtype in frame.schema.items() if dtype.is_float()}


def _mart(stage: Stage) -> pl.DataFrame:
    declare_sql_tables(stage.lake, stage.study)
    mart = sql.load(stage.node.asset)
    mixed = mixed_cells(stage.lake, stage.grid.keys("cell_metrics"))
    stage.note(cells_left_out=len(mixed))
    if mixed:
        # Each table would show another checkpoint: rather none, until the re-score is through.
        stage.context.log.warning("%s leaves out cells that are being re-scored: %s", stage.node, ", ".join(mixed))
    tables = tables_of(mart)
    with sql_over(stage.lake, stage.study, tables, mixed) as connection:
        frame = steadily(stage.lake, lambda: connection.sql(mart.statement).pl(), tables)
    stage.note(**attachments(stage.node.asset, frame, stage.study))
    return frame


def tables_of(file: sql.SqlFile) -> tuple[str, ...]:
    """The lake tables that a SQL file reads; what else it reads is of the study."""
    return tuple(name for name in file.inputs if name in LAKE_TABLES)


def comments() -> dict[str, warehouse.Comment]:
    """Description and column descriptions of every lake table and view, for DuckDB's catalogue."""
    found = {name: warehouse.described(schema) for name, schema in TABLES.items()}
    for name in (*SQL_TABLES, *sql.VIEWS):
        mart = sql.load(name)
        found[name] = (mart.description, dict(mart.columns))
    return found


def build_warehouse(lake: Lake, artifacts: Artifacts, study: Study) -> dict[str, int]:
    """Build the warehouse file anew and swap it in; gives the rows of each view."""
    declare_sql_tables(lake, study)
    views = {name: _statement(name) for name in sql.VIEWS}
    return warehouse.build(artifacts.files["warehouse"], lake, study, comments(), views)


def warehouse_asset(axes: Axes, op_tags: OpTags = no_tags) -> dg.AssetsDefinition:
    """The asset of the warehouse file."""
    study = axes.grid.study

    @dg.asset(
        name="warehouse",
        deps=axes.deps_of("warehouse"),
        group_name="warehouse",
        kinds={"duckdb"},
        owners=OWNERS,
        description="mbt.duckdb: views of every lake table and mart; deleted and rebuilt at any time.",
        automation_condition=when_updated(*MARTS),
        required_resource_keys={"artifacts"},
        op_tags=op_tags("warehouse"),
    )
    def built(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        artifacts: Artifacts = context.resources.artifacts
        node = Node("warehouse")
        provenance = provenance_of(artifacts, study, node, context.run_id)
        counts = build_warehouse(artifacts.lake, artifacts, study)
        version = hashlib.sha256(provenance.fingerprint.encode()).hexdigest()
        artifacts.record("warehouse", Stored(version, sum(counts.values()), provenance))
        rows = {f"rows_{name}": counts[name] for name in LAKE_TABLES}
        path = dg.MetadataValue.path(str(artifacts.files["warehouse"]))
        return dg.MaterializeResult(metadata={"path": path, **rows}, data_version=dg.DataVersion(version))

    return built


def _cell_stage(name: str) -> StageSpec:
    return StageSpec(
        name, "scores", _cell_sql, ("duckdb",), landing=check_landing, description=sql.load(name).description
    )


STAGES = [
    _cell_stage("cell_estimates"),
    _cell_stage("judge_reliability"),
    StageSpec(
        "cell_metrics",
        "scores",
        _cell_metrics,
        ("duckdb",),
        figures=_cell_figures,
        landing=check_landing,
        description=sql.load("cell_metrics").description,
    ),
    *(
        StageSpec(
            name,
            "marts",
            _mart,
            ("duckdb",),
            figures=_mart_figures,
            description=sql.load(name).description,
            automation=when_updated("judge_reliability", "cell_metrics"),
        )
        for name in MARTS
    ),
]
