"""Rows that somebody has published on the Hub, in the place of rows that a model would be asked for.

Joined to the study's questions by `sample_id`, never by position, and checked against them where the data set says
which question a row is of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import polars as pl

from mbt_assets.benchmarks import hub
from mbt_assets.foreign_rows import Columns, Row, response_parts
from mbt_assets.identities import digest_of
from mbt_assets.scoring.answers import THINK_CLOSE, normalize, split_reasoning
from mbt_assets.stage import Stage, StageSpec
from partitions.grid import Node
from partitions.published import COLUMNS, TEXTS, required_columns
from partitions.study import Published
from resources.tables import TABLES

BATCH = 2_000


class PublishedError(ValueError):
    """A data set whose rows cannot stand for those of a partition; the message says which, why and what to do."""


def or_published(spec: StageSpec) -> StageSpec:
    """The stage, with published rows for those partitions that the study names a data set for."""

    def make(stage: Stage) -> pl.DataFrame:
        entry = stage.grid.published(stage.node)
        return published_rows(stage, entry) if entry else spec.make(stage)

    def landing(stage: Stage, frame: pl.DataFrame) -> None:
        # What it looks at, such as the weights that were asked, has no part in published rows.
        if not stage.grid.published(stage.node):
            spec.landing(stage, frame)

    return replace(spec, make=make, landing=landing)


def published_rows(stage: Stage, entry: Published) -> pl.DataFrame:
    """The rows of a partition as a data set on the Hub has them.

    No request was sent for them: `attempts` is 0 and token counts are null. Nothing is known of the prompt and of the
    weights behind them but the data set itself, whose digest stands for both.

    Raises:
        BenchmarkError: the data set cannot be had.
        PublishedError: its rows do not fit the study.
    """
    # Resolved first: the rows are then of exactly the revision that is noted beside them.
    revision = hub.resolved_revision(entry.repo, entry.revision)
    data_set = digest_of([entry.repo, revision, entry.config])
    reading = _Reading(stage.node, entry, data_set, _questions(stage), _limit(stage))
    rows = reading.rows(hub.open_rows(entry.repo, entry.config, entry.split, revision))
    schema = {name: column.dtype for name, column in TABLES[stage.node.asset].columns().items()}
    read = [pl.DataFrame(batch, schema={name: schema[name] for name in batch[0]}) for batch in _batches(rows)]
    reading.finish()
    fixed: dict[str, Any] = {"dataset": stage.dataset, "variant": stage.variant, "checkpoint_digest": data_set}
    fixed |= {"prompt_digest": data_set, "attempts": 0, "length_retries": 0, "discarded_tokens": 0}
    frame = pl.concat(read)
    stage.note(source=revision, data_set=reading.name, rows_read=reading.read, rows_left_out=reading.left_out)
    stage.context.log.info(
        "%s: %d rows of %s at %s, %d left out", stage.node, frame.height, reading.name, revision, reading.left_out
    )
    missing = [name for name in schema if name not in frame.columns]
    return frame.with_columns(pl.lit(fixed.get(name), dtype=schema[name]).alias(name) for name in missing)


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _limit(stage: Stage) -> int | None:
    return stage.study.datasets[stage.dataset].train.limit


@dataclass(frozen=True)
class _Question:
    """A training question, with what a row of it may say about it: its id, and normalised texts."""

    row: Row
    accepted: dict[str, set[str]]

    @property
    def question_id(self) -> str:
        """The benchmark's own id."""
        return str(self.row["question_id"])


def _questions(stage: Stage) -> dict[int, _Question]:
    """The training questions by `sample_id`."""
    asked = stage.read("train_questions", stage.dataset)
    asked = asked.select("sample_id", "question_id", "question", "answer", "aliases")
    return {row["sample_id"]: _Question(row, _accepted(row)) for row in asked.iter_rows(named=True)}


def _accepted(row: Row) -> dict[str, set[str]]:
    answers = {normalize(text) for text in (row["answer"], *row["aliases"])}
    return {"question_id": {row["question_id"]}, "question": {normalize(row["question"])}, "answer": answers}


