"""Reach-Redundancy Profile: how late a trace first reaches the gold answer, and how much of it is redundant.

What belongs here: reading the RRP judge's reply, and the profile that follows from it and the trace.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mbt_assets.scoring.forms import CONFIDENCE, SENTENCE, Form, one_of, some_of
from mbt_assets.scoring.replies import BAD_VALUE, JudgeReplyError, confidence_of, key_lines, shown
from mbt_assets.scoring.traces import MARKER_END, MARKER_NONE, marker, sentence_counts

SCORER_VERSION = "rrp-1"
KEYS = ("ANSWER_PARAGRAPH_MARKER", "REDUNDANT_PARAGRAPH_MARKERS", "CONFIDENCE", "NOTES")
MARKER_BEYOND_TRACE = "marker_beyond_trace"

_MARKER = re.compile(r"\[\[M(\d{2,6}|_END)\]\]", re.ASCII)
_SEPARATOR = re.compile(r"\s*,\s*|\s+")


@dataclass(frozen=True, slots=True)
class RrpReply:
    """What the judge said: `answer_paragraph` from 1 (0: none), sorted redundant paragraphs, confidence in [0, 1]."""

    answer_paragraph: int
    redundant_paragraphs: list[int]
    confidence: float
    notes: str


@dataclass(frozen=True, slots=True)
class RrpScore:
    """The profile of one trace; lengths are sentences, fractions are in [0, 1].

    Attributes:
        answer_paragraph: k, the paragraph that first derives the gold answer; 0 if none does.
        first_correct: sentences in paragraphs 1..k; -1 if k = 0.
        redundant_paragraphs: numbers of the redundant paragraphs, sorted.
        redundant_sentences: sentences in them.
        total_sentences: sentences in the trace.
        redundant_fraction: redundant_sentences / total_sentences; 0 for an empty trace.
        arrival: first_correct / total_sentences; 1 if k = 0.
        regulation: harmonic mean of 1 - arrival and 1 - redundant_fraction; 0 if both are 0.
    """

    answer_paragraph: int
    first_correct: int
    redundant_paragraphs: list[int]
    redundant_sentences: int
    total_sentences: int
    redundant_fraction: float
    arrival: float
    regulation: float


@dataclass(frozen=True, slots=True)
class LengthAware:
    """Arrival, redundant fraction and regulation against the base variant's mean trace length, each in [0, 1]."""

    arrival: float
    redundant_fraction: float
    regulation: float


def reply_form(n_paragraphs: int, numbers: Sequence[int] | None = None) -> Form:
    """The form of a reply about one trace: only the markers of that trace are in it.

    Args:
        n_paragraphs: N, at least 1.
        numbers: The markers' numbers, as in `traces.mark`.
    """
    given = range(1, n_paragraphs) if numbers is None else numbers
    names = [*map(marker, given), MARKER_END]
    values = (one_of([*names, MARKER_NONE]), some_of(names), CONFIDENCE, SENTENCE)
    return Form("rrp", dict(zip(KEYS, values, strict=True)))


def parse_rrp(reply: str, n_paragraphs: int, numbers: Sequence[int] | None = None) -> RrpReply:
    """Read an RRP reply: the four lines of `KEYS`, each once.

    Args:
        reply: The judge's reply. `[[M_END]]` names the last paragraph, `[[M00]]` (answer only) none; redundant
            markers are separated by commas or white space, or the word NONE. A paragraph named twice counts once.
        n_paragraphs: N, the number of paragraphs of the marked trace.
        numbers: The markers' numbers, where the trace was marked with others than 1, 2, …; its last paragraph has
            none then, and is `[[M_END]]` alone. What is returned are paragraphs in their order all the same.

    Raises:
        JudgeReplyError: `empty_reply`, `unexpected_text`, `missing_key:…`, `duplicate_key:…`, `bad_value:…`,
            `out_of_range:CONFIDENCE`, or `marker_beyond_trace` for a marker above N (or one that is not among
            `numbers`): it is not clamped.
    """
    given = range(1, n_paragraphs + 1) if numbers is None else numbers
    values = key_lines(reply, KEYS, last_is_text=True)
    answer_key, redundant_key = KEYS[:2]
    answer = values[answer_key]
    redundant = values[redundant_key]
    names = [] if redundant == "NONE" else _SEPARATOR.split(redundant)
    return RrpReply(
        answer_paragraph=0 if answer == MARKER_NONE else _paragraph(answer, n_paragraphs, given, answer_key),
        redundant_paragraphs=sorted({_paragraph(name, n_paragraphs, given, redundant_key) for name in names}),
        confidence=confidence_of(values),
        notes=values["NOTES"],
    )


