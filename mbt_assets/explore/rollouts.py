"""Which rollouts of a cell a filter leaves, and in which order: one list for the Cell page and the Trace page.

    chosen = choose(source.cells, dataset, variant, request.query_params)
    before, after = chosen.neighbours(question_id, rollout_id)      # each (question_id, rollout_id), or None
    at("trace", dataset, variant, *after, **chosen.query)           # the same list on the next page

Nothing of an address becomes SQL: values choose among conditions that stand here, or are parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from mbt_assets.explore.cells import PARTS, Cell, Cells, Rows, as_rows
from mbt_assets.scoring.mqi import PHASES
from resources.lake_in_duckdb import steadily

Key = tuple[str, int]
"""Question and rollout."""

VERDICT_NAMES = {"A": "correct", "B": "incorrect", "C": "not attempted"}
STATUSES = {
    "verdict": "verdict_status",
    "answer hit": "hit_status",
    "RRP": "rrp_status",
    "MQI": "mqi_status",
}
"""Column of each judged score that says whether it is scored."""

CHOICES: dict[str, dict[str, tuple[str, str]]] = {
    "answer": {"right": ("right", "exact_match = 1"), "wrong": ("wrong", "exact_match < 1")},
    "judged": {
        **{verdict: (f"{verdict}: {name}", f"verdict = '{verdict}'") for verdict, name in VERDICT_NAMES.items()},
        "differs": ("not as exact match", "(judge_correct = 1) <> (exact_match = 1)"),
    },
    "kind": {
        "sound": ("sound", "NOT failed AND NOT degenerate"),
        "failed": ("request failed", "failed"),
        "degenerate": ("degenerate", "degenerate AND NOT failed"),
        "truncated": ("truncated", "truncated AND NOT failed"),
        "looping": ("looping", "looping AND NOT failed"),
        "empty_reasoning": ("no reasoning", "empty_reasoning AND NOT failed"),
        "no_answer": ("no answer tags", "NOT answer_found AND NOT failed"),
    },
    "unscored": {
        f"{column.removesuffix('_status')}-{status}": (f"{score} {status}", f"{column} = '{status}'")
        for score, column in STATUSES.items()
        for status in ("unparseable", "failed")
    },
    "tier": {tier: (tier, f"tier = '{tier}'") for tier in ("easy", "medium", "hard")},
    "phase": {
        **{str(n): (f"with {n} {name}", f"list_contains(phases, {n})") for n, name in enumerate(PHASES, 1)},
        **{f"-{n}": (f"without {n} {name}", f"NOT list_contains(phases, {n})") for n, name in enumerate(PHASES, 1)},
    },
}
"""Filters with fixed values: for each value its label and its condition."""
SORTS = {
    "question": "question",
    "predicted": "predicted",
    "gold": "gold",
    "exact_match": "exact_match",
    "f1": "f1",
    "verdict": "coalesce(verdict, verdict_status)",
    "tokens": "tokens",
    "arrival": "arrival",
    "redundancy": "redundancy",
    "l_obs": "l_obs",
    "phases": "len(phases)",
    "flags": "failed::INTEGER * 8 + truncated::INTEGER * 4 + looping::INTEGER * 2 + empty_reasoning::INTEGER",
}
"""What a list can be sorted by; a minus before the name puts the greatest first."""
KNOWN: dict[str, Collection[str]] = {**CHOICES, "sort": [f"{sign}{name}" for name in SORTS for sign in ("", "-")]}
"""What an address can choose, by the name in its query."""
FIND = """(
    contains(lower(predicted), lower($find)) OR contains(lower(gold), lower($find))
    OR question_id IN (SELECT question_id FROM {validation_questions} WHERE contains(lower(question), lower($find)))
    OR (question_id, rollout_id) IN (
        SELECT (question_id, rollout_id::INTEGER) FROM {validation_rollouts}
        WHERE contains(lower(reasoning), lower($find)) OR contains(lower(content), lower($find))
        OR contains(lower(error), lower($find))
    )
)"""


@dataclass(frozen=True)
class Wanted:
    """What an address asks for.

    Attributes:
        choices: pairs of a filter of CHOICES and its value.
        question_type: only questions of this type; empty for all.
        find: a text that the question, an answer, the reasoning or the error holds, in whatever case; empty for all.
        sort: key of SORTS; empty for the order of the questions.
        is_descending: the greatest first.
    """

    choices: tuple[tuple[str, str], ...] = ()
    question_type: str = ""
    find: str = ""
    sort: str = ""
    is_descending: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Wanted:
        """What is known of an address's query; whatever is not is left aside (see `KNOWN`)."""
        choices = tuple((name, query[name]) for name, values in CHOICES.items() if query.get(name) in values)
        sort = query.get("sort", "")
        name = sort.removeprefix("-")
        known = name if name in SORTS else ""
        found = query.get("find", "").replace("\x00", "")
        return cls(choices, query.get("type", ""), found, known, bool(known) and sort.startswith("-"))

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return not (self.choices or self.question_type or self.find)

    @property
    def query(self) -> dict[str, str]:
        """The query of an address that asks for this."""
        sort = f"-{self.sort}" if self.is_descending else self.sort
        wanted = {**dict(self.choices), "type": self.question_type, "find": self.find, "sort": sort}
        return {name: value for name, value in wanted.items() if value}

    def conditions(self, sources: Mapping[str, str]) -> list[str]:
        """Conditions on a cell's columns, with `$type` and `$find` as parameters."""
        chosen = [CHOICES[name][value][1] for name, value in self.choices]
        typed = ["question_type = $type"] if self.question_type else []
        return chosen + typed + ([FIND.format(**sources)] if self.find else [])

    @property
    def parameters(self) -> dict[str, str]:
        """Of the conditions."""
        named = {"type": self.question_type, "find": self.find}
        return {name: value for name, value in named.items() if value}


