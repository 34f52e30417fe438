"""The rows of one configuration, in batches: those of the lake, joined by key with what belongs to each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import polars as pl

from mbt_assets.exporting.redaction import without_secrets
from mbt_assets.publishing.choice import Part, PublishingError
from mbt_assets.publishing.columns import DOCUMENTS, KEYS, QUESTION, QUESTION_FACTS, TRACE, columns_of, judged_fields
from partitions.grid import SCORES, Node
from partitions.study import Study
from resources.lake import Lake, Stored
from resources.tables import JUDGED_TABLES, TABLES

BATCH = 1_000
"""Rows that are held at once, and rows of a group in the Parquet files."""


@dataclass(frozen=True)
class Reader:
    """Reads the rows of a study's partitions, each as one write left it.

    Attributes:
        lake: holds them.
        study: tells the order of the judges.
        documents: rollouts come with what their questions are asked about.
        allow_stale: scores that were made of other rollouts are left out, rather than an error.
    """

    lake: Lake
    study: Study
    documents: bool = False
    allow_stale: bool = False

    def read(self, part: Part) -> tuple[dict[Node, Stored], tuple[str, ...], Iterator[pl.DataFrame]]:
        """The rows of a configuration.

        Returns:
            What was read of which partition; notes on what was left out; and the rows, in the lake's order.

        Raises:
            PublishingError: what belongs together does not fit together; some of it is raised by the iterator.
            LakeError: a partition is damaged.
        """
        if part.node.asset == "training_sets":
            return self._training_set(part)
        return self._rollouts(part)

    def _training_set(self, part: Part) -> tuple[dict[Node, Stored], tuple[str, ...], Iterator[pl.DataFrame]]:
        stored, batches = self._batches(part.node)
        asked, questions = self._frame(Node("train_questions", part.dataset), ["question_id", *QUESTION])
        node = Node("train_questions", part.dataset)
        self._check_parent(part, stored, node, asked)

        def rows() -> Iterator[pl.DataFrame]:
            for batch in batches:
                joined = batch.join(questions, on="question_id", how="left", validate="m:1", maintain_order="left")
                self._check_questions(part, joined)
                yield joined.with_columns(_trace().alias(TRACE))

        return {part.node: stored, node: asked}, (), self._counted(part, stored, rows())

    def _rollouts(self, part: Part) -> tuple[dict[Node, Stored], tuple[str, ...], Iterator[pl.DataFrame]]:
        stored, batches = self._batches(part.node)
        node = Node("validation_questions", part.dataset)
        names = [*QUESTION_FACTS, *(DOCUMENTS if self.documents else ())]
        asked, questions = self._frame(node, ["question_id", *names])
        self._check_parent(part, stored, node, asked)
        read, notes = {part.node: stored, node: asked}, []
        scores: dict[str, pl.DataFrame] = {}
        for table in SCORES:
            score = Node(table, part.node.key)
            if not self.lake.exists(score):
                self._refuse(part, f"{table} is gone")
                # In the words of the choice, which has mostly said it already.
                notes.append(f"{table} missing: never made")
                continue
            made, frame = self._frame(score, [*KEYS, *_own_columns(table)])
            if made.provenance.inputs.get(str(part.node)) != stored.data_version:
                self._refuse(part, f"{table} is of other rollouts than those that are there")
                notes.append(f"{table} left out: it is of other rollouts than these")
                continue
            read[score], scores[table] = made, frame
        joined = self._joined(part, batches, questions, scores)
        return read, tuple(notes), self._counted(part, stored, joined)

    def _joined(
        self, part: Part, batches: Iterator[pl.DataFrame], questions: pl.DataFrame, scores: dict[str, pl.DataFrame]
    ) -> Iterator[pl.DataFrame]:
        declared = columns_of("rollouts", documents=self.documents)
        grouped = {table: self._by_rollout(table, frame) for table, frame in scores.items()}
        waiting = {table: frame.height for table, frame in grouped.items()}
        for batch in batches:
            joined = batch.join(questions, on="question_id", how="left", validate="m:1", maintain_order="left")
            self._check_questions(part, joined)
            for table, frame in grouped.items():
                waiting[table] -= batch.join(frame, on=KEYS, how="semi").height
                joined = joined.join(frame, on=KEYS, how="left", validate="1:1", maintain_order="left")
            absent = [column for column in declared if column.name not in joined.columns]
            nulls = [pl.lit(None, column.dtype).alias(column.name) for column in absent]
            yield joined.with_columns(_told("error"), *nulls)
        for table, count in waiting.items():
            if count:
                raise PublishingError(f"{table}[{part.node.key}] has {count} keys that none of its rollouts has")

    def _by_rollout(self, table: str, frame: pl.DataFrame) -> pl.DataFrame:
        """One row per rollout: as it is, or the judges' entries in a list, in the study's order of judges."""
        if table not in JUDGED_TABLES:
            return frame
        order = {judge: place for place, judge in enumerate(self.study.judges)}
        place = pl.col("judge").replace_strict(order, default=len(order), return_dtype=pl.Int64)
        entry = pl.struct(field.name for field in judged_fields(table)).alias(table)
        ordered = frame.with_columns(_told("failure")).sort(place, "judge", maintain_order=True)
        return ordered.group_by(KEYS, maintain_order=True).agg(entry)

    def _counted(self, part: Part, stored: Stored, rows: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        count = 0
        for frame in rows:
            count += frame.height
            yield frame
        if count != stored.rows:
            raise PublishingError(f"{part.node}: {count} rows came of {stored.rows}: materialize it again")

    def _batches(self, node: Node) -> tuple[Stored, Iterator[pl.DataFrame]]:
        names = TABLES[node.asset].column_names()
        stored, batches = self.lake.batches_of(node, names, BATCH)
        return stored, (_fitting(cast(pl.DataFrame, pl.from_arrow(batch)), node.asset, names) for batch in batches)

    def _frame(self, node: Node, names: list[str]) -> tuple[Stored, pl.DataFrame]:
        stored, rows = self.lake.copy_of(node, names)
        return stored, _fitting(cast(pl.DataFrame, pl.from_arrow(rows)), node.asset, names)

    def _check_parent(self, part: Part, stored: Stored, parent: Node, found: Stored) -> None:
        if stored.provenance.inputs.get(str(parent)) != found.data_version:
            self._refuse(part, f"{parent} was made again since")

    def _refuse(self, part: Part, what: str) -> None:
        """Stop where nothing may be out of date: it was not when it was chosen."""
        if not self.allow_stale:
            raise PublishingError(f"{part.node} changed while it was being read: {what}. Publish again when it is made")

    def _check_questions(self, part: Part, rows: pl.DataFrame) -> None:
        lost = rows.filter(pl.col("question").is_null())
        if lost.height:
            raise PublishingError(
                f"{part.node} has rows of questions that are no longer there, {lost['question_id'][0]!r} among them: "
                "make it again"
            )


def _own_columns(table: str) -> list[str]:
    return [field.name for field in judged_fields(table)]


def _fitting(frame: pl.DataFrame, table: str, names: list[str]) -> pl.DataFrame:
    """The declared columns; what an older write has not is null."""
    declared = TABLES[table].columns()
    missing = [pl.lit(None, declared[name].dtype).alias(name) for name in names if name not in frame.columns]
    return frame.with_columns(missing).select(names)


def _trace() -> pl.Expr:
    return pl.col("completion").str.extract(r"(?s)\A<think>\n(.*?)\n</think>")


def _told(column: str) -> pl.Expr:
    """What a server said of a failed request, without what looks like a secret: it may quote the request's address."""
    return pl.col(column).map_elements(_cleared, return_dtype=pl.String)


def _cleared(text: Any) -> Any:
    return without_secrets(text)
