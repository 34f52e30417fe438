"""Documents and supporting facts as HotpotQA and 2WikiMultihopQA lay them out: parallel lists in two structs.

Rules that a single benchmark has for itself belong into its own file.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from mbt_assets.benchmarks.records import BenchmarkError, Document, Row, SupportingFact, values


def read_documents(benchmark: str, row: Row) -> list[Document]:
    """The row's documents, each sentence stripped; a document supports if a supporting fact bears its title.

    Blank sentences stay where they are: the supporting facts count them.

    Raises:
        BenchmarkError: a column is missing, or titles and sentences differ in number.
    """
    supporting = set(values(benchmark, row, "supporting_facts", "title"))
    pairs = _parallel(benchmark, row, "context", "title", "sentences")
    return [
        Document(title=title, sentences=[s.strip() for s in sentences], is_supporting=title in supporting)
        for title, sentences in pairs
    ]


def read_supporting_facts(benchmark: str, row: Row, documents: list[Document]) -> list[SupportingFact]:
    """The row's supporting facts that point at a sentence which exists.

    The published data name some sentences beyond the end of their document. Such a fact is dropped; its document
    stays marked as supporting, and `annotated_facts` still counts it.

    Raises:
        BenchmarkError: a column is missing, or titles and sentence numbers differ in number.
    """
    lengths: dict[str, int] = defaultdict(int)
    for document in documents:
        lengths[document["title"]] = max(lengths[document["title"]], len(document["sentences"]))
    return [
        SupportingFact(title=title, sentence=sentence)
        for title, sentence in _parallel(benchmark, row, "supporting_facts", "title", "sent_id")
        if 0 <= sentence < lengths[title]
    ]


def annotated_facts(benchmark: str, row: Row) -> int:
    """How many supporting facts the benchmark annotates, those that point at no sentence included."""
    return len(values(benchmark, row, "supporting_facts", "title"))


def _parallel(benchmark: str, row: Row, struct: str, first: str, second: str) -> list[tuple[Any, Any]]:
    left, right = values(benchmark, row, struct, first), values(benchmark, row, struct, second)
    if len(left) != len(right):
        raise BenchmarkError(
            f"benchmark {benchmark}: question {row.get('id')!r} has {len(left)} '{struct}.{first}' but {len(right)} "
            f"'{struct}.{second}'. The row is damaged: fetch the dataset again or leave the row out."
        )
    return list(zip(left, right, strict=True))
