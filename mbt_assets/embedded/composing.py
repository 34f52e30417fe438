"""Composing traces about any question out of the sentences that bear on it.

The same five paragraphs that a real teacher is asked for, with fixed joints; short enough for small token limits.
"""

from __future__ import annotations

import re

from mbt_assets.embedded.evidence import Evidence
from mbt_assets.embedded.reading import split_sentences
from mbt_assets.embedded.words import content_words, mentions

_TAGS = re.compile(r"</?(?:trace|think|answer)>|\[\[M", re.IGNORECASE)
_KEPT_OVERLAP = 0.6
_QUESTION_WORDS = 80


def quotable(text: str) -> str:
    """A text of others on one line, without the tags and markers that our own replies are read by."""
    return " ".join(_TAGS.sub(" ", text).split())


def five_phases(question: str, evidence: Evidence, answer: str, kept: str = "") -> str:
    """Write a trace of five paragraphs that ends in `answer`.

    Args:
        question: the question.
        evidence: what bears on it.
        answer: where the trace ends; it comes up in the third paragraph for the first time, unless the question has it.
        kept: a finding of a student's draft that is to be kept, or empty.
    """
    titles = [quotable(title) for title in dict.fromkeys(item.title for item in evidence.chain) if title]
    noise = quotable(evidence.noise)
    return "\n\n".join(
        (
            _understanding(question, titles, noise, answer),
            _plan(titles, answer),
            _execution(evidence, answer, kept),
            _correction(noise, answer),
            f"Check: the facts above are from the documents and lead to what was asked. The answer is {_ended(answer)}",
        )
    )


def unstructured(evidence: Evidence, answer: str, kept: str = "") -> str:
    """Write a derivation of `answer` in one paragraph, with no structure."""
    facts = [quotable(item.shown) for item in evidence.chain]
    return " ".join([*facts, *filter(None, [kept]), f"So the answer is {_ended(answer)}"])


def deliberation(question: str, evidence: Evidence, answer: str, aside: int = 0) -> str:
    """Write the trace of a teacher that was just asked: four paragraphs, with a look aside at another document.

    Args:
        question: the question.
        evidence: what bears on it.
        answer: where the trace ends.
        aside: which of the sentences outside the chain to look at; wraps around.
    """
    others = [item for item in evidence.ranked if item not in evidence.chain][:4]
    look = f" {quotable(others[aside % len(others)].shown)}" if others else ""
    facts = " ".join(quotable(item.shown) for item in evidence.chain)
    return "\n\n".join(
        (
            f"Let me see what is asked: {_shortened(question)}",
            f"{facts} So maybe the answer is {_ended(answer)}",
            f"Wait. Is there something else?{look} That does not settle it.",
            f"Putting this together, the answer is {_ended(answer)}",
        )
    )


def kept_finding(draft: str, evidence: Evidence, answer: str) -> str:
    """The first sentence of a draft that names the answer and is backed by the evidence; empty if there is none."""
    named = set(content_words(answer))
    known = {word for item in evidence.chain for word in item.words} | named
    quoted = {quotable(item.shown) for item in evidence.chain}
    for sentence in split_sentences(quotable(draft[:20_000])):
        words = set(content_words(sentence))
        backed = len(words & known) >= _KEPT_OVERLAP * len(words)
        if words - named and backed and sentence not in quoted and mentions(sentence, answer) and len(sentence) < 300:
            return sentence
    return ""


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _shortened(question: str) -> str:
    return " ".join(quotable(question).split()[:_QUESTION_WORDS])


def _understanding(question: str, titles: list[str], noise: str, answer: str) -> str:
    named = [title for title in titles if not mentions(title, answer)]  # the answer is not known yet
    matter = f" {' and '.join(named)} should matter." if named else ""
    aside = f" {noise} is noise." if noise and not mentions(noise, answer) else " The rest is noise."
    return f"I need to find out: {_shortened(question)}{matter}{aside}"


def _plan(titles: list[str], answer: str) -> str:
    named = [title for title in titles if not mentions(title, answer)]
    start = f"what the documents say on {named[0]}" if named else "the document that the question points to"
    return f"Plan: first look up {start}, then follow that to the fact that is asked for."


def _execution(evidence: Evidence, answer: str, kept: str) -> str:
    facts = [quotable(item.shown) for item in evidence.chain]
    return " ".join([*facts, *filter(None, [kept]), f"This fits the plan and gives {_ended(answer)}"])


def _correction(noise: str, answer: str) -> str:
    if noise and not mentions(noise, answer):
        return f"Wait. Not {noise}: that is about something else, so the conclusion stands."
    return "Wait. A similar name could mislead here, but it is not what the facts above are about."
