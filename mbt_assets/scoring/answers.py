"""Answers: where reasoning ends, what was answered, and how it compares with the references.

What belongs here: the definition of the answer scores, one row at a time, and the columnar fast path that equals it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

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


def score_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Score many rows at once, with the same bits as `score` row by row.

    Args:
        frame: One row per prediction, with columns `prediction` (str; null counts as empty) and `references` (list of
            str; a null list or item counts as absent). Other columns pass through.

    Returns:
        The frame with `exact_match`, `substring_match`, `f1`, `f1_plain` (float), `unscorable_gold` (bool) and
        `normalized_prediction` (str) added, rows in the same order.

    Raises:
        TypeError: A column has another type.
        polars.exceptions.ColumnNotFoundError: A column is missing.
    """
    for column, wanted in (("prediction", pl.String()), ("references", pl.List(pl.String()))):
        if frame[column].dtype not in (wanted, pl.Null(), pl.List(pl.Null())):
            raise TypeError(f"column {column!r} must be {wanted}, got {frame[column].dtype}")
    predictions = normalize_series(frame["prediction"])
    rows = pl.DataFrame({"prediction": predictions, "reference": frame["references"].cast(pl.List(pl.String()))})
    pairs = rows.with_row_index("row").explode("reference")
    pairs = pairs.with_columns(reference=normalize_series(pairs["reference"])).filter(pl.col("reference") != "")
    best = _pair_scores(pairs).group_by("row").agg(pl.col(SCORE_COLUMNS).max(), unscorable_gold=pl.lit(False))
    scores = rows.select(row=pl.int_range(pl.len(), dtype=pl.UInt32)).join(
        best, on="row", how="left", maintain_order="left"
    )
    return frame.with_columns(
        scores.select(pl.col(SCORE_COLUMNS).fill_null(0.0), pl.col("unscorable_gold").fill_null(True)),
    ).with_columns(normalized_prediction=predictions)


def normalize_series(texts: pl.Series) -> pl.Series:
    """`normalize` over a column; null gives the empty string.

    Text of printable ASCII goes through polars' regular expressions, where they agree with Python's; any other text
    through `normalize` itself.
    """
    text = pl.col("text")
    frame = (
        texts.cast(pl.String())
        .fill_null("")
        .to_frame("text")
        .with_columns(
            other=text.str.contains(r"[^ -~]"),
            normal=text.str.to_lowercase()
            .str.replace_all(r"[!-/:-@\[-`{-~]+", "")
            .str.replace_all(r"(?-u:\b)(?:a|an|the)(?-u:\b)", " ")
            .str.replace_all(r" +", " ")
            .str.strip_chars(" "),
        )
    )
    if not frame["other"].any():
        return frame["normal"]
    other = frame.filter("other")["text"].unique().to_frame()
    other = other.with_columns(exact=pl.Series([normalize(item) for item in other["text"]], dtype=pl.String()))
    joined = frame.join(other, on="text", how="left", maintain_order="left")
    return joined.select(normal=pl.when("other").then("exact").otherwise("normal"))["normal"]


def _pair_scores(pairs: pl.DataFrame) -> pl.DataFrame:
    """The four scores of each normalised pair (row, prediction, reference), references not empty."""
    p, r, shared = pl.col("p"), pl.col("r"), pl.col("shared")
    same, closed = pl.col("prediction") == pl.col("reference"), list(CLOSED_ANSWERS)
    one_is_closed = pl.col("prediction").is_in(closed) | pl.col("reference").is_in(closed)
    precision, recall = shared / p.list.len(), shared / r.list.len()
    counted = pairs.with_columns(
        p=pl.col("prediction").str.split(" "),
        r=pl.col("reference").str.split(" "),
        exact_match=same.cast(pl.Float64),
        substring_match=pl.col("prediction").str.contains(pl.col("reference"), literal=True).cast(pl.Float64),
    ).with_columns(shared=p.list.set_intersection(r).list.len())
    counted = _recount_repeated(counted)
    return counted.with_columns(
        f1_plain=pl.when(shared > 0).then((2 * precision * recall) / (precision + recall)).otherwise(0.0)
    ).with_columns(f1=pl.when(one_is_closed & ~same).then(0.0).otherwise("f1_plain"))


def _recount_repeated(pairs: pl.DataFrame) -> pl.DataFrame:
    """Count shared tokens as multisets where a token repeats on both sides; elsewhere the sets have said it all."""
    repeats = [pl.col(side).list.n_unique() < pl.col(side).list.len() for side in ("p", "r")]
    repeated = pairs.select(pl.all_horizontal(repeats)).to_series()
    if not repeated.any():
        return pairs
    few = pairs.filter(repeated)
    counts = [(Counter(p) & Counter(r)).total() for p, r in zip(few["p"], few["r"], strict=True)]
    shared = pairs["shared"].scatter(repeated.arg_true(), pl.Series(counts, dtype=pairs["shared"].dtype))
    return pairs.with_columns(shared)
