"""What every stored partition was made of, as SQL sees it: rows of `provenance`, read from the lake's footers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dataframely as dy
import duckdb
import orjson

from resources.lake import FOOTER_KEY, Lake, Stored
from resources.tables import LAKE_TABLES

VIEW = "provenance"


class Provenances(dy.Schema):
    """What every stored partition of the study was made of, from the footers of the lake's files."""

    table_name = dy.String(primary_key=True, description="table of the lake")
    partition = dy.String(primary_key=True, description="its key as `mbt status` writes it; empty for a mart")
    dataset = dy.String(nullable=True, description="dataset of the partition; NULL where it has none")
    variant = dy.String(nullable=True, description="variant of the partition; NULL where it has none")
    data_version = dy.String(description="sha256 of its rows, hex")
    rows = dy.Int64(description="how many rows it has", min=0)
    fingerprint = dy.String(description="digest of recipe and inputs: equal ones mean that it would be made the same")
    recipe = dy.String(description="the settings that its rows depend on; JSON")
    inputs = dy.String(description="data version of each partition that it was made from, by `table[partition]`; JSON")
    run_id = dy.String(description="the Dagster run that wrote it")
    materialized_at = dy.Datetime(nullable=True, description="when; UTC")
    source = dy.String(
        description="where its rows came from, if they were not made here: hub:…, mirror:… or imported:…"
    )


# The names of folders tell the partition; `partitions` tells its axes, and which partitions are of the study.
_STATEMENT = r"""
WITH footers AS ({footers}),
found AS (
    SELECT
        table_name,
        concat(
            regexp_extract(file_name, '/partition=([^/]*)/rows\.parquet$', 1),
            replace(regexp_extract(file_name, '/dataset=([^/]*/variant=[^/]*)/rows\.parquet$', 1), '/variant=', '|')
        ) AS partition,
        footer::JSON AS stored
    FROM footers
)
SELECT
    found.table_name,
    found.partition,
    partitions.dataset,
    partitions.variant,
    stored ->> '$.data_version' AS data_version,
    (stored ->> '$.rows')::BIGINT AS rows,
    stored ->> '$.provenance.fingerprint' AS fingerprint,
    stored ->> '$.provenance.recipe' AS recipe,
    stored ->> '$.provenance.inputs' AS inputs,
    stored ->> '$.provenance.run_id' AS run_id,
    try_cast(stored ->> '$.provenance.created_at' AS TIMESTAMP) AS materialized_at,
    coalesce(stored ->> '$.provenance.source', '') AS source
FROM found
INNER JOIN partitions ON found.table_name = partitions.table_name AND found.partition = partitions.partition
"""


def attach_provenance(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Create the view `provenance` in a database that has the table `partitions`; it reads footers when it is asked."""
    # One SELECT per table: a query that names tables reads the footers of their files alone.
    footers = " UNION ALL ".join(
        f"SELECT '{table}' AS table_name, file_name, decode(value) AS footer "
        f"FROM parquet_kv_metadata({quoted(lake.glob(table))}) WHERE key = encode('{FOOTER_KEY}')"
        for table in LAKE_TABLES
    )
    connection.execute(f"CREATE OR REPLACE VIEW {VIEW} AS {_STATEMENT.format(footers=footers)}")


def provenance_row(table: str, partition: str, axes: tuple[str | None, str | None], stored: Stored) -> tuple[Any, ...]:
    """A partition's row of `provenance`, in the order of the columns of `Provenances`."""
    made = stored.provenance
    at = datetime.fromisoformat(made.created_at).astimezone(UTC).replace(tzinfo=None) if made.created_at else None
    recipe, inputs = (orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() for value in (made.recipe, made.inputs))
    what = (stored.data_version, stored.rows, made.fingerprint, recipe, inputs)
    return (table, partition, *axes, *what, made.run_id, at, made.source)


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
