"""The lake as an export has copied it: what is asked of it later is answered for the rows that were copied."""

from __future__ import annotations

from typing import Any

import duckdb

from partitions.grid import Node
from resources.lake import Lake, Stored


class Snapshot(Lake):
    """A lake whose copied partitions stay as they were copied, whatever is written to them meanwhile.

    Args:
        lake: the lake.
        connection: of the database that the rows were copied into.
        copied: what was stored of each copied partition.
        absent: partitions that would have been copied, had they been there.
        where: the condition that finds a partition's rows in its table.
    """

    def __init__(
        self,
        lake: Lake,
        connection: duckdb.DuckDBPyConnection,
        copied: dict[Node, Stored],
        absent: set[Node],
        where: dict[Node, str],
    ):
        self.root = lake.root
        self._connection = connection
        self._copied = copied
        self._absent = absent
        self._where = where

    def stored(self, node: Node) -> Stored | None:
        """What was copied of a partition; what lies in the lake where it was not to be copied."""
        if node in self._copied:
            return self._copied[node]
        return None if node in self._absent else super().stored(node)

    def values(self, node: Node, column: str) -> set[Any]:
        """The different values of one column of a partition; none where it was never written."""
        if node in self._copied:
            sql = f'SELECT DISTINCT "{column}" FROM {node.asset} WHERE {self._where[node]}'
            return {value for (value,) in self._connection.execute(sql).fetchall()}
        return set() if node in self._absent else super().values(node, column)
