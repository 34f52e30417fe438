"""The question record that every benchmark yields, and what a benchmark has to say about itself.

Here belong the shared types and the checked access to a raw row; a benchmark's own rules live in its own file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

Tier = Literal["easy", "medium", "hard"]
Row = Mapping[str, Any]
RowGenerator = Callable[[str, int | None, int, Mapping[str, Any]], Iterable[Row]]


class BenchmarkError(ValueError):
    """A benchmark's rows cannot be had or understood; the message says what, where and what to do."""


class Document(TypedDict):
    """One document shown with a question; `sentences` keep the benchmark's own numbering, blank ones included."""

    title: str
    sentences: list[str]
    is_supporting: bool


class SupportingFact(TypedDict):
    """One sentence that the answer rests on: `sentence` counts from 0 within the documents of that title."""

    title: str
    sentence: int


class BareQuestion(TypedDict):
    """What `convert` makes of one row: a question before it is placed in a dataset."""

    question_id: str
    question: str
    answer: str
    aliases: list[str]
    documents: list[Document]
    supporting_facts: list[SupportingFact]
    question_type: str | None
    level: str | None
    tier: Tier
    answerable: bool


class Question(BareQuestion):
    """A row of the questions tables: `sample_id` is the 1-based position in the benchmark's split."""

    dataset: str
    sample_id: int


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: where its rows come from and how one row becomes a question.

    Attributes:
        name: key in the registry, and what a study calls it.
        convert: one row of the source to one question, its tier included; raises `BenchmarkError`.
        splits: the splits that it is known to have.
        hub_id: dataset repository on the Hub; None for a generated benchmark.
        hub_config: configuration of that repository; None for its default.
        generate: for a generated benchmark, `(split, limit, seed, options) -> rows`.
        source_digest: for a generated benchmark, the digest of what generates it (the seed and options aside).
        facts_in_documents: the documents of each question state facts of their own, which hold nowhere else: two
            questions with the same words are the same question only if their documents are too.
        license: of its questions and documents, as the Hub calls it; None where it is not known.
        citation: whom to name for it.
        language: of its texts, as the Hub calls it.
    """

    name: str
    convert: Callable[[Row], BareQuestion]
    splits: tuple[str, ...] = ("train", "validation")
    hub_id: str | None = None
    hub_config: str | None = None
    generate: RowGenerator | None = None
    source_digest: Callable[[], str] | None = None
    facts_in_documents: bool = False
    license: str | None = None
    citation: str = ""
    language: str = "en"


def column(benchmark: str, row: Row, *path: str) -> Any:
    """The value at `path` of a row, for example `column("hotpotqa", row, "context", "title")`.

    Raises:
        BenchmarkError: a step of the path is missing; it names benchmark, column and what was found.
    """
    value: Any = row
    for depth, name in enumerate(path):
        if not isinstance(value, Mapping) or name not in value:
            raise BenchmarkError(_missing(benchmark, path[: depth + 1], value))
        value = value[name]
    return value


def text(benchmark: str, row: Row, *path: str) -> str:
    """A text column without surrounding white space; a null is the empty string.

    Raises:
        BenchmarkError: the column is missing or no text.
    """
    value = column(benchmark, row, *path)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BenchmarkError(_mistyped(benchmark, path, "text", value))
    return value.strip()


def values(benchmark: str, row: Row, *path: str) -> list[Any]:
    """A list column; a null is the empty list.

    Raises:
        BenchmarkError: the column is missing or no list.
    """
    value = column(benchmark, row, *path)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BenchmarkError(_mistyped(benchmark, path, "a list", value))
    return value


def _missing(benchmark: str, path: tuple[str, ...], parent: Any) -> str:
    found = ", ".join(parent) if isinstance(parent, Mapping) else f"a value of type {type(parent).__name__}"
    return (
        f"benchmark {benchmark}: column '{'.'.join(path)}' is missing; found: {found}. "
        "Use the dataset repository and revision that the benchmark was written for."
    )


def _mistyped(benchmark: str, path: tuple[str, ...], expected: str, value: Any) -> str:
    return (
        f"benchmark {benchmark}: column '{'.'.join(path)}' should be {expected}, found {type(value).__name__}. "
        "Use the dataset repository and revision that the benchmark was written for."
    )
