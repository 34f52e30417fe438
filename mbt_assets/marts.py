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
from mbt_assets.stage import OWNERS, Stage, StageSpec, provenance_of, when_updated
from partitions.axes import Axes
from partitions.grid import MARTS, SCORES, Node
from partitions.study import Study
from resources import warehouse
from resources.artifacts import Artifacts
from resources.lake import Lake, Stored
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


def _cell_metrics(stage: Stage) -> pl.DataFrame:
    """This cell's scores, read by key, under the SQL that the whole lake could be put through."""
    study = stage.study
    with contextlib.closing(duckdb.connect()) as connection:
        udfs.register(connection, study.resamples, study.seed)
        for score in SCORES:
            connection.register(score, stage.read(score, stage.node.key))
        variants = warehouse.variants_frame(study).filter(pl.col("variant") == stage.variant)
        connection.register("variants", variants)
        connection.register("settings", warehouse.settings_frame(study))
        frame = connection.sql(_statement("cell_metrics")).pl()
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
    with sql_over(stage.lake, stage.study, (*TABLES, "cell_metrics"), mixed) as connection:
        return connection.sql(mart.statement).pl()


def comments() -> dict[str, tuple[str, dict[str, str]]]:
    """Description and column descriptions of every lake table, for DuckDB's catalogue."""
    found = {}
    for name, schema in TABLES.items():
        columns = {column: spec.description or "" for column, spec in schema.columns().items()}
        found[name] = ((schema.__doc__ or "").strip(), columns)
    for name in SQL_TABLES:
        mart = sql.load(name)
        found[name] = (mart.description, dict(mart.columns))
    return found


def build_warehouse(lake: Lake, artifacts: Artifacts, study: Study) -> dict[str, int]:
    """Build the warehouse file anew and swap it in; gives the rows of each view."""
    declare_sql_tables(lake, study)
    return warehouse.build(artifacts.files["warehouse"], lake, study, comments())


def warehouse_asset(axes: Axes) -> dg.AssetsDefinition:
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


STAGES = [
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
            automation=when_updated("cell_metrics"),
        )
        for name in MARTS
    ),
]
