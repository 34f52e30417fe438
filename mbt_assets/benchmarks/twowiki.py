"""2WikiMultihopQA (Ho et al. 2020, arXiv 2011.01060): questions composed from Wikidata and Wikipedia.

Here belong its row layout and its difficulty rule. The repository holds no answer aliases.
"""

from __future__ import annotations

from mbt_assets.benchmarks.context import read_documents, read_supporting_facts
from mbt_assets.benchmarks.records import BareQuestion, Benchmark, Row, Tier, text

NAME = "2wikimultihopqa"
TIERS: dict[str, Tier] = {
    "comparison": "easy",
    "inference": "medium",
    "compositional": "medium",
    "bridge_comparison": "hard",
}


def tier(question_type: str | None) -> Tier:
    """Difficulty by question type; a type that is not known is medium."""
    return TIERS.get(question_type or "", "medium")


def convert(row: Row) -> BareQuestion:
    """One row of `framolfese/2WikiMultihopQA` as a question.

    Raises:
        BenchmarkError: a column is missing or of another type.
    """
    documents = read_documents(NAME, row)
    question_type = text(NAME, row, "type") or None
    return BareQuestion(
        question_id=text(NAME, row, "id"),
        question=text(NAME, row, "question"),
        answer=text(NAME, row, "answer"),
        aliases=[],
        documents=documents,
        supporting_facts=read_supporting_facts(NAME, row, documents),
        question_type=question_type,
        level=None,
        tier=tier(question_type),
        answerable=True,
    )


BENCHMARK = Benchmark(
    name=NAME,
    hub_id="framolfese/2WikiMultihopQA",
    convert=convert,
    license="apache-2.0",
    citation="2WikiMultihopQA (Ho et al. 2020, arXiv:2011.01060)",
)
