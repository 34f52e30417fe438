"""Two ratings of the same items, counted by question so that they can be resampled.

What belongs here: from labels to the columns that the bootstrap sums, and back to tables of label pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbt_assets.scoring.stats import Array, Statistic

MAY_LACK = 0.5
TABLE_CELLS = 2_000_000
"""Numbers that are held at once: long traces have many paragraphs to label with."""


@dataclass(frozen=True)
class Ratings:
    """Ratings of n items by two raters.

    Attributes:
        n: items.
        columns: one for each pair of labels that occurs: how often it does in each question; NaN in one without pairs.
        cells: where each of these pairs stands in the table of labels.
        labels: how many labels there are.
    """

    n: int
    columns: list[Array]
    cells: tuple[NDArray[np.intp], NDArray[np.intp]]
    labels: int

    @classmethod
    def of(
        cls,
        questions: Sequence[str],
        first: Sequence[str | None],
        second: Sequence[str | None],
        kind: Callable[[str], Any] = str,
    ) -> Ratings | None:
        """Count the pairs of labels in each question.

        Args:
            questions: The question of each item.
            first: Labels by the first rater; None where there is none, and the item stands for its question alone.
            second: Labels by the second rater, of the same items.
            kind: What the labels are sorted as.

        Returns:
            The counts; None where no item has both labels.

        Raises:
            ValueError: There are not as many of each.
        """
        if not len(questions) == len(first) == len(second):
            raise ValueError(f"ratings must be as many, got {len(questions)}, {len(first)} and {len(second)}")
        rated = [at for at in range(len(questions)) if first[at] is not None and second[at] is not None]
        if not rated:
            return None
        labelled = [(str(first[at]), str(second[at])) for at in rated]
        place = {label: at for at, label in enumerate(sorted({label for pair in labelled for label in pair}, key=kind))}
        pairs = np.array([[place[a], place[b]] for a, b in labelled])
        found, which = np.unique(pairs, axis=0, return_inverse=True)
        names, asked = np.unique(np.array(questions), return_inverse=True)
        counts = np.full((len(found), len(names)), np.nan)
        counts[:, asked[rated]] = 0.0
        np.add.at(counts, (which.ravel(), asked[rated]), 1.0)
        return cls(len(rated), list(counts), (found[:, 0], found[:, 1]), len(place))

    def statistic(self, of_counts: Callable[[Array], Array]) -> Statistic:
        """A coefficient of tables of label pairs (s × L × L), ready to be resampled.

        A resample in which all labels are one and the same has no coefficient. Where a label is rare there are many of
        these: they are left out as long as they are not the most.
        """
        scale = int(np.isfinite(self.columns[0]).sum())

        def of_means(*means: Array) -> Array:
            shares = np.stack(means, axis=1) * scale
            step = max(1, TABLE_CELLS // self.labels**2)
            parts = [of_counts(self._tables(shares[at : at + step])) for at in range(0, len(shares), step)]
            return np.concatenate(parts)

        return Statistic(self.columns, of_means, may_lack=MAY_LACK)

    def _tables(self, counts: Array) -> Array:
        tables = np.zeros((len(counts), self.labels, self.labels))
        tables[:, self.cells[0], self.cells[1]] = counts
        return tables
