"""The sets of rows that students are trained on, and the lists of their rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mbt_assets.explore import NotFound
from mbt_assets.explore.links import is_made_of, stored
from mbt_assets.explore.rollout import Row, page_of, questions_in
from mbt_assets.explore.source import Asked, Source
from mbt_assets.explore.view import number_of
from mbt_assets.staleness import Standing
from partitions.grid import Node, cell_key
from partitions.modes import MODES
from partitions.study import split_variant

PER_PAGE = 50
SORTS = {"sample_id": "sample_id", "question_id": "question_id", "characters": "characters"}
KNOWN: dict[str, Collection[str]] = {"sort": SORTS, "order": ("asc", "desc")}
"""What an address can choose, by the name in its query."""
_KEYS = "{'question_id': question_id, 'rollout_id': rollout_id, 'trace_id': trace_id}"


@dataclass(frozen=True)
class TrainingSet:
    """One training set of the study, made or not.

    Attributes:
        dataset: training dataset.
        variant: that it trains.
        about: what the mode does, in words.
        source: table and partition that its rows are taken from.
        source_rows: rows there; None where nothing is stored.
        rows: rows of the set; None where nothing is stored.
        standing: of its partition.
        checkpoint: digest of the variant's trained checkpoint; None where there is none.
        is_used: that checkpoint was trained on the very rows.
        followed_by: variants that train on from that checkpoint.
    """

    dataset: str
    variant: str
    about: str
    source: Node
    source_rows: int | None
    rows: int | None
    standing: Standing
    checkpoint: str | None
    is_used: bool
    followed_by: list[str]


def training_sets(asked: Asked) -> list[TrainingSet]:
    """Every training set of the study, in its order."""
    source = asked.source
    datasets = source.study.training_datasets
    return [training_set(asked, dataset, slug) for slug in source.grid.trained for dataset in datasets]


def training_set(asked: Asked, dataset: str, slug: str) -> TrainingSet:
    """One training set.

    Raises:
        NotFound: the study has no such training set.
    """
    source = asked.source
    node = Node("training_sets", cell_key(dataset, slug))
    if node not in source.standings:
        raise NotFound(f"the study has no training set {dataset}|{slug}: /training lists those that it has")
    standing = source.standings[node]
    given = source_of(source, dataset, slug)
    there = stored(source, given)
    trained = asked.partition_if_stored("sft_checkpoints", variant=slug)
    weights = asked.row(f"SELECT digest FROM {trained}", (), ("sft_checkpoints",)) if trained else None
    return TrainingSet(
        dataset,
        slug,
        MODES[split_variant(slug)[1]].description,
        given,
        there.rows if there else None,
        standing.stored.rows if standing.stored else None,
        standing,
        weights["digest"] if weights else None,
        is_made_of(source, Node("sft_checkpoints", slug), node),
        [of for parent, of in source.grid.grpo_parent_pairs() if parent == slug],
    )


def source_of(source: Source, dataset: str, slug: str) -> Node:
    """The partition that a training set's rows are taken from."""
    table, rows_variant = source.grid.sources[slug]
    return Node(table, cell_key(dataset, rows_variant))


@dataclass(frozen=True)
class Rows:
    """Which rows of a training set are listed, and in which order.

    Attributes:
        find: text in the question, its id or the completion.
        type: the benchmark's type of the question; empty for all.
        sort: key of `SORTS`.
        descending: the greatest first.
        page: from 1.
    """

    find: str = ""
    type: str = ""
    sort: str = "sample_id"
    descending: bool = False
    page: int = 1

    @property
    def query(self) -> dict[str, Any]:
        """The part of an address that leads to the same list; defaults are left out."""
        kept = {"find": self.find, "type": self.type, "sort": self.sort if self.sort != "sample_id" else ""}
        return {name: value for name, value in kept.items() if value} | ({"order": "desc"} if self.descending else {})

    def sorted_by(self, column: str) -> dict[str, Any]:
        """The address's part for the same list in another order; in the other direction where it is in this one."""
        rest = {name: value for name, value in self.query.items() if name not in ("sort", "order")}
        turned = column == self.sort and not self.descending
        return rest | ({"sort": column} if column != "sample_id" else {}) | ({"order": "desc"} if turned else {})


def rows_of(query: Mapping[str, str]) -> Rows:
    """What an address asks for; what it asks wrongly is as if it did not ask (see `KNOWN`)."""
    sort = query.get("sort", "")
    return Rows(
        query.get("find", "").replace("\x00", ""),
        query.get("type", "").replace("\x00", ""),
        sort if sort in SORTS else "sample_id",
        query.get("order") == "desc",
        max(1, number_of(query, "page", 1)),
    )


def listed(asked: Asked, dataset: str, slug: str, rows: Rows) -> tuple[list[Row], int]:
    """One page of a training set's rows, the last where there are fewer, and how many rows are on all of its pages."""
    sql = f"{_chosen(asked, dataset, slug, rows)} {page_of('chosen', rows.page, PER_PAGE)}"
    found = asked.rows(sql, _parameters(rows), ("training_sets", "train_questions")).to_dicts()
    return found, found[0]["listed"] if found else 0


def types_of(asked: Asked, dataset: str) -> list[str]:
    """The types of a training dataset's questions."""
    questions = asked.partition_if_stored("train_questions", dataset)
    if questions is None:
        return []
    sql = f"SELECT DISTINCT question_type FROM {questions} WHERE question_type IS NOT NULL ORDER BY ALL LIMIT 100"
    return asked.rows(sql, (), ("train_questions",))["question_type"].to_list()


def around(asked: Asked, dataset: str, slug: str, rows: Rows, key: tuple[str, int, int]) -> Row:
    """Where a row stands in a list: `place`, `listed`, the keys `before` and `after`; empty where it does not."""
    sql = f"""{_chosen(asked, dataset, slug, rows)}
    SELECT * FROM (
        SELECT question_id, rollout_id, trace_id, place, count(*) OVER () AS listed,
            lag({_KEYS}) OVER (ORDER BY place) AS before,
            lead({_KEYS}) OVER (ORDER BY place) AS after
        FROM chosen
    ) WHERE question_id = $4 AND rollout_id = $5 AND trace_id = $6"""
    return asked.row(sql, [*_parameters(rows), *key], ("training_sets", "train_questions")) or {}


def _parameters(rows: Rows) -> list[Any]:
    return [rows.find, rows.find.lower(), rows.type]


def _chosen(asked: Asked, dataset: str, slug: str, rows: Rows) -> str:
    trained = asked.partition("training_sets", dataset, slug)
    questions = questions_in(asked, "train_questions", dataset)
    order = f"{SORTS[rows.sort]} {'DESC' if rows.descending else 'ASC'} NULLS LAST"
    return f"""
    WITH chosen AS (
        SELECT
            question_id, rollout_id, trace_id, sample_id, question, answer, question_type, tier,
            length(completion) AS characters,
            row_number() OVER (ORDER BY {order}, sample_id, question_id, rollout_id, trace_id) AS place
        FROM {trained} AS trained
        LEFT JOIN {questions} AS asked USING (question_id)
        WHERE ($3 = '' OR question_type = $3)
            AND ($1 = '' OR question_id = $1 OR contains(lower(question), $2) OR contains(lower(completion), $2))
    )"""
