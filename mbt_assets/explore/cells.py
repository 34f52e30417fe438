"""What a cell's list is filtered, sorted and counted by: the narrow columns of its files, kept in DuckDB's memory.

Traces and replies stay in the lake: of a cell with 100 000 rollouts some 20 MB are kept here.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import polars as pl

from mbt_assets.explore import NotFound
from partitions.grid import SCORES, Node, cell_key
from resources import lake_files
from resources.lake import Lake
from resources.lake_in_duckdb import open_lake, steadily
from resources.provenance import quoted
from resources.tables import TABLES

MOST_CELLS = 12
MOST_ORDERS = 64
"""How many cells, and how many of their filtered and sorted lists, are kept."""
LOOK_EVERY_S = 1.0
"""Seconds for which a cell's files are taken for unchanged."""
SHOWN = 300
"""Characters that are kept of a text; a filter looks into the whole of it."""

PARTS = ("validation_questions", "validation_rollouts", *SCORES)
"""Tables of the lake that a cell's list is made from."""

Rows = np.ndarray[Any, np.dtype[np.int32]]

_COLUMNS = f"""
    SELECT
        row_number() OVER (ORDER BY question.sample_id, rollout.question_id, rollout.rollout_id)::INTEGER - 1 AS row,
        rollout.question_id,
        rollout.rollout_id::INTEGER AS rollout_id,
        rollout.error IS NOT NULL AS failed,
        split_part(rollout.error, ':', 1) AS error_kind,
        rollout.completion_tokens::INTEGER AS tokens,
        left(question.question, {SHOWN}) AS question,
        left(question.answer, {SHOWN}) AS gold,
        question.question_type,
        question.tier,
        left(answer.predicted_answer, {SHOWN}) AS predicted,
        answer.answer_found,
        answer.exact_match::FLOAT AS exact_match,
        answer.f1::FLOAT AS f1,
        answer.truncated,
        answer.looping,
        answer.degenerate,
        answer.empty_reasoning,
        verdict.status AS verdict_status,
        verdict.verdict,
        verdict.judge_correct::FLOAT AS judge_correct,
        hit.status AS hit_status,
        hit.answer_hit::FLOAT AS answer_hit,
        rrp.status AS rrp_status,
        rrp.arrival::FLOAT AS arrival,
        rrp.redundant_fraction::FLOAT AS redundancy,
        rrp.regulation::FLOAT AS regulation,
        mqi.status AS mqi_status,
        mqi.l_obs::INTEGER AS l_obs,
        mqi.phases
    FROM {{validation_rollouts}} AS rollout
    LEFT JOIN {{validation_questions}} AS question ON rollout.question_id = question.question_id
    LEFT JOIN {{answer_scores}} AS answer
        ON rollout.question_id = answer.question_id AND rollout.rollout_id = answer.rollout_id
    LEFT JOIN {{judge_verdicts}} AS verdict
        ON rollout.question_id = verdict.question_id AND rollout.rollout_id = verdict.rollout_id
        AND verdict.judge = $judge
    LEFT JOIN {{answer_hits}} AS hit
        ON rollout.question_id = hit.question_id AND rollout.rollout_id = hit.rollout_id AND hit.judge = $judge
    LEFT JOIN {{rrp_scores}} AS rrp
        ON rollout.question_id = rrp.question_id AND rollout.rollout_id = rrp.rollout_id AND rrp.judge = $judge
    LEFT JOIN {{mqi_scores}} AS mqi
        ON rollout.question_id = mqi.question_id AND rollout.rollout_id = mqi.rollout_id AND mqi.judge = $judge
"""


@dataclass
class Cell:
    """The narrow columns of a cell, as a table of the memory that it belongs to.

    Attributes:
        table: its name; its column `row` counts from 0 in the order of the questions.
        sources: by table of the lake, what to select its rows from.
        marks: of the files that it was made from.
        count: its rollouts.
        imported: file that the rollouts were imported from; empty where they were made here.
        outdated: tables of scores whose rows were made of other rollouts than those that are there, and are left out.
        missing: tables of scores that are not there.
        looked: when its files were last found unchanged; monotonic seconds.
        orders: rows that a filter left, in their order, by the filter.
    """

    table: str
    sources: dict[str, str]
    marks: dict[str, Any]
    imported: str
    outdated: list[str]
    missing: list[str]
    count: int = 0
    looked: float = field(default_factory=time.monotonic)
    orders: OrderedDict[Any, Rows] = field(default_factory=OrderedDict)

    @cached_property
    def version(self) -> str:
        """Tells apart what the cell was made from, so that a page knows whether its rows are of the same files."""
        return hashlib.sha256(repr(sorted(self.marks.items())).encode()).hexdigest()[:16]


