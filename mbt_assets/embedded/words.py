"""Words in common: content words, whole-word mentions, and concluding statements of an answer.

Shared by teacher and judge; nothing here knows a prompt or a benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from mbt_assets.embedded.reading import split_sentences
from mbt_assets.scoring.answers import normalize

_BINDING = """
a about above after again against all also am an and any are as at be because been before being both but by can
could did do does doing done down during each either else ever few for from further had has have having he her here
hers him his how i if in into is it its itself just let like look maybe me more most my no nor not now of off on
once only or other our out over own perhaps same she should so some such than that the their them then there
therefore these they this those though through thus to too under until up us very was we were what when where
whether which while who whom whose why will with would yes you your hmm ok okay well wait find first second next
check plan s t
"""
_STOPWORDS = frozenset(_BINDING.split())
_WORD = re.compile(r"[^\W_]+")
_CONCLUDING = re.compile(
    r"\b(?:so|answer|maybe|perhaps|therefore|thus|hence|must be|gives?|settles?|conclu\w+|means)\b", re.IGNORECASE
)
_YES_NO = frozenset({"yes", "no"})
MOST_CHARACTERS = 4000
"""A longer sentence is cut to this many characters before it is looked into."""


def content_words(text: str) -> list[str]:
    """Case-folded words that carry meaning, in order, with repetitions; short words that only bind are left out."""
    return [word for word in map(str.casefold, _WORD.findall(text)) if word not in _STOPWORDS]


def mentions(text: str, phrase: str) -> bool:
    """Whether the normalised phrase stands in the normalised text as whole words; an empty phrase never does."""
    return bool(_present(text, (phrase,)))


def _present(text: str, phrases: Iterable[str]) -> list[str]:
    """Those of the phrases that stand in the text."""
    padded = f" {normalize(text)} "
    return [phrase for phrase in phrases if (wanted := _normalized(phrase)) and f" {wanted} " in padded]


@lru_cache(maxsize=64)
def _normalized(phrase: str) -> str:
    return normalize(phrase)


def derives(paragraph: str, references: Iterable[str], question: str) -> bool:
    """Whether a paragraph puts one of the references forward as an answer to the question.

    A mention is enough, unless the question itself names the reference or it is yes or no: then one sentence must hold
    both the reference and a conclusion (`so`, `the answer is`, `maybe`, ...), and be no question.
    """
    present = _present(paragraph, references)
    if not present:
        return False
    if any(_normalized(reference) not in _YES_NO and not mentions(question, reference) for reference in present):
        return True
    concluding = [text for text in split_sentences(paragraph) if _CONCLUDING.search(text) and not text.endswith("?")]
    return any(_present(text, present) for text in concluding)
