"""The code location of `backfill.py`: the graph of the study, whose rollouts are made up rather than asked for."""

from dataclasses import replace
from typing import Any

import polars as pl

from mbt_assets import rollouts
from mbt_assets.definitions import Platform, build_platform
from mbt_assets.stage import Stage, lake_asset
from partitions.grid import Node
from resources.lake import Provenance
from resources.tables import TABLES

ASSET = "validation_rollouts"
ROWS = 50


def made_up(stage: Stage) -> pl.DataFrame:
    """Rows that fit the table, of no model."""
    return rows(ASSET, ROWS)


def rows(table: str, count: int, **values: str) -> pl.DataFrame:
    """Rows that a table's schema allows: what it must have, and nothing in what may be null."""
    columns = TABLES[table].columns()
    filled = {
        name: [values.get(name, None if column.nullable else _filler(column.dtype, row)) for row in range(count)]
        for name, column in columns.items()
    }
    return pl.DataFrame(filled, schema={name: column.dtype for name, column in columns.items()})


def _filler(dtype: pl.DataType, row: int) -> Any:
    if dtype == pl.String:
        # As long as a response may well be.
        return f"{row} " + "word " * 100
    if isinstance(dtype, pl.List):
        return []
    return False if dtype == pl.Boolean else row + 1


def prepare(platform: Platform) -> None:
    """Put what the cells are made from into the lake."""
    for asset, values in (("validation_questions", {"tier": "easy"}), ("checkpoints", {})):
        for key in platform.axes.grid.keys(asset):
            frame = rows(asset, 1, **values)
            platform.artifacts.lake.write(Node(asset, key), frame, Provenance("made up", {}, {}))


def graph() -> Platform:
    """The study's graph with that asset in place of its own."""
    platform = build_platform()
    (spec,) = [stage for stage in rollouts.STAGES if stage.name == ASSET]
    fake = lake_asset(
        platform.axes, replace(spec, make=made_up, checks=(), figures=None, landing=lambda stage, frame: None)
    )
    assets = [fake if asset.keys == fake.keys else asset for asset in platform.assets]
    return replace(platform, assets=assets)


defs = graph().definitions()
