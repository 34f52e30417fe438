"""The asset `report`: one HTML file with the paper's tables and figures, the marts, and what they were made of."""

import hashlib

import dagster as dg
import duckdb
import polars as pl

from mbt_assets.reporting.contents import Made, contents_of, states_of
from mbt_assets.reporting.origins import CHECKPOINTS, software
from mbt_assets.reporting.page import render
from mbt_assets.stage import OWNERS, OpTags, no_tags, provenance_of, when_updated
from mbt_assets.staleness import assess
from mbt_assets.tables.files import replaced
from mbt_assets.tables.frames import LENGTHS, Marts
from mbt_assets.tables.standing import outdated
from partitions.axes import Axes
from partitions.grid import MARTS, Grid, Node
from resources import warehouse
from resources.artifacts import Artifacts
from resources.lake import Stored
from resources.lake_in_duckdb import steadily


def all_marts(connection: duckdb.DuckDBPyConnection) -> tuple[Marts, pl.DataFrame]:
    """All marts with the lengths of responses, and the registry of checkpoints."""
    frames = {mart: warehouse.query(connection, f"SELECT * FROM {mart}") for mart in MARTS}
    return Marts(frames, warehouse.query(connection, LENGTHS)), warehouse.query(connection, CHECKPOINTS)


def report_asset(axes: Axes, op_tags: OpTags = no_tags) -> dg.AssetsDefinition:
    """The asset of the report file."""
    study = axes.grid.study

    @dg.asset(
        name="report",
        deps=axes.deps_of("report"),
        group_name="warehouse",
        kinds={"html"},
        owners=OWNERS,
        description="One self-contained HTML file: summary, heat maps, the paper's tables and figures, marts, "
        "settings, and what they were made from. Loads nothing, opens without a network.",
        automation_condition=when_updated("warehouse"),
        required_resource_keys={"artifacts"},
        op_tags=op_tags("report"),
    )
    def written(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        artifacts: Artifacts = context.resources.artifacts
        provenance = provenance_of(artifacts, study, Node("report"), context.run_id)
        with warehouse.reading(artifacts.files["warehouse"], artifacts.lake) as connection:
            marts, checkpoints = steadily(artifacts.lake, lambda: all_marts(connection))
        grid = Grid(study, artifacts.imported_cells())
        standings = assess(grid, artifacts)
        contents = contents_of(study, marts, standings, checkpoints)
        # The time of day is no part of the data: the same numbers have the same version.
        version = hashlib.sha256(render(contents).encode()).hexdigest()
        cells = states_of(grid, standings)
        made = Made(provenance.created_at, context.run_id, software(), cells, outdated(grid, artifacts))
        text = render(contents, made).encode()
        target = replaced(artifacts.files["report"], text)
        artifacts.record("report", Stored(version, len(marts.frames), provenance))
        return dg.MaterializeResult(
            metadata={"path": dg.MetadataValue.path(str(target)), "bytes": len(text), **made.counts},
            data_version=dg.DataVersion(version),
        )

    return written
