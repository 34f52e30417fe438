"""The IO manager of the lake: an asset's frame becomes its partition's file, and is read back from there."""

from __future__ import annotations

from typing import Any

import dagster as dg
import orjson
import polars as pl
from upath import UPath

from partitions.grid import WHOLE, Node
from resources.lake import ROWS_FILE, Lake, Provenance

PROVENANCE_METADATA = "provenance"


class LakeIOManager(dg.UPathIOManager):
    """Stores polars frames in the lake.

    An asset hands its provenance over as output metadata; loading an input gives one frame, or a dict of frames by
    partition key.
    """

    def __init__(self, lake: Lake):
        self.lake = lake
        super().__init__(base_path=lake.root)

    def get_asset_relative_path(self, context: dg.InputContext | dg.OutputContext) -> UPath:
        """Where an asset without partitions lies, below the lake's root."""
        return UPath(*context.asset_key.path) / ROWS_FILE

    def get_path_for_partition(self, context: dg.InputContext | dg.OutputContext, path: UPath, partition: str) -> UPath:
        """Where a partition lies; `partition` is slash-formatted by the base class."""
        return self.lake.path(Node(context.asset_key.path[-1], partition.replace("/", "|")))

    def make_directory(self, path: UPath) -> None:
        """Nothing: the lake makes what it needs, and in an object store that must not be a bucket."""

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        """Write a frame with its provenance."""
        node = Node(context.asset_key.path[-1], context.partition_key if context.has_partition_key else WHOLE)
        given = context.output_metadata[PROVENANCE_METADATA]
        self.lake.write(node, obj, Provenance(**orjson.loads(orjson.dumps(getattr(given, "value", given)))))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.DataFrame:
        """Read the frame that lies at `path`."""
        asset = context.asset_key.path[-1]
        parts = path.relative_to(self.lake.root).parts[1:-1]
        return self.lake.read(Node(asset, "|".join(part.partition("=")[2] for part in parts)))