class Chosen:
    """The rollouts of a cell that a filter leaves, in the order that is wanted.

    Args:
        cells: that hold the cell.
        cell: whose rollouts.
        wanted: which of them, and in which order.
    """

    def __init__(self, cells: Cells, cell: Cell, wanted: Wanted):
        self.cell = cell
        self.wanted = wanted
        self._cells = cells
        self._order = cells.order(cell, wanted, self._ordered)

    @property
    def count(self) -> int:
        """How many are left."""
        return len(self._order)

    @property
    def total(self) -> int:
        """How many the cell has."""
        return self.cell.count

    @property
    def query(self) -> dict[str, str]:
        """The query of an address that chooses the same."""
        return self.wanted.query

    def rows(self, start: int, count: int) -> pl.DataFrame:
        """Some of them in order, with the columns that the list shows and `place`, which counts from 0.

        Args:
            start: place of the first.
            count: how many at most.
        """
        start = max(start, 0)
        picked = self._order[start : start + count]
        places = pl.DataFrame({"row": picked, "place": np.arange(start, start + len(picked))})
        with self._cells.asking() as connection:
            connection.register("picked", places.to_arrow())
            return connection.sql(f"SELECT * FROM {self.cell.table} JOIN picked USING (row) ORDER BY place").pl()

    def ask(self, sql: str, **parameters: Any) -> pl.DataFrame:
        """The rows of a SELECT over `chosen`, which are those that are left, and `cell`, which are all.

        Args:
            sql: the statement, which is ours.
            **parameters: for its `$name`.
        """
        kept = "" if self.wanted.is_all else "SEMI JOIN picked USING (row)"
        with self._cells.asking() as connection:
            if kept:
                connection.register("picked", pl.DataFrame({"row": self._order}).to_arrow())
            tables = f"cell AS (FROM {self.cell.table}), chosen AS (FROM {self.cell.table} {kept})"
            return connection.sql(f"WITH {tables} {sql}", params=parameters or None).pl()

    def place(self, question_id: str, rollout_id: int) -> int | None:
        """Where a rollout stands, from 0; None where it is left out or not there."""
        sql = f"SELECT row FROM {self.cell.table} WHERE question_id = ? AND rollout_id = ?"
        with self._cells.asking() as connection:
            found = connection.execute(sql, [question_id, rollout_id]).fetchone()
        if found is None:
            return None
        places = np.flatnonzero(self._order == found[0])
        return int(places[0]) if places.size else None

    def neighbours(self, question_id: str, rollout_id: int) -> tuple[Key | None, Key | None]:
        """The rollouts before and after one; None at an end, and both where it is left out."""
        place = self.place(question_id, rollout_id)
        if place is None:
            return None, None
        around = self.rows(place - 1, 3).select("place", "question_id", "rollout_id").rows()
        keys = {where: (question, number) for where, question, number in around}
        return keys.get(place - 1), keys.get(place + 1)

    @cached_property
    def question_types(self) -> list[str]:
        """The types of the cell's questions."""
        sql = "SELECT DISTINCT question_type FROM cell WHERE question_type IS NOT NULL ORDER BY ALL"
        return self.ask(sql)["question_type"].to_list()

    def _ordered(self) -> Rows:
        conditions = self.wanted.conditions(self.cell.sources)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        direction = "DESC" if self.wanted.is_descending else "ASC"
        order = f"{SORTS[self.wanted.sort]} {direction} NULLS LAST, row" if self.wanted.sort else "row"
        sql = f"SELECT row FROM {self.cell.table} {where} ORDER BY {order}"

        def ask() -> Rows:
            with self._cells.asking() as connection:
                return as_rows(connection.sql(sql, params=self.wanted.parameters or None).pl())

        # Texts that are looked into stand in the lake.
        return steadily(self._cells.lake, ask, PARTS[:2]) if self.wanted.find else ask()


def choose(cells: Cells, dataset: str, variant: str, query: Mapping[str, str]) -> Chosen:
    """The rollouts of a cell that an address asks for.

    Args:
        cells: `source.cells`.
        dataset: of the cell.
        variant: of the cell.
        query: of the address: filters of CHOICES, `type`, `find`, `sort`; unknown names and values are left aside.

    Raises:
        mbt_assets.explore.NotFound: the cell has no rollouts.
        resources.lake.LakeError: its files are being replaced over and over.
    """
    return Chosen(cells, cells.cell(dataset, variant), Wanted.of(query))