class Cells:
    """The cells that were looked at last.

    Args:
        lake: that holds them.
        judge: whose scores are shown: the study's primary judge.
    """

    def __init__(self, lake: Lake, judge: str):
        self.lake = lake
        self.judge = judge
        self._memory = duckdb.connect()
        open_lake(self._memory, lake)
        for table in PARTS:
            # Stands in for what is not there: the same columns, and no rows.
            self._memory.register("empty", TABLES[table].create_empty().to_arrow())
            self._memory.execute(f"CREATE TABLE no_{table} AS FROM empty")
            self._memory.unregister("empty")
        self._names = (f"cell_{number}" for number in itertools.count())
        self._kept: OrderedDict[tuple[str, str], Cell] = OrderedDict()
        self._making = threading.Lock()

    def asking(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own to the tables."""
        return self._memory.cursor()

    def cell(self, dataset: str, variant: str) -> Cell:
        """A cell as its files are now.

        Raises:
            NotFound: it has no rollouts.
            resources.lake.LakeError: its files are being replaced over and over.
        """
        with self._making:
            found = self._kept.get((dataset, variant))
            if found is None or not self._is_current(found, dataset, variant):
                # Made anew with the filters' lists; the old table goes with the last request that reads it.
                self._kept[dataset, variant] = found = self._made(dataset, variant)
            self._kept.move_to_end((dataset, variant))
            while len(self._kept) > MOST_CELLS:
                self._kept.popitem(last=False)
            return found

    def order(self, cell: Cell, key: Any, make: Any) -> Rows:
        """The rows of a filtered and sorted list, made once.

        Args:
            cell: that it is of.
            key: of the filter and the order.
            make: finds them.
        """
        with self._making:
            if key in cell.orders:
                cell.orders.move_to_end(key)
                return cell.orders[key]
        rows: Rows = make()
        with self._making:
            cell.orders[key] = rows
            while len(cell.orders) > MOST_ORDERS:
                cell.orders.popitem(last=False)
        return rows

    def _is_current(self, cell: Cell, dataset: str, variant: str) -> bool:
        if time.monotonic() - cell.looked < LOOK_EVERY_S:
            return True
        cell.looked = time.monotonic()
        return cell.marks == self._marks(dataset, variant)

    def _marks(self, dataset: str, variant: str) -> dict[str, Any]:
        folders = [self.lake.path(node).parent for node in _nodes(dataset, variant)]
        return {name: mark for folder in folders for name, mark in lake_files.marks(folder).items()}

    def _made(self, dataset: str, variant: str) -> Cell:
        if not self.lake.exists(Node("validation_rollouts", cell_key(dataset, variant))):
            key = cell_key(dataset, variant)
            raise NotFound(f"there are no rollouts of {key} yet: materialize validation_rollouts, or choose another")

        def make() -> Cell:
            cell = self._read(dataset, variant)
            weakref.finalize(cell, _drop, self._memory, cell.table).atexit = False
            with self.asking() as connection:
                sql = _COLUMNS.format(**cell.sources)
                connection.execute(f"CREATE OR REPLACE TABLE {cell.table} AS {sql}", {"judge": self.judge})
                counted = connection.execute(f"SELECT count(*) FROM {cell.table}").fetchone()
            cell.count = int(counted[0]) if counted else 0
            return cell

        return steadily(self.lake, make, PARTS)

    def _read(self, dataset: str, variant: str) -> Cell:
        """What the footers of the cell's files say."""
        marks = self._marks(dataset, variant)
        stored = {node: self.lake.stored(node) for node in _nodes(dataset, variant)}
        rollouts = Node("validation_rollouts", cell_key(dataset, variant))
        above = stored[rollouts]
        version = above.data_version if above else None
        missing = [node.asset for node, found in stored.items() if found is None]
        outdated = [
            node.asset
            for node, found in stored.items()
            if found is not None and node.asset in SCORES and found.provenance.inputs.get(str(rollouts)) != version
        ]
        sources = {
            node.asset: f"no_{node.asset}"
            if node.asset in missing or node.asset in outdated
            else f"read_parquet({quoted(str(self.lake.path(node)))}, hive_partitioning = false)"
            for node in stored
        }
        source = above.provenance.source if above else ""
        return Cell(next(self._names), sources, marks, source, outdated, missing)


def _nodes(dataset: str, variant: str) -> list[Node]:
    questions, *others = PARTS
    return [Node(questions, dataset), *(Node(table, cell_key(dataset, variant)) for table in others)]


def _drop(memory: duckdb.DuckDBPyConnection, table: str) -> None:
    memory.cursor().execute(f"DROP TABLE IF EXISTS {table}")


def as_rows(frame: pl.DataFrame) -> Rows:
    """The column `row` of a frame."""
    return frame["row"].to_numpy().astype(np.int32)
