"""Agreement and change between two ratings of the same items.

What belongs here: tests and coefficients on paired labels: McNemar, raw agreement, Cohen's kappa, Krippendorff's alpha.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb, erfc, sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
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


def krippendorff_alpha(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Krippendorff's alpha of two raters on an ordinal scale: 1 - D_o / D_e, at most 1; 0 is agreement by chance.

    Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), ordinal metric, no missing ratings.

    Args:
        first: Ratings of the first rater; their order counts, their distance does not.
        second: Ratings of the second rater of the same items, in the same order.

    Returns:
        Alpha; None without items, or if all ratings are one and the same (D_e = 0).

    Raises:
        ValueError: The sequences differ in length.
    """
    pairs = list(zip(first, second, strict=True))
    if not pairs:
        return None
    levels = sorted({rating for pair in pairs for rating in pair})
    counts = np.zeros((len(levels), len(levels)))
    for a, b in pairs:
        counts[levels.index(a), levels.index(b)] += 1
    alpha = float(ordinal_alpha(counts[None])[0])
    return None if np.isnan(alpha) else alpha


def kappa_of_counts(counts: Array) -> Array:
    """Cohen's kappa of s tables of label pairs.

    Args:
        counts: s × L × L: how often the first rater gave the one label and the second the other. They need not be
            whole: only shares matter.

    Returns:
        s coefficients; NaN where all items have one and the same label from both.
    """
    total = counts.sum(axis=(1, 2))
    left, right = counts.sum(axis=2), counts.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.trace(counts, axis1=1, axis2=2) / total
        chance = (left * right).sum(axis=1) / total**2
        one_label = ((left + right) > 0).sum(axis=1) < 2
        return np.where(one_label, np.nan, (observed - chance) / (1 - chance))


def ordinal_alpha(counts: Array) -> Array:
    """Krippendorff's alpha of s tables of rating pairs, ordinal metric.

    Args:
        counts: s × L × L: how often the first rater gave the one level and the second the other, levels ascending.

    Returns:
        s coefficients; NaN where all ratings are one and the same.
    """
    coincidences = counts + counts.transpose(0, 2, 1)
    ratings = coincidences.sum(axis=2)
    total = ratings.sum(axis=1)
    # The squared distance of two levels: ratings from the one to the other, the two ends counted by half.
    upto = ratings.cumsum(axis=1) - ratings / 2
    distances = (upto[:, :, None] - upto[:, None, :]) ** 2
    observed = (coincidences * distances).sum(axis=(1, 2))
    expected = (ratings[:, :, None] * ratings[:, None, :] * distances).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (total - 1) * observed / expected, np.nan)
