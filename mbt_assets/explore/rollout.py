"""One validation rollout with all that is known of it: its question, its scores, what every judge said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mbt_assets.explore import NotFound
from mbt_assets.explore.links import outdated, stored
from mbt_assets.explore.source import Asked
from partitions.grid import SCORES, Node, cell_key
from resources.tables import JUDGED_TABLES

Row = dict[str, Any]
BY_KEY = "WHERE question_id = ? AND rollout_id = ?"


@dataclass(frozen=True)
class Rollout:
    """A rollout and what belongs to it.

    Attributes:
        dataset: of its cell.
        variant: of its cell.
        row: its row of `validation_rollouts`.
        question: its row of `validation_questions`; None where there is none.
        scores: its row of `answer_scores`; None where there is none that was made of this very rollout.
        judged: by judged table, a row for each judge, the primary one first.
        outdated: tables whose rows were made of other rollouts of this cell, and are left out.
        source: where the rollouts were imported from; empty where they were made here.
    """

    dataset: str
    variant: str
    row: Row
    question: Row | None
    scores: Row | None
    judged: dict[str, list[Row]]
    outdated: list[str]
    source: str

    @property
    def gold(self) -> list[str]:
        """The gold answer and its aliases."""
        return [self.question["answer"], *self.question["aliases"]] if self.question else []

    @property
    def judges(self) -> list[str]:
        """Names of the judges that have a profile or phases of it, the primary one first."""
        rows = [*self.judged["rrp_scores"], *self.judged["mqi_scores"]]
        return list(dict.fromkeys(row["judge"] for row in rows))

    def said(self, table: str, judge: str | None = None) -> Row | None:
        """What one judge, or the first, said; None where that judge was not asked, or has no score."""
        rows = [row for row in self.judged[table] if judge in (None, row["judge"]) and row["status"] == "scored"]
        return rows[0] if rows else None


def read_rollout(asked: Asked, dataset: str, variant: str, question_id: str, rollout_id: int) -> Rollout:
    """A rollout with what belongs to it.

    Raises:
        NotFound: there is no such rollout.
    """
    key = [question_id, rollout_id]
    rollouts = asked.partition("validation_rollouts", dataset, variant)
    row = asked.row(f"SELECT * FROM {rollouts} {BY_KEY}", key, ("validation_rollouts",))
    if row is None:
        where = f"{dataset}|{variant}"
        raise NotFound(f"{where} has no rollout {rollout_id} of question {question_id!r}: see the cell's list for all")
    old = outdated(asked.source, SCORES, dataset, variant)
    found = {table: [] if table in old else _rows(asked, table, dataset, variant, key) for table in SCORES}
    origin = stored(asked.source, Node("validation_rollouts", cell_key(dataset, variant)))
    return Rollout(
        dataset,
        variant,
        row,
        read_question(asked, dataset, question_id),
        next(iter(found["answer_scores"]), None),
        {table: _by_judge(found[table], asked.source.study.judges) for table in JUDGED_TABLES},
        old,
        origin.provenance.source if origin else "",
    )


def read_question(asked: Asked, dataset: str, question_id: str, table: str = "validation_questions") -> Row | None:
    """A question's row; None where there is none."""
    questions = asked.partition_if_stored(table, dataset)
    return asked.row(f"SELECT * FROM {questions} WHERE question_id = ?", [question_id], (table,)) if questions else None


def questions_in(asked: Asked, table: str, dataset: str) -> str:
    """SQL for the questions of a dataset as lists show them; without a row where they are not stored."""
    questions = asked.partition_if_stored(table, dataset)
    texts = ("question_id", "question", "answer", "question_type", "tier")
    if questions is not None:
        return f"(SELECT {', '.join(texts)}, sample_id FROM {questions})"
    return f"(SELECT {', '.join(f'NULL::VARCHAR AS {name}' for name in texts)}, NULL::BIGINT AS sample_id LIMIT 0)"


def page_of(table: str, page: int, size: int) -> str:
    """SQL for one page of a table with `place` from 1, and `listed`, its rows; past the end, it is the last page.

    Args:
        table: its name.
        page: from 1.
        size: rows of a page.
    """
    return f"""
    SELECT * FROM (SELECT *, count(*) OVER () AS listed FROM {table})
    WHERE (place - 1) // {size} = least({page - 1}, (listed - 1) // {size}) ORDER BY place"""


def _rows(asked: Asked, table: str, dataset: str, variant: str, key: list[Any]) -> list[Row]:
    partition = asked.partition_if_stored(table, dataset, variant)
    return asked.rows(f"SELECT * FROM {partition} {BY_KEY}", key, (table,)).to_dicts() if partition else []


def _by_judge(rows: list[Row], judges: list[str]) -> list[Row]:
    place = {judge: number for number, judge in enumerate(judges)}
    return sorted(rows, key=lambda row: (place.get(row["judge"], len(place)), row["judge"]))
