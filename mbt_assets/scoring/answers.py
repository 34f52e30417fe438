"""Answers: where reasoning ends, what was answered, and how it compares with the references.

What belongs here: the definition of the answer scores, one row at a time. `answer_columns` is the same for many rows.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

SCORER_VERSION = "answers-1"
"""Raise it when extraction or a score changes."""
SPLITTER_VERSION = "splitter-1"
"""Raise it when `split_reasoning` changes. Apart from the scorer: rollouts hang on this, their scores on the other."""

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})

_DELETE_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
SCORE_COLUMNS = ("exact_match", "substring_match", "f1", "f1_plain")


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """Scores of one prediction against all its references.

    Attributes:
        exact_match: 1.0 if the normalised prediction is not empty and equals a normalised reference, else 0.0.
        substring_match: 1.0 if a normalised reference stands in the normalised prediction, else 0.0.
        f1: token F1 in [0, 1], best over the references, with HotpotQA's yes/no/noanswer rule.
        f1_plain: the same without that rule.
        unscorable_gold: True if no reference is left after normalisation, so that nothing could have matched.
    """

    exact_match: float
    substring_match: float
    f1: float
    f1_plain: float
    unscorable_gold: bool


def split_reasoning(response: str, reasoning: str | None = None) -> tuple[str, str]:
    """Separate a response into its reasoning and its content, both stripped.

    Args:
        response: What the model wrote; the server's reasoning may stand in front of it (with or without think tags).
        reasoning: The server's own reasoning field, or None where the server sends none. It wins over the tags.

    Returns:
        `(reasoning, content)`. Without a reasoning field, reasoning is the text between `<think>` and the first
        `</think>` (a missing `<think>` means that the prompt had opened it); if `</think>` never comes, all of the
        text is reasoning and the content is empty, so there is no answer.
    """
    if reasoning is not None and (reasoning.strip() or THINK_CLOSE not in response):
        return reasoning.strip(), _content_after(response, reasoning.strip())
    before, closed, after = response.partition(THINK_CLOSE)
    _, opened, inside = before.partition(THINK_OPEN)
    return (inside if opened else before).strip(), after.strip() if closed else ""


def _content_after(response: str, reasoning: str) -> str:
    """The response less the server's reasoning, where the response repeats it at its start."""
    rest = response.strip().removeprefix(THINK_OPEN).lstrip()
    if not rest.startswith(reasoning):
        return response.strip()
    return rest[len(reasoning) :].lstrip().removeprefix(THINK_CLOSE).strip()


def extract_answer(text: str) -> tuple[str, bool]:
    """Find the answer in a response's content.

    Args:
        text: The content after the reasoning.

    Returns:
        `(predicted_answer, answer_found)`: the stripped text between the last `<answer>` and the first `</answer>`
        after it; `("", False)` if either tag is missing. An empty pair of tags is `("", True)`.
    """
    _, opened, rest = text.rpartition(ANSWER_OPEN)
    inside, closed, _ = rest.partition(ANSWER_CLOSE)
    return (inside.strip(), True) if opened and closed else ("", False)


def normalize(text: str) -> str:
    """Normalise an answer as SQuAD and HotpotQA do.

    In this order: lowercase, delete ASCII punctuation, replace the words a/an/the by a space, collapse white space.
    Case, words and white space are those of Python's `str` and `re`, for any Unicode text.

    Source: the official HotpotQA evaluation, `normalize_answer`.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_DELETE_PUNCTUATION)).split())


def token_f1(prediction: str, reference: str) -> float:
    """Token F1 of two normalised strings: the harmonic mean of precision and recall of their token multisets.

    Returns:
        A number in [0, 1]; 0.0 if they share no token or either is empty. The order of the floating-point operations
        is the official script's, so equal inputs give equal bits.
    """
    predicted, gold = prediction.split(), reference.split()
    shared = (Counter(predicted) & Counter(gold)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(gold)
    return (2 * precision * recall) / (precision + recall)


def closed_answers_differ(prediction: str, reference: str) -> bool:
    """HotpotQA's rule: True if either normalised string is yes, no or noanswer and they are not the same."""
    return prediction != reference and (prediction in CLOSED_ANSWERS or reference in CLOSED_ANSWERS)


def score(prediction: str, references: Iterable[str]) -> AnswerScore:
    """Score one prediction against its gold answer and aliases.

    Args:
        prediction: The predicted answer as written; an empty one scores 0 everywhere.
        references: The gold answer and its aliases. Those that are empty after normalisation match nothing.

    Returns:
        The four scores, and whether no reference was left to match.
    """
    predicted = normalize(prediction)
    gold = [text for text in map(normalize, references) if text]
    if not predicted or not gold:
        return AnswerScore(0.0, 0.0, 0.0, 0.0, unscorable_gold=not gold)
    plain = [token_f1(predicted, text) for text in gold]
    ruled = [0.0 if closed_answers_differ(predicted, text) else f1 for text, f1 in zip(gold, plain, strict=True)]
    return AnswerScore(
        exact_match=float(predicted in gold),
        substring_match=float(any(text in predicted for text in gold)),
        f1=max(ruled),
        f1_plain=max(plain),
        unscorable_gold=False,
    )
