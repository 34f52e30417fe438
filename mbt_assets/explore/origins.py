"""The way back from a rollout: its prompt, the checkpoint that answered, and what that was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mbt_assets import prompts
from mbt_assets.explore.links import is_made_of, stored
from mbt_assets.explore.rollout import Rollout, Row
from mbt_assets.explore.source import Asked
from partitions.grid import TRAINED_TABLES, Node, cell_key
from partitions.modes import MODES
from partitions.study import base_of, split_variant

WEIGHTS = ("checkpoints", *TRAINED_TABLES.values())
"""Tables that know weights: the registry follows the files, a trained checkpoint's row its training."""


@dataclass(frozen=True)
class Prompt:
    """The messages that a template makes now, and whether they are those that were sent.

    Attributes:
        template: its name.
        version: its version.
        messages: each with role and content.
        is_same: the template is still the one that the request was made with.
    """

    template: str
    version: int
    messages: list[dict[str, str]]
    is_same: bool


@dataclass(frozen=True)
class Checkpoint:
    """The weights that answered.

    Attributes:
        digest: of them.
        uri: where they lie; None where the registry knows them no more.
        parent_digest: of the checkpoint that training started from; None where there was no training.
        parent: variant of that checkpoint; None where its digest is that of no registered one.
        training_set_digest: of the rows that they were trained on.
        registered: digest of the checkpoint that is registered for the variant now; None where none is.
    """

    digest: str
    uri: str | None
    parent_digest: str | None
    parent: str | None
    training_set_digest: str | None
    registered: str | None


@dataclass(frozen=True)
class TrainingRows:
    """The rows of one training dataset that a trained variant was trained on.

    Attributes:
        dataset: the training dataset.
        variant: whose training it was.
        rows: how many.
        like_it: of them, those on questions of the rollout's type; None where the question has none, or where
            `train_questions` is not stored.
        has_questions: `train_questions` of the dataset is stored.
        is_used: the checkpoint that is there now was trained on the very rows.
    """

    dataset: str
    variant: str
    rows: int
    like_it: int | None
    has_questions: bool
    is_used: bool


def prompt_of(rollout: Rollout) -> Prompt | None:
    """The prompt of a rollout, rendered anew; None where nothing was asked here, or the question is gone."""
    question = rollout.question
    if question is None or rollout.source:
        return None
    name = MODES[split_variant(rollout.variant)[1]].prompt
    messages = prompts.render(name, documents=question["documents"], question=question["question"])
    return Prompt(name, prompts.version(name), messages, prompts.digest(name) == rollout.row["prompt_digest"])


def checkpoint_of(asked: Asked, rollout: Rollout) -> Checkpoint:
    """The weights that answered, by their digest; the names of what they are made of where they are registered."""
    known = {table: _row(asked, table, rollout.variant) for table in WEIGHTS}
    digest = rollout.row["checkpoint_digest"]
    found: Row = next((row for row in known.values() if row and row["digest"] == digest), {})
    registered = known["checkpoints"]
    parent = found.get("parent_digest")
    return Checkpoint(
        digest,
        found.get("uri"),
        parent,
        _holder(asked, rollout.variant, parent) if parent else None,
        found.get("training_set_digest"),
        registered["digest"] if registered else None,
    )


def training_of(asked: Asked, rollout: Rollout) -> list[TrainingRows]:
    """What the variant, or the one that its training started from, was trained on; none where it was not."""
    trained = trained_variant(asked, rollout.variant)
    kind = rollout.question["question_type"] if rollout.question else None
    found = []
    for dataset in asked.source.study.training_datasets if trained else ():
        node = Node("training_sets", cell_key(dataset, trained or ""))
        rows = stored(asked.source, node)
        if rows is not None and trained:
            like_it = _rows_like_it(asked, dataset, trained, kind) if kind else None
            used = is_made_of(asked.source, Node("sft_checkpoints", trained), node)
            asks = stored(asked.source, Node("train_questions", dataset)) is not None
            found.append(TrainingRows(dataset, trained, rows.rows, like_it, asks, used))
    return found


def trained_variant(asked: Asked, slug: str) -> str | None:
    """The variant whose supervised training is in a variant's weights: itself, or what GRPO started from."""
    grid = asked.source.grid
    return slug if slug in grid.sources else {of: parent for parent, of in grid.grpo_parent_pairs()}.get(slug)


def _row(asked: Asked, table: str, key: str) -> Row | None:
    partition = asked.partition_if_stored(table, variant=key)
    return asked.row(f"SELECT * FROM {partition}", (), (table,)) if partition else None


def _holder(asked: Asked, slug: str, digest: str) -> str | None:
    """The variant that has these weights: the base, or what GRPO started from."""
    base = base_of(slug)
    parents = {of: parent for parent, of in asked.source.grid.grpo_parent_pairs()}
    places = [("base_models", base), *([("sft_checkpoints", parents[slug])] if slug in parents else [])]
    holders = [holder for table, holder in places if (row := _row(asked, table, holder)) and row["digest"] == digest]
    return holders[0] if holders else None


def _rows_like_it(asked: Asked, dataset: str, trained: str, kind: Any) -> int | None:
    rows = asked.partition_if_stored("training_sets", dataset, trained)
    questions = asked.partition_if_stored("train_questions", dataset)
    if rows is None or questions is None:
        return None
    sql = f"SELECT count(*) AS n FROM {rows} SEMI JOIN (FROM {questions} WHERE question_type = ?) USING (question_id)"
    found = asked.row(sql, [kind], ("training_sets", "train_questions"))
    return found["n"] if found else 0
