"""HotpotQA, distractor setting (Yang et al. 2018, arXiv 1809.09600): ten paragraphs, two of them support.

Here belong its row layout and its difficulty rule.
"""

from __future__ import annotations

from mbt_assets.benchmarks.context import annotated_facts, read_documents, read_supporting_facts
from mbt_assets.benchmarks.records import BareQuestion, Benchmark, Row, Tier, text

NAME = "hotpotqa"
LEVEL_TIERS: dict[str | None, Tier] = {"easy": "easy", "medium": "medium"}


def tier(level: str | None, question_type: str | None, n_supporting_facts: int) -> Tier:
    """Difficulty: the benchmark's own level if it is easy or medium, otherwise by shape.

    All validation rows are of level hard, so the shape tells them apart: three supporting facts or more are hard,
    a comparison is easy, the rest is medium.

    Args:
        level: the benchmark's level of the question.
        question_type: `bridge` or `comparison`.
        n_supporting_facts: as annotated, facts that point at no sentence included.
    """
    if level in LEVEL_TIERS:
        return LEVEL_TIERS[level]
    if n_supporting_facts >= 3:
        return "hard"
    return "easy" if question_type == "comparison" else "medium"


def convert(row: Row) -> BareQuestion:
    """One row of `hotpotqa/hotpot_qa` as a question.

    Raises:
        BenchmarkError: a column is missing or of another type.
    """
    documents = read_documents(NAME, row)
    question_type, level = text(NAME, row, "type") or None, text(NAME, row, "level") or None
    return BareQuestion(
        question_id=text(NAME, row, "id"),
        question=text(NAME, row, "question"),
        answer=text(NAME, row, "answer"),
        aliases=[],
        documents=documents,
        supporting_facts=read_supporting_facts(NAME, row, documents),
        question_type=question_type,
        level=level,
        tier=tier(level, question_type, annotated_facts(NAME, row)),
        answerable=True,
    )


BENCHMARK = Benchmark(
    name=NAME,
    hub_id="hotpotqa/hotpot_qa",
    hub_config="distractor",
    convert=convert,
    license="cc-by-sa-4.0",
    citation="HotpotQA (Yang et al. 2018, arXiv:1809.09600)",
)
