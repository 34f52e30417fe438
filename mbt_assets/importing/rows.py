"""Rollouts made of the rows of a file: checked one by one, with a count of everything that a person should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mbt_assets.foreign_rows import Columns, Row, known_ending, response_parts, whole_response
from mbt_assets.importing import ImportingError
from mbt_assets.importing.files import RowFile
from mbt_assets.importing.matching import NoQuestion, Question, Questions, same_gold
from mbt_assets.scoring.answers import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, extract_answer
from partitions.published import COLUMNS

TOKENS = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
READ = COLUMNS["train_rollouts"] | {
    "aliases": "answer_aliases",
    "content": "content",
    "predicted_answer": "predicted_answer",
    **{name: name for name in TOKENS},
}
"""What is read of a file: our name of a column, and what it is usually called there."""
NEEDED = (
    "question_id, or sample_id and question, or question",
    "response, or content, or predicted_answer (reasoning_trace beside these two)",
)
EXAMPLES = 3


@dataclass
class Counts:
    """What was seen in a file.

    Attributes:
        rows: rows that were read.
        unmatched: of these, those of no question.
        examples: the first of those, each with its place and reason.
        questions: ids of the questions that have a row.
        failed: rows without any response.
        cut_off: rows that the token limit ended.
        endings: finish reasons of which it is not known what they mean, with their rows.
        invalid: rows with `valid: false`.
        answer_in_reasoning: rows without an answer whose answer tags stand in what counts as reasoning.
        without_think_tags: of these, responses without think tags, all of which counts as reasoning.
        gold_differs: rows whose gold answers are not ours.
        prediction_differs: rows whose predicted answer is not the one that is extracted here.
        without_tokens: rows without `completion_tokens`.
    """

    rows: int = 0
    unmatched: int = 0
    examples: list[str] = field(default_factory=list)
    questions: set[str] = field(default_factory=set)
    failed: int = 0
    cut_off: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    invalid: int = 0
    answer_in_reasoning: int = 0
    without_think_tags: int = 0
    gold_differs: int = 0
    prediction_differs: int = 0
    without_tokens: int = 0

    @property
    def unknown_ending(self) -> int:
        """Rows whose finish reason is not known."""
        return self.endings.total()


@dataclass
class Reading:
    """One pass over a file.

    Attributes:
        file: what is read.
        questions: those that rows may be of.
        renamed: our name of a column → theirs, where it is not the usual one; nothing for one that is to be ignored.
        counts: what was seen so far.
    """

    file: RowFile
    questions: Questions
    renamed: Mapping[str, str]
    counts: Counts = field(default_factory=Counts)
    _seen: dict[tuple[str, int], str] = field(default_factory=dict)
    _numbered: Counter[str] = field(default_factory=Counter)

    def rollouts(self) -> Iterator[dict[str, Any]]:
        """Rows of a rollout table, less what is the same in all of them; rows of no question are only counted.

        Raises:
            ImportingError: the file cannot be read, lacks a column, or has a row that no rollout can be made of.
        """
        columns = self.columns()
        for place, row in self.file.rows():
            self.counts.rows += 1
            try:
                question = self.questions.of(row, columns, place)
            except NoQuestion as problem:
                self.counts.unmatched += 1
                if len(self.counts.examples) < EXAMPLES:
                    self.counts.examples.append(f"{place}: {problem}")
                continue
            self.counts.questions.add(question.question_id)
            yield self._rollout(row, question, columns, place)

    def columns(self) -> Columns:
        """Reads the file's columns by our names.

        Raises:
            ImportingError: the file is empty, or its first row lacks what is needed.
        """
        unknown = [ours for ours in self.renamed if ours not in READ]
        if unknown:
            raise self._error(f"--column {unknown[0]}: that is no column that is read; those are: {', '.join(READ)}")
        first = next(self.file.rows(), None)
        if first is None:
            raise self._error("it holds no row")
        theirs = {ours: name for ours, name in (READ | dict(self.renamed)).items() if name}
        there = first[1].keys()
        absent = [f"{name} (for {ours})" for ours, name in self.renamed.items() if name and name not in there]
        has = {ours for ours, name in theirs.items() if name in there}
        if absent or not has & {"question_id", "question"} or not has & {"response", "content", "predicted_answer"}:
            lacking = f"it has no column {', '.join(absent)}" if absent else "a column is missing"
            raise self._error(
                f"{lacking}. Its columns are: {', '.join(there)}. Needed are: {'; and '.join(NEEDED)}. Say which "
                "stands for which with --column ours=theirs"
            )
        return Columns(theirs, self._error)

    def _rollout(self, row: Row, question: Question, columns: Columns, place: str) -> dict[str, Any]:
        key = (question.question_id, self._number(row, question, columns, place))
        first = self._seen.setdefault(key, place)
        if first != place:
            raise self._error(
                f"{first} and {place} are both rollout {key[1]} of the question {key[0]}: leave one of them out, or "
                "have rows numbered in their order with --column rollout_id="
            )
        parts = self._parts(row, columns, place)
        tokens = {
            name: columns.number(row, name, place, least=0) if columns.value(row, name) is not None else None
            for name in TOKENS
        }
        self._count(row, question, columns, place, parts, tokens)
        return {"question_id": key[0], "rollout_id": key[1]} | parts | tokens

    def _number(self, row: Row, question: Question, columns: Columns, place: str) -> int:
        """The rollout's number; rows without one are numbered in their order."""
        if columns.value(row, "rollout_id") is not None:
            return columns.number(row, "rollout_id", place)
        self._numbered[question.question_id] += 1
        return self._numbered[question.question_id]

    def _parts(self, row: Row, columns: Columns, place: str) -> dict[str, Any]:
        """Response, reasoning and content, how it ended, and why there is none."""
        response = columns.text(row, "response", place)
        reasoning = columns.text(row, "reasoning", place)
        columns.text(row, "finish_reason", place)
        if response:
            # A reply that opened its reasoning and never closed it has no reasoning field to speak of.
            unclosed = THINK_OPEN in response and THINK_CLOSE not in response
            parts = response_parts(response, (reasoning or None) if unclosed else reasoning)
        else:
            content = columns.text(row, "content", place)
            predicted = columns.text(row, "predicted_answer", place)
            content = content or (f"{ANSWER_OPEN}{predicted}{ANSWER_CLOSE}" if predicted else "")
            reasoning, content = (reasoning or "").strip(), content.strip()
            parts = {"response": whole_response(reasoning, content), "reasoning": reasoning, "content": content}
        if not parts["response"]:
            return parts | {"finish_reason": None, "error": "the imported row holds no response"}
        return parts | {"finish_reason": columns.ending(row), "error": None}

    def _count(
        self,
        row: Row,
        question: Question,
        columns: Columns,
        place: str,
        parts: Mapping[str, Any],
        tokens: Mapping[str, int | None],
    ) -> None:
        counts = self.counts
        counts.failed += parts["error"] is not None
        counts.cut_off += parts["finish_reason"] == "length"
        counts.invalid += self._flag(row, columns, place) is False
        self._count_reasoning(parts)
        if parts["finish_reason"] and not known_ending(parts["finish_reason"]):
            counts.endings[parts["finish_reason"]] += 1
        counts.without_tokens += tokens["completion_tokens"] is None
        answer, aliases = columns.text(row, "answer", place), self._aliases(row, columns, place)
        counts.gold_differs += not same_gold(question, answer, aliases)
        predicted = columns.text(row, "predicted_answer", place)
        counts.prediction_differs += predicted is not None and predicted.strip() != extract_answer(parts["content"])[0]

    def _count_reasoning(self, parts: Mapping[str, Any]) -> None:
        """Whether a row answers only where nobody looks for an answer."""
        if extract_answer(parts["content"])[1] or not extract_answer(parts["reasoning"])[1]:
            return
        self.counts.answer_in_reasoning += 1
        self.counts.without_think_tags += THINK_OPEN not in parts["response"] and THINK_CLOSE not in parts["response"]

    def _flag(self, row: Row, columns: Columns, place: str) -> bool | None:
        value = columns.value(row, "valid")
        if value is not None and not isinstance(value, bool):
            raise self._error(f"{place}: {columns.theirs['valid']} should be true or false, and is {value!r}")
        return value

    def _aliases(self, row: Row, columns: Columns, place: str) -> list[str] | None:
        value = columns.value(row, "aliases")
        if value is not None and (not isinstance(value, list) or not all(isinstance(text, str) for text in value)):
            raise self._error(f"{place}: {columns.theirs['aliases']} should be a list of texts, and is {value!r}")
        return value

    def _error(self, problem: str) -> ImportingError:
        return ImportingError(f"{self.file.path} cannot be imported: {problem}")
