"""Uncertainty: percentile bootstrap over questions.

What belongs here: resampling. All rollouts of one question stay together, so callers pass one value per question.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
SEED = 42
LEVEL = 0.95
CHUNK_CELLS = 2_000_000
CACHE_BYTES = 160_000_000

BATCH = 64

# The matrix product has threads of its own: two of them at once on few cores wait for each other many times over.
_ONE_AT_A_TIME = threading.Lock()

Array = NDArray[np.float64]
OfMeans = Callable[..., Array]


class Interval(NamedTuple):
    """A 95 % interval, in the unit of its values."""

    lo: float
    hi: float


class Bootstrap:
    """Percentile bootstrap with a fixed seed.

    A resample of n questions is the number of times that each question is drawn. These counts depend on n and the seed
    alone, so that everything measured on n questions shares them: equal inputs give equal intervals, in any order of
    calls, and many columns cost little more than one. Memory stays below about 300 MB, whatever n.

    Args:
        resamples: Resamples to draw.
        seed: Seed of the draws.

    Raises:
        ValueError: There is not at least one resample.
    """

    def __init__(self, resamples: int = RESAMPLES, seed: int = SEED) -> None:
        if resamples < 1:
            raise ValueError(f"resamples must be at least 1, got {resamples}")
        self.resamples = resamples
        self.seed = seed
        self._cache: dict[int, list[NDArray[np.uint8]]] = {}

    def means(self, columns: Array) -> Array:
        """Means of each column over each resample of the rows.

        Args:
            columns: Values, n questions × c columns; n at least 1.

        Returns:
            resamples × c means. The columns of one call and of calls with the same n are resampled alike.
        """
        n = len(columns)
        with _ONE_AT_A_TIME:
            return np.concatenate([chunk.astype(np.float64) @ columns for chunk in self._draws(n)]) / n

    def mean(self, values: ArrayLike) -> Interval | None:
        """The interval of a mean.

        Args:
            values: One value per question; NaN is left out.

        Returns:
            The 2.5 and 97.5 percentiles of the resampled mean; one value gives an interval of no width, none None.
        """
        return self.mean_of_each([values])[0]

    def mean_of_each(self, groups: Sequence[ArrayLike]) -> list[Interval | None]:
        """The interval of each group's mean, as `mean` would give it."""
        return self.each([([group], _itself) for group in groups])

    def paired(self, first: ArrayLike, second: ArrayLike) -> Interval | None:
        """The interval of mean(first - second) over paired questions; pairs with a NaN are left out.

        Raises:
            ValueError: The arrays differ in length.
        """
        a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
        if a.shape != b.shape:
            raise ValueError(f"paired values must be as many, got {a.size} and {b.size}")
        return self.mean(a - b)

    def statistic(self, columns: Sequence[ArrayLike], of_means: OfMeans) -> Interval | None:
        """The interval of a function of column means, such as a ratio.

        Args:
            columns: c columns of one value per question, paired; questions with a NaN anywhere are left out.
            of_means: Takes the c arrays of resampled means, gives one array of the statistic.

        Returns:
            The interval; None without questions, or where some resample leaves the statistic undefined (NaN).
        """
        return self.each([(columns, of_means)])[0]

    def each(self, statistics: Sequence[tuple[Sequence[ArrayLike], OfMeans]]) -> list[Interval | None]:
        """The intervals of many statistics, each as `statistic` would give it, resampled together where n is equal."""
        tables = [_complete(columns) for columns, _ in statistics]
        by_size: dict[int, list[int]] = defaultdict(list)
        for position, table in enumerate(tables):
            by_size[len(table)].append(position)
        by_size.pop(0, None)
        found: list[Interval | None] = [None] * len(tables)
        for positions in by_size.values():
            for start in range(0, len(positions), BATCH):
                batch = positions[start : start + BATCH]
                means = self.means(np.hstack([tables[position] for position in batch])).T
                ends = np.cumsum([tables[position].shape[1] for position in batch])
                for position, own in zip(batch, np.split(means, ends[:-1]), strict=True):
                    values = statistics[position][1](*own)
                    found[position] = interval(values) if np.isfinite(values).all() else None
        return found

    def _draws(self, n: int) -> Iterator[NDArray[np.uint8]]:
        """The counts of each resample, some resamples at a time (rows of n counts)."""
        if n * self.resamples > CACHE_BYTES:
            return self._drawn(n)
        if n not in self._cache:
            while self._cache and (sum(self._cache) + n) * self.resamples > CACHE_BYTES:
                del self._cache[next(iter(self._cache))]
            self._cache[n] = list(self._drawn(n))
        return iter(self._cache[n])

    def _drawn(self, n: int) -> Iterator[NDArray[np.uint8]]:
        rng = np.random.default_rng([self.seed, n])
        rows = max(1, CHUNK_CELLS // n)
        for start in range(0, self.resamples, rows):
            count = min(rows, self.resamples - start)
            picks = rng.integers(0, n, size=(count, n))
            picks += np.arange(count)[:, None] * n
            # A count above 255 has a chance far below 1e-400 for n > 255, and none below.
            yield np.bincount(picks.ravel(), minlength=count * n).astype(np.uint8).reshape(count, n)


def interval(samples: Array) -> Interval:
    """The central 95 % of resampled values: their 2.5 and 97.5 percentiles, linearly interpolated.

    Rounded to 12 significant digits: below that, the order of additions in a matrix product would show.
    """
    lo, hi = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(f"{lo:.12g}"), float(f"{hi:.12g}"))


def _complete(columns: Sequence[ArrayLike]) -> Array:
    """Columns side by side, less the rows with a NaN."""
    table = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
    return table[~np.isnan(table).any(axis=1)]


def _itself(means: Array) -> Array:
    return means
