"""MuSiQue (Trivedi et al. 2022, arXiv 2108.00573): two to four hops over twenty paragraphs.

Here belong its row layout and its difficulty rule.
"""

from __future__ import annotations

import re

from mbt_assets.benchmarks.records import (
    BareQuestion,
    Benchmark,
    Document,
    Row,
    SupportingFact,
    Tier,
    column,
    text,
    values,
)

NAME = "musique"
TIERS: dict[str, Tier] = {"2": "easy", "3": "medium", "4": "hard"}
SHAPE = re.compile(r"^(\d)hop\d*(?=__)")


def shape(question_id: str) -> str | None:
    """Shape of the reasoning graph, written at the head of the id: `2hop`, `3hop1`, `4hop3`; None if it is not."""
    match = SHAPE.match(question_id)
    return match.group() if match else None


def tier(question_id: str, answerable: bool) -> Tier:
    """Difficulty by the number of hops in the id; an unanswerable question is hard, an unknown number medium."""
    if not answerable:
        return "hard"
    match = SHAPE.match(question_id)
    return TIERS.get(match.group(1), "medium") if match else "medium"


def convert(row: Row) -> BareQuestion:
    """One row of `dgslibisey/MuSiQue` as a question.

    A paragraph is kept as one sentence: MuSiQue annotates whole paragraphs, so every supporting fact is sentence 0.

    Raises:
        BenchmarkError: a column is missing or of another type.
    """
    question_id, answerable = text(NAME, row, "id"), column(NAME, row, "answerable") is not False
    documents = [_document(paragraph) for paragraph in values(NAME, row, "paragraphs")]
    return BareQuestion(
        question_id=question_id,
        question=text(NAME, row, "question"),
        answer=text(NAME, row, "answer"),
        aliases=[alias.strip() for alias in values(NAME, row, "answer_aliases")],
        documents=documents,
        supporting_facts=[SupportingFact(title=d["title"], sentence=0) for d in documents if d["is_supporting"]],
        question_type=shape(question_id),
        level=None,
        tier=tier(question_id, answerable),
        answerable=answerable,
    )


def _document(paragraph: Row) -> Document:
    return Document(
        title=text(NAME, paragraph, "title"),
        sentences=[text(NAME, paragraph, "paragraph_text")],
        is_supporting=bool(column(NAME, paragraph, "is_supporting")),
    )


BENCHMARK = Benchmark(
    name=NAME,
    hub_id="dgslibisey/MuSiQue",
    convert=convert,
    license="cc-by-4.0",
    citation="MuSiQue (Trivedi et al. 2022, arXiv:2108.00573)",
)
