"""One row that students were trained on, with what it was made from."""

from __future__ import annotations

from dataclasses import dataclass

from mbt_assets.explore import NotFound
from mbt_assets.explore.links import is_made_of, stored
from mbt_assets.explore.rollout import Row, read_question
from mbt_assets.explore.source import Asked
from mbt_assets.explore.training_lists import source_of
from partitions.grid import Node, cell_key
from partitions.study import base_of

KEY = "question_id = ? AND rollout_id = ? AND trace_id = ?"
NUMBERS = {"rewritten_traces": 3, "train_rollouts": 2, "synthesized_traces": 1}
"""How many of question, rollout and trace a source's rows are told apart by."""


@dataclass(frozen=True)
class TrainingRow:
    """One row with what it was made from; what is not there, or not of this mode, is None.

    Attributes:
        row: of `training_sets`.
        question: of `train_questions`.
        made: of the table that the row was taken from: a trace, or a rollout.
        draft: the rollout that a trace rewrites.
        solution: the gold solution that the teacher had beside it.
        changed: tables that were made anew since: what is shown of them may not be what the row was made from.
        published: where the rows that it was taken from were published; empty where they were made here.
    """

    row: Row
    question: Row | None
    made: Row | None
    draft: Row | None
    solution: Row | None
    changed: list[str]
    published: str


def training_row(asked: Asked, dataset: str, slug: str, key: tuple[str, int, int]) -> TrainingRow:
    """A row of a training set with what it was made from.

    Raises:
        NotFound: there is no such row.
    """
    source = asked.source
    partition = asked.partition("training_sets", dataset, slug)
    row = asked.row(f"SELECT * FROM {partition} WHERE {KEY}", key, ("training_sets",))
    if row is None:
        numbers = f"rollout {key[1]}, trace {key[2]}"
        raise NotFound(f"the training set {dataset}|{slug} has no row of question {key[0]!r}, {numbers}: see its list")
    given = source_of(source, dataset, slug)
    made = _row_of(asked, given, key)
    links = [(Node("training_sets", cell_key(dataset, slug)), given)]
    draft = solution = None
    if given.asset == "rewritten_traces":
        base = base_of(source.grid.sources[slug][1])
        drafts, solutions = Node("train_rollouts", cell_key(dataset, base)), Node("gold_solutions", dataset)
        draft = _row_of(asked, drafts, key)
        solution = _row_of(asked, solutions, key)
        links += [(given, drafts), (given, solutions)]
    changed = [above.asset for below, above in links if stored(source, above) and not is_made_of(source, below, above)]
    question = read_question(asked, dataset, key[0], "train_questions")
    there = stored(source, given)
    return TrainingRow(row, question, made, draft, solution, changed, there.provenance.source if there else "")


def _row_of(asked: Asked, node: Node, key: tuple[str, int, int]) -> Row | None:
    dataset, _, slug = node.key.partition("|")
    partition = asked.partition_if_stored(node.asset, dataset, slug)
    if partition is None:
        return None
    names = ("question_id", "rollout_id", "trace_id")[: NUMBERS.get(node.asset, 1)]
    condition = " AND ".join(f"{name} = ?" for name in names)
    return asked.row(f"SELECT * FROM {partition} WHERE {condition}", key[: len(names)], (node.asset,))
