"""Finding the sentences that bear on any question: shared rare words, bridges between documents, a known answer.

Made for real multi-hop questions, where it is a crude stand-in for reading; it never fails, it only finds less.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from mbt_assets.embedded.reading import Document
from mbt_assets.embedded.words import MOST_CHARACTERS, content_words, mentions

_BRIDGE = 0.8  # share of the best sentence's score that a document gets for being named by it, or naming its document
_NAMED = 0.5  # share of it that a document's opening sentence gets if the question names the document
_SHOWN_WORDS = 40
_MOST_SENTENCES = 2000  # that are looked into, of all documents together


@dataclass(frozen=True)
class Sentence:
    """One sentence of a document: where it stands, its text, and the words of it and of its document's title."""

    document: int
    title: str
    text: str
    words: frozenset[str]

    @property
    def shown(self) -> str:
        """The text, cut to a length that a trace can quote, ending with a full stop, question or exclamation mark."""
        words = self.text.split()
        text = " ".join(words[:_SHOWN_WORDS]).rstrip(" ,;:")
        return text if text.endswith((".", "!", "?")) else f"{text}."


@dataclass(frozen=True)
class Evidence:
    """What bears on a question.

    Attributes:
        chain: one or two sentences of different documents, in the order in which one leads to the other.
        ranked: every sentence with a score above 0, best first.
        noise: title of the document that looks most related without being used; empty if all are used.
    """

    chain: tuple[Sentence, ...]
    ranked: tuple[Sentence, ...]
    noise: str


def gather(question: str, documents: Sequence[Document], answer: str = "") -> Evidence:
    """Find the sentences that bear on a question.

    Args:
        question: the question.
        documents: where to look.
        answer: the gold answer where it is known: a sentence that holds it then ends the chain.
    """
    sentences = list(islice(_sentences(documents), _MOST_SENTENCES))
    if not sentences:
        return Evidence((), (), "")
    scores = _scores(question, sentences)
    first = max(range(len(sentences)), key=lambda i: scores[i])
    bridged = [scores[i] + _bridge(scores[first], sentences[first], item) for i, item in enumerate(sentences)]
    holders = [i for i, item in enumerate(sentences) if answer and mentions(item.text, answer)]
    last = max(holders, key=lambda i: bridged[i]) if holders else _best_elsewhere(sentences, bridged, first)
    if sentences[last].document == sentences[first].document:
        first = _best_elsewhere(sentences, bridged, last)
    chain = tuple(sentences[i] for i in dict.fromkeys((first, last)))
    order = sorted(range(len(sentences)), key=lambda i: -bridged[i])
    ranked = tuple(sentences[i] for i in order if bridged[i] > 0)
    return Evidence(chain, ranked, _noise(ranked, documents, {item.title for item in chain}))


def _sentences(documents: Sequence[Document]) -> Iterable[Sentence]:
    for number, document in enumerate(documents):
        title = frozenset(content_words(document.title))
        for text in document.sentences:
            text = text[:MOST_CHARACTERS]
            yield Sentence(number, document.title, text, title | frozenset(content_words(text)))


def _scores(question: str, sentences: Sequence[Sentence]) -> list[float]:
    """The summed rarity log(1 + N / n) of the words that each sentence shares with the question, and `_NAMED`."""
    counts = Counter(word for item in sentences for word in item.words)
    asked = set(content_words(question))
    rarity = {word: math.log1p(len(sentences) / counts[word]) for word in asked if word in counts}
    scores = [sum(sorted(rarity[word] for word in item.words & rarity.keys())) for item in sentences]
    extra = _NAMED * max(scores)
    opened: set[int] = set()
    for i, item in enumerate(sentences):
        if item.document not in opened and mentions(question, _bare(item.title)):
            scores[i] += extra
        opened.add(item.document)
    return scores


def _bridge(best: float, first: Sentence, other: Sentence) -> float:
    if other.document == first.document:
        return 0.0
    linked = mentions(first.text, _bare(other.title)) or mentions(other.text, _bare(first.title))
    return _BRIDGE * best if linked else 0.0


def _bare(title: str) -> str:
    return title.split(" (")[0]


def _best_elsewhere(sentences: Sequence[Sentence], scores: Sequence[float], taken: int) -> int:
    """The best sentence of another document than that of sentence `taken`; `taken` itself if there is none."""
    others = [i for i, item in enumerate(sentences) if item.document != sentences[taken].document]
    return max(others, key=lambda i: scores[i], default=taken)


def _noise(ranked: Sequence[Sentence], documents: Sequence[Document], used: set[str]) -> str:
    titles = [*(item.title for item in ranked), *(document.title for document in documents)]
    return next((title for title in titles if title and title not in used), "")
