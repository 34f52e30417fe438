"""Several rollouts of one question: avg@k, maj@k and pass@k.

What belongs here: what a question scores over its rollouts. A cell's figure is the mean over questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb


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


def _checked(k: int, n: int) -> int:
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and the {n} rollouts, got {k}")
    return k
