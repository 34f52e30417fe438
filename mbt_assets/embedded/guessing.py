"""Guessing an answer to a real question from sentences that bear on it: by the kind of answer the question wants.

Heuristics of a few lines each; a rule-based reader is wrong on most real questions, and that is expected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mbt_assets.embedded.evidence import Evidence
from mbt_assets.embedded.reading import Document
from mbt_assets.embedded.words import MOST_CHARACTERS, content_words, mentions

_YES_NO = re.compile(r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will)\b", re.IGNORECASE)
_CHOICE = re.compile(r"(?:[,:]|\b(?:between|is|was))\s+([^,:?]{1,100}?),? or (?:the |is |was )?([^,?]{1,100})\?\s*$")
_LATEST = re.compile(r"\b(?:young\w*|later|latest|newer|newest|last|more recent\w*)\b", re.IGNORECASE)
_YEAR = re.compile(r"\b(1[0-9]{3}|20[0-9]{2})\b")
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(rf"\b(?:\d{{1,2}} (?:{_MONTHS}) \d{{4}}|(?:{_MONTHS}) \d{{1,2}}, \d{{4}}|1\d{{3}}|20\d{{2}})\b")
_NUMBER = re.compile(r"\b\d{1,3}(?:,\d{3})+\b|\b\d+(?:\.\d+)?\b")
_NAME = re.compile(r"[A-Z][\w'’.-]*(?: (?:(?:of|the|de|van|von|and|du|la) )?[A-Z0-9][\w'’.-]*){0,5}")
_PLACE_CUE = re.compile(r"\b(?:in|at|of|from|near|to) $")
_WANTS_DATE = re.compile(r"\b(?:when|what (?:year|date|day)|which year|what is the date)\b", re.IGNORECASE)
_WANTS_NUMBER = re.compile(r"\bhow (?:many|much|old|long|tall|far|large|big)\b", re.IGNORECASE)
_WANTS_PLACE = re.compile(r"\b(?:where|(?:which|what) (?:city|country|state|county)|place of)\b", re.IGNORECASE)
_OPENERS = re.compile(r"The|He|She|It|His|Her|Its|They|Their|This|That|These|Those|In|On|At|A|An|As|After|Before")
_SEARCHED = 12  # sentences


def guess(question: str, documents: Sequence[Document], evidence: Evidence) -> str:
    """Guess the answer; never empty as long as there is any document.

    Args:
        question: the question.
        documents: its documents.
        evidence: what `gather` found for it without knowing the answer.

    Returns:
        `yes`, `no`, one of two things that the question offers, or a date, number or name out of the evidence.
    """
    choice = _CHOICE.search(question)
    if choice:
        return _choose(question, choice[1].strip(), choice[2].strip(), documents)
    if _YES_NO.match(question):
        return _yes_or_no(question, documents)
    return _span(question, evidence) or next((document.title for document in documents if document.title), "unknown")


def _choose(question: str, one: str, other: str, documents: Sequence[Document]) -> str:
    """The one whose documents give the earlier year, or the later one if the question asks for that."""
    years = [_year(name, documents) for name in (one, other)]
    if None in years or years[0] == years[1]:
        return one
    wants_other = (years[1] or 0) > (years[0] or 0) if _LATEST.search(question) else (years[1] or 0) < (years[0] or 0)
    return other if wants_other else one


def _year(name: str, documents: Sequence[Document], hops: int = 1) -> int | None:
    """The first year in the document about a name, looking first into a document that it leads to."""
    about = next((document for document in documents if mentions(document.title, name)), None)
    if about is None:
        return None
    text = about.text[:MOST_CHARACTERS]
    if hops:
        for document in documents:
            bare = document.title.split(" (")[0]
            if document is not about and mentions(text, bare):
                return _year(document.title, documents, hops - 1) or _first_year(text)
    return _first_year(text)


def _first_year(text: str) -> int | None:
    found = _YEAR.search(text)
    return int(found[1]) if found else None


def _yes_or_no(question: str, documents: Sequence[Document]) -> str:
    """Yes if the documents that the question names open with a word in common that only few others use."""
    named = [document for document in documents if mentions(question, document.title.split(" (")[0])]
    openings = [set(content_words((document.sentences or [""])[0])) for document in named[:2]]
    if len(openings) < 2:
        return "yes"
    names = set(content_words(" ".join(document.title for document in named)))
    return "yes" if (openings[0] & openings[1]) - names else "no"


def _span(question: str, evidence: Evidence) -> str:
    """The best-placed date, number or name of the evidence that the question does not already hold."""
    chain = list(dict.fromkeys((*reversed(evidence.chain), *evidence.ranked)))[:_SEARCHED]
    pattern = _DATE if _WANTS_DATE.search(question) else _NUMBER if _WANTS_NUMBER.search(question) else _NAME
    fallback = ""
    for sentence in chain:
        for match in pattern.finditer(sentence.text):
            span = match[0].rstrip(".,'’-")
            if _OPENERS.fullmatch(span) or mentions(question, span) or not content_words(span):
                continue
            placed = not _WANTS_PLACE.search(question) or _PLACE_CUE.search(sentence.text[: match.start()])
            if placed and not mentions(sentence.title, span):
                return span
            fallback = fallback or span
    return fallback
