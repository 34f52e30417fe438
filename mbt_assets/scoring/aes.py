"""Accuracy-Efficiency Score: what a variant gains in accuracy and saves in tokens against its base.

What belongs here: the formula, for numbers and for arrays of resampled numbers. Source: O1-Pruner, arXiv 2501.12570.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def aes(
    accuracy: ArrayLike,
    tokens: ArrayLike,
    base_accuracy: ArrayLike,
    base_tokens: ArrayLike,
    alpha: float = 1.0,
    beta: float = 3.0,
    gamma: float = 5.0,
) -> NDArray[np.float64]:
    """AES = alpha dL + beta dA if dA >= 0, else alpha dL - gamma |dA|.

    dL = (L_b - L) / L_b is the share of tokens saved, dA = (A - A_b) / A_b the relative gain in accuracy.

    Args:
        accuracy: A, mean accuracy in [0, 1].
        tokens: L, mean response tokens.
        base_accuracy: A_b of the base variant of the same model on the same dataset.
        base_tokens: L_b of the same.
        alpha: Weight of tokens.
        beta: Weight of gained accuracy.
        gamma: Weight of lost accuracy.

    Returns:
        The score, of the arguments' common shape (0-d for numbers); NaN where A_b or L_b is 0, never infinity.
    """
    a, length, a_b, l_b = (np.asarray(x, dtype=np.float64) for x in (accuracy, tokens, base_accuracy, base_tokens))
    with np.errstate(divide="ignore", invalid="ignore"):
        saved, gained = (l_b - length) / l_b, (a - a_b) / a_b
        score = alpha * saved + np.where(gained >= 0, beta, gamma) * gained
    return np.where((a_b == 0) | (l_b == 0), np.nan, score)