@dataclass
class _Reading:
    """One pass over a data set: what was seen so far, for keys, numbers and counts."""

    node: Node
    entry: Published
    data_set: str
    questions: dict[int, _Question]
    limit: int | None
    read: int = 0
    left_out: int = 0
    seen: dict[tuple[Any, ...], int] = field(default_factory=dict)
    traces: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    columns: Columns = field(init=False)

    @property
    def name(self) -> str:
        """The data set in words."""
        config = f", configuration {self.entry.config}" if self.entry.config else ""
        return f"{self.entry.repo}{config}, split {self.entry.split}"

    def rows(self, raw: Iterator[Row]) -> Iterator[dict[str, Any]]:
        """Our rows of theirs; those of questions beyond the study's limit are left out."""
        for self.read, row in enumerate(raw, start=1):
            if self.read == 1:
                self.columns = Columns(self._columns(row), self._error)
            question = self._question(row)
            if question is None:
                self.left_out += 1
                continue
            self._check(row, question)
            keys = self._keys(row, question)
            yield {**keys, **self._text(row), "request_digest": digest_of([self.data_set, *keys.values()])}

    def finish(self) -> None:
        """Refuse a data set that gave no row."""
        if self.read == 0:
            raise self._error("it holds no row")
        if self.left_out == self.read:
            raise self._error(
                f"none of its {self.read} rows is of a question that the study trains on, with train.limit "
                f"{self.limit}: raise the limit"
            )

    def _columns(self, row: Row) -> dict[str, str]:
        """Our names of the columns that are there, with theirs."""
        table = self.node.asset
        theirs = COLUMNS[table] | self.entry.columns
        needed = {*required_columns(table), *self.entry.columns}
        missing = [f"{theirs[ours]!r} (our {ours})" for ours in theirs if ours in needed and theirs[ours] not in row]
        if missing:
            raise self._error(
                f"it has no column {', '.join(missing)}; there are: {', '.join(row)}. Say which stands for which "
                f"under published.{self.node}.columns"
            )
        return {ours: name for ours, name in theirs.items() if name in row}

    def _number(self, row: Row, ours: str, default: int | None = None) -> int:
        """A key of a row, which counts from 1."""
        if ours not in self.columns.theirs and default is not None:
            return default
        return self.columns.number(row, ours, f"row {self.read}")

    def _question(self, row: Row) -> _Question | None:
        sample_id = self._number(row, "sample_id")
        found = self.questions.get(sample_id)
        if found is None and (self.limit is None or sample_id <= self.limit):
            raise self._error(
                f"row {self.read} has sample_id {sample_id}, which none of the {len(self.questions)} questions of "
                "train_questions has: the data set is of another split or benchmark, or the benchmark's rows here are "
                "an extract: set the dataset's train.limit to their number"
            )
        return found

    def _check(self, row: Row, question: _Question) -> None:
        """Stop where the data set itself says that a row is of another question."""
        for ours, accepted in question.accepted.items():
            told = self._told(row, ours)
            exactly = ours == "question_id"
            other = [text for text in told if (text if exactly else normalize(text)) not in accepted]
            # Of several answers one is enough; two ids must both be right.
            if other and (exactly or len(other) == len(told)):
                number = question.row["sample_id"]
                raise self._error(
                    f"row {self.read} has sample_id {number} and the {ours} {other[0]!r}, but "
                    f"that question here, {question.question_id}, has {question.row[ours]!r}: the data set is of "
                    "another split, revision or benchmark"
                )

    def _told(self, row: Row, ours: str) -> list[str]:
        """What a row itself says of its question; nothing where the data set has no such column."""
        if ours == "question_id" and ours not in self.entry.columns:
            metadata = row.get("metadata")
            inside = metadata.get("id") if isinstance(metadata, Mapping) else None
            found = [row.get("question_id"), row.get("id"), inside]
        else:
            value = self.columns.value(row, ours)
            found = value if isinstance(value, list) else [value]
        return [str(value).strip() for value in found if value is not None]

    def _keys(self, row: Row, question: _Question) -> dict[str, Any]:
        names = TABLES[self.node.asset].primary_key()
        keys: dict[str, Any] = {"question_id": question.question_id}
        if "rollout_id" in names:
            keys["rollout_id"] = self._number(row, "rollout_id", default=1)
        if "trace_id" in names:
            self.traces[tuple(keys.values())] += 1
            keys["trace_id"] = self._number(row, "trace_id", default=self.traces[tuple(keys.values())])
        first = self.seen.setdefault(tuple(keys.values()), self.read)
        if first != self.read:
            raise self._error(
                f"rows {first} and {self.read} have the same keys ({', '.join(map(str, keys.values()))}), so that they "
                "cannot be told apart: name the columns that number them, or leave one out"
            )
        return keys

    def _text(self, row: Row) -> dict[str, Any]:
        """The generated text with its parts, and how it ended."""
        column = TEXTS[self.node.asset]
        text = self.columns.text(row, column, f"row {self.read}") or ""
        reason = self.columns.ending(row)
        if column != "response":
            reasoning, trace = split_reasoning(text) if THINK_CLOSE in text else ("", text.strip())
            parts = {"response": text, "reasoning": reasoning, "content": trace, column: trace or None}
            return parts | {"finish_reason": reason, "error": None}
        split = response_parts(text, self.columns.value(row, "reasoning"))
        if not split["response"]:
            return split | {"finish_reason": None, "error": "the published row holds no response"}
        return split | {"finish_reason": reason, "error": None}

    def _error(self, problem: str) -> PublishedError:
        return PublishedError(f"{self.node} cannot come from the data set {self.name}: {problem}.")
