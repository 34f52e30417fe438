"""McNemar, Cohen's kappa and Krippendorff's alpha against known values."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from mbt_assets.scoring.agreement import (
    agreement,
    cohen_kappa,
    kappa_of_counts,
    krippendorff_alpha,
    mcnemar_p,
    ordinal_alpha,
)
from mbt_assets.scoring.ratings import Ratings
from mbt_assets.scoring.stats import Bootstrap


def test_mcnemar_is_exact_for_few_discordant_questions():
    # b + c = 6: 2 * (C(6,0) + C(6,1)) / 64 = 14/64
    assert mcnemar_p(5, 1) == mcnemar_p(1, 5) == 14 / 64
    assert mcnemar_p(0, 5) == 2 / 32
    assert mcnemar_p(3, 3) == 1.0  # twice the lower tail is above 1
    assert mcnemar_p(10, 14) == pytest.approx(0.5412561893463135)  # scipy.stats.binomtest(10, 24).pvalue


def test_mcnemar_is_chi_squared_with_correction_for_many():
    # (|121 - 59| - 1)^2 / 180 = 20.672; one degree of freedom
    assert mcnemar_p(121, 59) == pytest.approx(5.4497e-06, rel=1e-3)
    # (|15 - 10| - 1)^2 / 25 = .64 -> p = .4237
    assert mcnemar_p(15, 10) == pytest.approx(0.4237, abs=1e-4)


def test_mcnemar_says_nothing_without_discordant_questions():
    assert mcnemar_p(0, 0) is None
    with pytest.raises(ValueError, match="negative"):
        mcnemar_p(-1, 3)


def test_kappa_of_the_textbook_table():
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: p_o = .7, p_e = .5 * .6 + .5 * .4 = .5, kappa = .4
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert agreement(first, second) == pytest.approx(0.7)
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_kappa_of_a_label_that_is_very_rare():
    counts = np.array([[[236_999, 0], [0, 1]], [[237_000, 0], [0, 0]]], dtype=float)
    assert kappa_of_counts(counts)[0] == 1.0
    assert isnan(kappa_of_counts(counts)[1])


def test_the_interval_of_kappa_does_without_questions_that_have_no_pair():
    # 10 pairs among 200 questions, half of them A and half B: a few resamples have none, or one label alone.
    labels = [None] * 190 + ["1", "2"] * 5
    ratings = Ratings.of([f"q{i}" for i in range(200)], labels, labels)
    found = Bootstrap(500).estimates([ratings.statistic(ordinal_alpha)])[0]
    assert (found.n, found.value) == (10, 1.0)
    assert found.interval == (1.0, 1.0)


def test_kappa_at_its_ends():
    assert cohen_kappa([0, 1, 2], [0, 1, 2]) == 1.0
    assert cohen_kappa([0, 1], [1, 0]) == -1.0
    assert cohen_kappa([1, 1], [1, 1]) is None  # one label throughout: chance alone explains it
    assert cohen_kappa([], []) is None and agreement([], []) is None
    with pytest.raises(ValueError, match="argument 2"):
        cohen_kappa([1], [1, 2])


def test_alpha_of_an_ordinal_scale_by_hand():
    # Ratings 1, 1, 2, 3, 3, 3. Squared distances: 1-2 (3 - 1.5)^2 = 2.25, 2-3 (4 - 2)^2 = 4, 1-3 (6 - 2.5)^2 = 12.25.
    # D_o = 2 * 4 / 6; D_e = 2 * (2 * 2.25 + 3 * 4 + 6 * 12.25) / 30 = 6; alpha = 1 - 8/36.
    assert krippendorff_alpha([1, 2, 3], [1, 3, 3]) == pytest.approx(7 / 9)
    # Only the order of the levels counts.
    assert krippendorff_alpha([1, 2, 50], [1, 50, 50]) == pytest.approx(7 / 9)


def test_alpha_at_its_ends():
    assert krippendorff_alpha([0, 3, 5], [0, 3, 5]) == 1.0
    # Two opposite ratings of each of two items: D_o = 4, D_e = 4 * 2/3.
    assert krippendorff_alpha([0, 5], [5, 0]) == -0.5
    assert krippendorff_alpha([2, 2], [2, 2]) is None and krippendorff_alpha([], []) is None


def test_ratings_are_counted_by_question():
    ratings = Ratings.of(["q2", "q1", "q1", "q3"], ["A", "A", "B", None], ["A", "B", "B", "A"])
    assert (ratings.n, ratings.labels) == (3, 2)
    # One column for each pair that occurs, A/A, A/B and B/B; its values are those of q1 and q2. q3 has no pair.
    assert [list(column[:2]) for column in ratings.columns] == [[0, 1], [1, 0], [1, 0]]
    assert all(isnan(column[2]) for column in ratings.columns)
    assert Ratings.of(["q1"], [None], ["A"]) is None
    with pytest.raises(ValueError, match="got 1, 2 and 1"):
        Ratings.of(["q1"], ["A", "B"], ["A"])