def _paragraph(name: str, n_paragraphs: int, numbers: Sequence[int], key: str) -> int:
    """The paragraph that a marker names, from 1 to N."""
    if name == MARKER_END and n_paragraphs:
        return n_paragraphs
    match = _MARKER.fullmatch(name)
    number = int(match[1]) if match and name != MARKER_END else 0
    if name != MARKER_END and (number == 0 or name != marker(number)):
        raise JudgeReplyError(f"{BAD_VALUE}:{key}", f"expected paragraph markers, got {shown(name)}")
    if number not in numbers:
        raise JudgeReplyError(MARKER_BEYOND_TRACE, f"{name} in a trace of {n_paragraphs} paragraphs")
    return numbers.index(number) + 1


def regulation(arrival: float, redundant_fraction: float) -> float:
    """R = 2(1-ρ)(1-δ) / ((1-ρ)+(1-δ)), in [0, 1]; 0 if both factors are 0."""
    reach, economy = 1 - arrival, 1 - redundant_fraction
    return 2 * reach * economy / (reach + economy) if reach + economy > 0 else 0.0


def profile(answer_paragraph: int, redundant_paragraphs: Sequence[int], counts: Sequence[int]) -> RrpScore:
    """The profile of a trace from the judged paragraphs.

    Args:
        answer_paragraph: k, from 1 to N; 0 if the answer is never derived.
        redundant_paragraphs: Paragraph numbers from 1 to N, before or after the answer.
        counts: Sentences of each paragraph, N numbers; none for an empty trace.

    Raises:
        ValueError: A paragraph number is outside 0..N (answer) or 1..N (redundant).
    """
    outside = [k for k in redundant_paragraphs if not 1 <= k <= len(counts)]
    if outside or not 0 <= answer_paragraph <= len(counts):
        raise ValueError(f"paragraphs {outside or [answer_paragraph]} are outside a trace of {len(counts)} paragraphs")
    redundant = sorted(set(redundant_paragraphs))
    total, wasted = sum(counts), sum(counts[k - 1] for k in redundant)
    first = sum(counts[:answer_paragraph]) if answer_paragraph else -1
    delta = wasted / total if total else 0.0
    rho = first / total if answer_paragraph else 1.0
    return RrpScore(answer_paragraph, first, redundant, wasted, total, delta, rho, regulation(rho, delta))


def score_rrp(trace: str, reply: str, numbers: Sequence[int] | None = None) -> tuple[RrpScore, float]:
    """Parse a judge's reply about a trace and give the profile and the judge's confidence.

    Args:
        trace: The trace, without markers.
        reply: The judge's reply.
        numbers: The markers' numbers, as in `parse_rrp`.

    Raises:
        JudgeReplyError: As `parse_rrp`.
    """
    counts = sentence_counts(trace)
    parsed = parse_rrp(reply, len(counts), numbers)
    return profile(parsed.answer_paragraph, parsed.redundant_paragraphs, counts), parsed.confidence


def length_aware(first_correct: int, redundant_sentences: int, anchor: float) -> LengthAware:
    """The length-aware profile: sentences against S_b, the mean total_sentences of the base on the same dataset.

    Args:
        first_correct: Sentences up to the answer; -1 if it is never derived (arrival is then 1).
        redundant_sentences: Redundant sentences.
        anchor: S_b, above 0.

    Raises:
        ValueError: The anchor is not above 0: there is no length to compare with.
    """
    if not anchor > 0:
        raise ValueError(f"the base variant's mean trace length must be above 0, got {anchor}")
    rho = 1.0 if first_correct < 0 else min(1.0, first_correct / anchor)
    delta = min(1.0, redundant_sentences / anchor)
    return LengthAware(rho, delta, regulation(rho, delta))
