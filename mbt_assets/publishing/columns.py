"""The columns of published rows: taken from the lake's own tables, with their types and descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from mbt_assets.publishing.choice import Kind
from resources.tables import JUDGED_TABLES, TABLES

KEYS = ("question_id", "rollout_id")
"""What a cell's scores are joined to its rollouts by."""
QUESTION = ("sample_id", "question", "answer")
QUESTION_FACTS = (*QUESTION, "aliases", "question_type", "level", "tier", "answerable")
DOCUMENTS = ("documents", "supporting_facts")
TRACE = "trace"
PASSED_ON = frozenset({"dataset", "variant", *KEYS, "checkpoint_digest", "completion_tokens"})
"""Columns of score tables that a rollout has itself."""


@dataclass(frozen=True)
class Column:
    """A published column.

    Attributes:
        name: its name.
        dtype: its type in polars.
        description: what it holds.
        fields: of the entries, where it is a list with one entry per judge.
    """

    name: str
    dtype: pl.DataType
    description: str
    fields: tuple[Column, ...] = ()


def columns_of(kind: Kind, *, documents: bool = False) -> tuple[Column, ...]:
    """The columns of a kind of rows, in their order.

    Args:
        kind: training sets or rollouts.
        documents: with what each question is asked about; training sets have it in their prompts anyway.
    """
    if kind == "training-sets":
        text = "the reasoning alone: what the completion has between its think tags"
        first, second = _of("training_sets", without=["prompt", "completion"]), ["prompt", "completion"]
        return (
            *first,
            *_of("train_questions", QUESTION),
            *_of("training_sets", second),
            Column(TRACE, pl.String(), text),
        )
    names = ("dataset", "variant", *KEYS)
    asked = (*QUESTION_FACTS, *DOCUMENTS) if documents else QUESTION_FACTS
    return (
        *_of("validation_rollouts", names),
        *_of("validation_questions", asked),
        *_of("validation_rollouts", without=names),
        *_of("answer_scores", without=PASSED_ON),
        *map(_by_judge, JUDGED_TABLES),
    )


def judged_fields(table: str) -> tuple[Column, ...]:
    """What one judge's entry in the column of a judged table holds."""
    return _of(table, without=PASSED_ON)


def _by_judge(table: str) -> Column:
    fields = judged_fields(table)
    dtype = pl.List(pl.Struct({field.name: field.dtype for field in fields}))
    described = " ".join((TABLES[table].__doc__ or "").split())
    return Column(table, dtype, f"{described} One entry per judge, the study's first judge first.", fields)


def _of(table: str, names: Iterable[str] | None = None, without: Iterable[str] = ()) -> tuple[Column, ...]:
    declared = TABLES[table].columns()
    chosen = [name for name in (declared if names is None else names) if name not in set(without)]
    return tuple(Column(name, declared[name].dtype, declared[name].description or "") for name in chosen)


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """The columns as Arrow types that any reader knows: plain texts and lists, none of the large ones."""
    empty = pl.DataFrame(schema={column.name: column.dtype for column in columns}).to_arrow()
    return pa.schema([(field.name, _plain(field.type)) for field in empty.schema])


def _plain(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return pa.string()
    if pa.types.is_large_list(dtype) or pa.types.is_list(dtype):
        return pa.list_(_plain(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([(field.name, _plain(field.type)) for field in dtype])
    return dtype
