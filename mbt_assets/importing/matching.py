"""Which question a foreign row is of: by the question's own id, else by its number and text, else by its text."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import polars as pl

from mbt_assets.foreign_rows import Columns, Row
from mbt_assets.scoring.answers import normalize
from resources.tables import Questions as TABLE


@dataclass(frozen=True)
class Question:
    """A validation question.

    Attributes:
        question_id: the benchmark's own id.
        sample_id: its number in the split, from 1.
        text: the question, with single spaces.
        answers: the gold answer and its aliases, normalised.
    """

    question_id: str
    sample_id: int
    text: str
    answers: frozenset[str]


class NoQuestion(Exception):
    """A row that is of none of our questions; the message says why."""


class Questions:
    """The validation questions of a dataset.

    Args:
        frame: rows of `validation_questions`.
        by_text: whether two questions of the same words are the same question. Where a benchmark states its facts anew
            in each question's documents, they are not.
    """

    def __init__(self, frame: pl.DataFrame, *, by_text: bool):
        columns = ("question_id", "sample_id", "question", "answer", "aliases")
        found = [_question(row) for row in frame.select(columns).iter_rows(named=True)]
        self.by_text = by_text
        self._by_id = {question.question_id: question for question in found}
        self._by_number = {question.sample_id: question for question in found}
        self._by_text: dict[str, list[Question]] = defaultdict(list)
        for question in found:
            self._by_text[question.text].append(question)

    @classmethod
    def none(cls) -> Questions:
        """No questions: rows can then be looked at, and none is of any."""
        return cls(TABLE.create_empty(), by_text=True)

    def __len__(self) -> int:
        return len(self._by_id)

    def of(self, row: Row, columns: Columns, place: str) -> Question:
        """The question that a row is of.

        Args:
            row: the row.
            columns: reads it.
            place: names the row in errors.

        Raises:
            NoQuestion: none, or another one than the row itself says.
        """
        text = columns.text(row, "question", place)
        told = None if text is None else _one_line(text)
        given = columns.value(row, "question_id")
        if given is not None:
            return _agreeing(self._by_id.get(str(given).strip()), told, f"the question_id {given!r}")
        if columns.value(row, "sample_id") is not None:
            number = columns.number(row, "sample_id", place)
            if told is None:
                raise NoQuestion(f"a sample_id ({number}) alone tells no question: its text is needed too")
            return _agreeing(self._by_number.get(number), told, f"the sample_id {number}")
        return self._by_words(told)

    def _by_words(self, told: str | None) -> Question:
        if not told:
            raise NoQuestion("it has neither question_id nor question")
        if not self.by_text:
            raise NoQuestion(
                "it has a question's text alone, and this benchmark asks the same words about different documents: "
                "question_id or sample_id is needed too"
            )
        found = self._by_text.get(told, [])
        if len(found) > 1:
            raise NoQuestion(f"{len(found)} questions have its text {_short(told)}: question_id is needed")
        if not found:
            raise NoQuestion(f"no question has its text {_short(told)}")
        return found[0]


def same_gold(question: Question, answer: str | None, aliases: list[str] | None) -> bool:
    """Whether a row has the same gold answers as its question, as far as it says; case and articles aside."""
    if answer is not None and normalize(answer) not in question.answers:
        return False
    if answer is None or aliases is None:
        return True
    return {normalize(text) for text in (answer, *aliases)} == question.answers


def _question(row: dict[str, Any]) -> Question:
    answers = frozenset(normalize(text) for text in (row["answer"], *row["aliases"]))
    return Question(row["question_id"], row["sample_id"], _one_line(row["question"]), answers)


def _agreeing(found: Question | None, told: str | None, by: str) -> Question:
    if found is None:
        raise NoQuestion(f"no question has {by}")
    if told is not None and told != found.text:
        raise NoQuestion(f"{by} is here of the question {_short(found.text)}, and the row asks {_short(told)}")
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}…")
