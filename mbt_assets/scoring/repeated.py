"""Several rollouts of one question: avg@k, maj@k and pass@k.

What belongs here: what a question scores over its rollouts, for one question and for the columns of many. A cell's
figure is the mean over questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb

import numpy as np
import polars as pl
from numpy.typing import NDArray

AT_K = ("avg_at_k", "maj_at_k", "pass_at_k")
"""The score columns of `repeated_frame`."""


def avg_at_k(scores: Sequence[float], k: int) -> float:
    """The mean of the first k scores, in rollout order.

    Raises:
        ValueError: k is not between 1 and the number of rollouts.
    """
    return sum(scores[: _checked(k, len(scores))]) / k


def maj_at_k(predictions: Sequence[str], scores: Sequence[float], k: int) -> float:
    """The score of the most common normalised prediction among the first k; of equally common ones, the first seen.

    Args:
        predictions: Normalised predictions in rollout order; an empty one votes like any other.
        scores: Their scores; rollouts of one prediction have one score.
        k: How many rollouts vote.

    Raises:
        ValueError: k is not between 1 and the number of rollouts.
    """
    first = predictions[: _checked(k, len(predictions))]
    winner, _ = Counter(first).most_common(1)[0]  # a Counter lists equal counts in the order first met
    return scores[first.index(winner)]


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that k of n rollouts, drawn without replacement, hold a right one: 1 - C(n-c, k) / C(n, k).

    Args:
        n: Rollouts of the question.
        c: Those of them that scored 1.
        k: How many are drawn.

    Raises:
        ValueError: k is not between 1 and n, or c is not between 0 and n.
    """
    if not 0 <= c <= n:
        raise ValueError(f"right rollouts must be between 0 and {n}, got {c}")
    return 1 - comb(n - c, _checked(k, n)) / comb(n, k)


def powers_of_two(n: int) -> list[int]:
    """The k that n rollouts are scored at: 1, 2, 4, … up to n; none for n = 0."""
    return [2**exponent for exponent in range(n.bit_length())]


def repeated_frame(rollouts: pl.DataFrame) -> pl.DataFrame:
    """avg@k, maj@k and pass@k of many questions at once.

    Args:
        rollouts: One row per rollout, in any order, with columns `question_id`, `rollout_id`, `prediction` (normalised,
            or anything that is equal where these are) and `score` (float). Rows with the same `rollout_id` count in
            the order that they come in.

    Returns:
        One row per question and k = 1, 2, 4, … up to its own number of rollouts: `question_id`, `k`, `avg_at_k`,
        `maj_at_k` and `pass_at_k` (for which a rollout is right if it scores 1), sorted by k and question. maj@k and
        pass@k have the bits of the plain functions; so has avg@k where scores are 0 and 1, while other scores may be
        added in another order, which shows in the last digit.
    """
    rows = rollouts.sort("question_id", "rollout_id", maintain_order=True).with_columns(row=pl.int_range(pl.len()))
    questions = rows.group_by("question_id", maintain_order=True).agg(n=pl.len(), c=(pl.col("score") == 1).sum())
    # A prediction goes by the first row of the question that has it.
    seen = rows.select(pl.col("row").min().over("question_id", "prediction"))["row"].to_numpy()
    scores = rows["score"].cast(pl.Float64).to_numpy()
    most = int(questions["n"].max() or 1)  # type: ignore[arg-type]
    return pl.concat([_at_k(questions, seen, scores, k) for k in powers_of_two(most)])


def _at_k(questions: pl.DataFrame, seen: NDArray[np.int64], scores: NDArray[np.float64], k: int) -> pl.DataFrame:
    """The three scores at one k, of the questions that have k rollouts.

    Args:
        questions: Their ids, n and c, in the order of the rollouts.
        seen: What each rollout predicted: the number of the first row of its question with the same prediction.
        scores: The score of each rollout.
        k: How many rollouts count.
    """
    starts = questions["n"].cum_sum() - questions["n"]
    questions = questions.with_columns(start=starts).filter(pl.col("n") >= k)
    first_k = questions["start"].to_numpy()[:, np.newaxis] + np.arange(k)  # rows of rollouts, questions × k
    votes = np.bincount(seen[first_k].ravel(), minlength=len(seen))[seen[first_k]]
    winner = votes.argmax(axis=1)  # of equally common ones, the first seen
    cases = questions.select("n", "c").unique()
    chances = cases.with_columns(pass_at_k=pl.Series([pass_at_k(n, c, k) for n, c in cases.rows()], dtype=pl.Float64))
    return questions.join(chances, on=["n", "c"], how="left", maintain_order="left").select(
        "question_id",
        k=pl.lit(k, dtype=pl.Int64),
        avg_at_k=scores[first_k].sum(axis=1) / k,
        maj_at_k=scores[first_k[np.arange(len(winner)), winner]],
        pass_at_k="pass_at_k",
    )


def _checked(k: int, n: int) -> int:
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and the {n} rollouts, got {k}")
    return k
