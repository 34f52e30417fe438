"""The functions that SQL calls: what they give is what the plain ones give, and NULL stays NULL."""

from __future__ import annotations

import contextlib

import duckdb
import numpy as np
import pytest

from mbt_assets.scoring.aes import aes
from mbt_assets.scoring.stats import Bootstrap
from mbt_assets.scoring.udfs import FUNCTIONS, register


@pytest.fixture
def connection():
    with contextlib.closing(duckdb.connect()) as opened:
        register(opened, resamples=200, seed=3)
        yield opened


def one(connection, expression):
    return connection.execute(f"SELECT {expression}").fetchone()[0]


def test_a_mean_of_each_group(connection):
    connection.execute(
        "CREATE TABLE scores AS SELECT i % 3 AS cell, i AS question, (i * 37 % 11) / 10 AS x FROM range(90) t(i)"
    )
    rows = connection.sql("SELECT cell, bootstrap_mean(list(x ORDER BY question)) FROM scores GROUP BY cell").fetchall()
    for cell, found in rows:
        expected = Bootstrap(200, 3).mean([(i * 37 % 11) / 10 for i in range(90) if i % 3 == cell])
        assert (found["lo"], found["hi"]) == expected


def estimate(n, value, lo, hi):
    return {"n": n, "estimate": value, "lo": lo, "hi": hi}


def test_null_items_drop_their_question_and_null_lists_give_null(connection):
    assert one(connection, "bootstrap_mean([2, NULL, 2]::DOUBLE[])") == estimate(2, 2.0, 2.0, 2.0)
    for nothing in ("NULL", "[]::DOUBLE[]", "[NULL]::DOUBLE[]"):
        assert one(connection, f"bootstrap_mean({nothing})") is None
    assert one(connection, "bootstrap_ratio([1, NULL, 2], [2, 2, 2])") == estimate(2, 0.75, 0.5, 1.0)
    assert one(connection, "bootstrap_ratio(NULL, [2])") is None
    assert one(connection, "bootstrap_ratio([3, 3], NULL)") == estimate(2, 3.0, 3.0, 3.0)


def test_differences_are_of_the_questions_that_both_have(connection):
    assert one(connection, "bootstrap_difference([5, 7, NULL], [1, 3, 9])") == estimate(2, 4.0, 4.0, 4.0)


def test_ratios_that_are_undefined_have_no_interval(connection):
    assert one(connection, "bootstrap_ratio([1, 2], [0, 0])") == estimate(2, None, None, None)


def test_aes_of_lists_and_weights(connection):
    columns = np.array([[1, 1, 0, 1], [10, 20, 30, 40], [1, 1, 1, 1], [50, 60, 70, 80]], dtype=float)
    expected = Bootstrap(200, 3).statistic(list(columns), lambda *means: aes(*means, 1, 3, 5))
    lists = ", ".join(str(column.tolist()) for column in columns)
    found = one(connection, f"bootstrap_aes({lists}, 1, 3, 5)")
    assert (found["lo"], found["hi"]) == expected


def test_mqi_gain(connection):
    # Constant questions: 4 * 100/50 - 3 = 5
    assert one(connection, "bootstrap_mqi_gain([4, 4], [50, 50], [3, 3], [100, 100])") == estimate(2, 5.0, 5.0, 5.0)


def test_tests_and_coefficients(connection):
    assert one(connection, "mcnemar_p(5, 1)") == 14 / 64
    assert one(connection, "mcnemar_p(0, 0)") is None
    assert one(connection, "mcnemar_p(NULL, 1)") is None
    questions = "['q1', 'q1', 'q2', 'q2']"
    # Of one question they always agree, of the other never: p_o is 1/2, and so is p_e.
    kappa = one(connection, f"bootstrap_kappa({questions}, ['A', 'B', 'A', 'B'], ['A', 'B', 'B', 'A'])")
    assert kappa == estimate(4, 0.0, -1.0, 1.0)
    alpha = one(connection, f"bootstrap_alpha({questions}, ['0', '5', '0', '5'], ['0', '5', '0', '5'])")
    assert alpha == estimate(4, 1.0, 1.0, 1.0)
    assert one(connection, f"bootstrap_kappa({questions}, [NULL, 'A', NULL, 'B'], ['A', NULL, NULL, NULL])") is None


def test_the_functions_that_are_named_are_those_that_there_are(connection):
    def names(of):
        return set(of.sql("SELECT function_name FROM duckdb_functions()").fetchall())

    with duckdb.connect() as plain:
        assert {name for (name,) in names(connection) - names(plain)} == set(FUNCTIONS)


def test_registering_twice_replaces(connection):
    register(connection, resamples=50, seed=1)
    assert one(connection, "mcnemar_p(0, 5)") == 2 / 32
