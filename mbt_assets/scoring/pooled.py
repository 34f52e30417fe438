"""The columns that a statistic is made of, each kept once however many statistics share it.

What belongs here: what has a value and what has none, and the way from sums back to means. No drawing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Gaps = NDArray[np.bool_]
Key = bytes


@dataclass(frozen=True)
class Columns:
    """The columns of one statistic, by the keys under which they are summed.

    Attributes:
        size: questions, those without a value included.
        n: questions with a value in every column.
        order: key of each column, and of the column that counts its questions; None where all of them count.
        own_means: the mean of each column over the questions that count, as arrays of one.
    """

    size: int
    n: int
    order: list[tuple[Key, Key | None]]
    own_means: list[Array]

    @classmethod
    def of(cls, columns: Sequence[ArrayLike], pool: dict[Key, Array], paired: bool) -> Columns:
        """Put columns into a pool, equal ones once.

        Args:
            columns: one value per question each; NaN where it has none.
            pool: takes the columns.
            paired: a question with a NaN in any column counts in none; otherwise it counts where it has a value.
        """
        arrays: list[Array] = [np.asarray(column, dtype=np.float64) for column in columns]
        absent: list[Gaps] = [np.isnan(array) for array in arrays]
        anywhere = np.logical_or.reduce(absent)
        n = int((~anywhere).sum())
        gaps = [anywhere] * len(arrays) if paired else absent
        return cls(
            size=len(anywhere),
            n=n,
            order=[_put(array, gap, pool) for array, gap in zip(arrays, gaps, strict=True)],
            own_means=[np.array([array[~gap].mean()]) for array, gap in zip(arrays, gaps, strict=True)] if n else [],
        )

    @property
    def keys(self) -> list[Key]:
        """Keys of all that is summed."""
        return [key for pair in self.order for key in pair if key is not None]

    def means(self, sums: dict[Key, Array]) -> list[Array]:
        """The mean of each column in each resample; one that leaves a column without any question is left out."""
        weights = {weight for _, weight in self.order if weight is not None}
        kept = np.logical_and.reduce([sums[weight] > 0 for weight in weights]) if weights else np.s_[:]
        return [sums[key][kept] / (sums[weight][kept] if weight else self.size) for key, weight in self.order]


def _put(array: Array, gaps: Gaps, pool: dict[Key, Array]) -> tuple[Key, Key | None]:
    """Put a column into the pool, with 0 for a question that does not count, and what counts the questions."""
    if not gaps.any():
        return _pooled(array, pool), None
    return _pooled(np.where(gaps, 0.0, array), pool), _pooled((~gaps).astype(np.float64), pool)


def _pooled(array: Array, pool: dict[Key, Array]) -> Key:
    """The key of an array in the pool, by its content."""
    key = hashlib.blake2b(array.tobytes(), digest_size=16).digest()
    pool.setdefault(key, array)
    return key
