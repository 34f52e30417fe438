"""Agreement and change between two ratings of the same items.

What belongs here: tests and coefficients on paired labels: McNemar, raw agreement, Cohen's kappa.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb, erfc, sqrt

EXACT_BELOW = 25


def mcnemar_p(b: int, c: int) -> float | None:
    """McNemar's two-sided p-value from the two discordant counts.

    Args:
        b: Questions that only the first is right on.
        c: Questions that only the second is right on.

    Returns:
        b + c < 25: the exact binomial p; otherwise that of chi squared = (|b - c| - 1)^2 / (b + c) with 1 degree of
        freedom. None for b + c = 0.

    Raises:
        ValueError: A count is negative.
    """
    if b < 0 or c < 0:
        raise ValueError(f"counts must not be negative, got b={b}, c={c}")
    n = b + c
    if n == 0:
        return None
    if n < EXACT_BELOW:
        return min(1.0, 2 * sum(comb(n, i) for i in range(min(b, c) + 1)) / 2**n)
    return erfc(sqrt((abs(b - c) - 1) ** 2 / n / 2))


def agreement(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """The share of items with equal labels, in [0, 1]; None without items.

    Raises:
        ValueError: The sequences differ in length.
    """
    pairs = list(zip(first, second, strict=True))
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else None


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two raters: (p_o - p_e) / (1 - p_e), at most 1; 0 is agreement by chance.

    Args:
        first: Labels of the first rater (nominal: order and distance do not count).
        second: Labels of the second rater on the same items, in the same order.

    Returns:
        Kappa; None without items, or if both raters gave all items one and the same label (p_e = 1).

    Raises:
        ValueError: The sequences differ in length.
    """
    observed = agreement(first, second)
    if observed is None:
        return None
    n, left, right = len(first), Counter(first), Counter(second)
    chance = sum(left[label] * right[label] for label in left)
    return None if chance == n * n else (observed - chance / n**2) / (1 - chance / n**2)
