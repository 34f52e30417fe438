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

from mbt_assets.scoring.pooled import Array, Columns, Key

RESAMPLES = 10_000
SEED = 42
LEVEL = 0.95
CHUNK_CELLS = 2_000_000
CACHE_BYTES = 160_000_000
KEPT_BYTES = 100_000_000
BATCH_COLUMNS = 512
UNITS = 64

# The matrix product has threads of its own: two of them at once on few cores wait for each other many times over.
_ONE_AT_A_TIME = threading.Lock()

OfMeans = Callable[..., Array]


class Interval(NamedTuple):
    """A 95 % interval, in the unit of its values."""

    lo: float
    hi: float


class Estimate(NamedTuple):
    """A figure of a sample of questions.

    Attributes:
        n: questions that it is of.
        value: the figure; None where it is undefined.
        interval: its 95 % interval; None without questions, or where some resample leaves the figure undefined.
    """

    n: int
    value: float | None
    interval: Interval | None


class Statistic(NamedTuple):
    """What is to be estimated.

    Attributes:
        columns: c columns of one value per question; NaN where it has none.
        of_means: takes the c arrays of means, gives one array of the statistic.
        paired: a question with a NaN anywhere counts in no mean; otherwise it counts where it has a value.
        may_lack: share of resamples that may leave the statistic undefined (NaN) and are then left out of the
            interval; with more of them there is none.
    """

    columns: Sequence[ArrayLike]
    of_means: OfMeans
    paired: bool = True
    may_lack: float = 0.0


class Bootstrap:
    """Percentile bootstrap with a fixed seed.

    A resample of n questions is the number of times that each question is drawn. These counts depend on n and the seed
    alone, so that everything measured on n questions shares them: equal inputs give equal intervals, in any order of
    calls, and many columns cost little more than one. A question without a value (NaN) is drawn like the others and
    counts in no mean. Memory stays below about 500 MB, whatever n, as long as no statistic has thousands of columns.

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
        self._summed: dict[tuple[int, Key], Array] = {}

    def mean(self, values: ArrayLike) -> Interval | None:
        """The interval of a mean.

        Args:
            values: One value per question; NaN where it has none.

        Returns:
            The 2.5 and 97.5 percentiles of the resampled mean; one value gives an interval of no width, none None.
        """
        return self.mean_of_each([values])[0]

    def mean_of_each(self, groups: Sequence[ArrayLike]) -> list[Interval | None]:
        """The interval of each group's mean, as `mean` would give it."""
        return self.each([([group], itself) for group in groups])

    def paired(self, first: ArrayLike, second: ArrayLike) -> Interval | None:
        """The interval of mean(first - second) over paired questions; pairs with a NaN count in none.

        Raises:
            ValueError: The arrays differ in length.
        """
        a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
        if a.shape != b.shape:
            raise ValueError(f"paired values must be as many, got {a.size} and {b.size}")
        return self.statistic([a, b], np.subtract)

    def statistic(self, columns: Sequence[ArrayLike], of_means: OfMeans) -> Interval | None:
        """The interval of a function of column means, such as a ratio.

        Args:
            columns: c columns of one value per question, paired; questions with a NaN anywhere count in no mean.
            of_means: Takes the c arrays of resampled means, gives one array of the statistic.

        Returns:
            The interval; None without questions, or where some resample leaves the statistic undefined (NaN).
        """
        return self.each([(columns, of_means)])[0]

    def each(self, statistics: Sequence[tuple[Sequence[ArrayLike], OfMeans]]) -> list[Interval | None]:
        """The intervals of many statistics, each as `statistic` would give it, resampled together where n is equal."""
        return [found.interval for found in self.estimates([Statistic(*request) for request in statistics])]

    def estimates(self, statistics: Sequence[Statistic]) -> list[Estimate]:
        """The values of many statistics, with the intervals that `each` would give."""
        pool: dict[Key, Array] = {}
        tables = [Columns.of(statistic.columns, pool, statistic.paired) for statistic in statistics]
        by_size: dict[int, list[int]] = defaultdict(list)
        for position, table in enumerate(tables):
            by_size[table.size if table.n else 0].append(position)
        found = [Estimate(0, None, None)] * len(tables)
        by_size.pop(0, None)
        for size, positions in by_size.items():
            for batch in _batches(positions, tables):
                sums = self._sums(size, {key: pool[key] for at in batch for key in tables[at].keys})
                for at in batch:
                    of_means = statistics[at].of_means
                    values = of_means(*tables[at].means(sums))
                    value = float(of_means(*tables[at].own_means)[0])
                    found[at] = Estimate(
                        tables[at].n,
                        value if np.isfinite(value) else None,
                        _interval_of(values, statistics[at].may_lack),
                    )
        return found

    def _sums(self, n: int, columns: dict[Key, Array]) -> dict[Key, Array]:
        """Sums of each column over each resample of its n rows; columns that were summed before are not again."""
        with _ONE_AT_A_TIME:
            for exact, dtype in ((True, np.float32), (False, np.float64)):
                new = [key for key in columns if (n, key) not in self._summed]
                keys = [key for key in new if _exact_in_half(columns[key]) is exact]
                if keys:
                    table = np.column_stack([columns[key] for key in keys]).astype(dtype)
                    found = np.concatenate([np.matmul(chunk.astype(dtype), table) for chunk in self._draws(n)])
                    self._summed |= zip([(n, key) for key in keys], found.T.astype(np.float64), strict=True)
            sums = {key: self._summed[n, key] for key in columns}
            for old in list(self._summed)[: -KEPT_BYTES // (8 * self.resamples)]:
                del self._summed[old]
        return sums

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


def _interval_of(values: Array, may_lack: float) -> Interval | None:
    defined = np.isfinite(values)
    if defined.all():
        return interval(values)
    return interval(values[defined]) if defined.mean() >= 1 - may_lack and defined.any() else None


def _batches(positions: list[int], tables: list[Columns]) -> Iterator[list[int]]:
    """Statistics that are resampled together: as many as have some hundred columns between them."""
    batch: list[int] = []
    keys: set[Key] = set()
    for position in positions:
        batch.append(position)
        keys.update(tables[position].keys)
        if len(keys) >= BATCH_COLUMNS:
            yield batch
            batch, keys = [], set()
    if batch:
        yield batch


def _exact_in_half(column: Array) -> bool:
    """Whether float32 loses nothing in any sum of the column: it is twice as fast.

    True for rates and levels: all values are multiples of 1/64, and no resample's sum reaches 2**24 of them.
    """
    units = column * UNITS
    return bool((units == np.rint(units)).all()) and len(column) * float(np.abs(units).max(initial=0)) < 2**24


def interval(samples: Array) -> Interval:
    """The central 95 % of resampled values: their 2.5 and 97.5 percentiles, linearly interpolated.

    Rounded to 12 significant digits: below that, the order of additions in a matrix product would show.
    """
    lo, hi = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(f"{lo:.12g}"), float(f"{hi:.12g}"))


def itself(means: Array) -> Array:
    """The statistic that is a mean."""
    return means
