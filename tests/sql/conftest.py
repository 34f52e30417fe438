"""A hand-made lake in an in-memory DuckDB: tables of the declared schemas, filled with just what a test is about."""

from __future__ import annotations

import contextlib

import duckdb
import polars as pl
import pytest

import sql
from mbt_assets.scoring import udfs
from partitions.grid import SCORES
from resources.tables import TABLES

VARIANTS = ["small__base", "small__mbt-r", "big__base"]


class HandMadeLake:
    """Rows by hand; what a row leaves out takes a default that no test looks at."""

    def __init__(self, connection):
        self.connection = connection
        for name, schema in TABLES.items():
            connection.register(name, schema.create_empty())
        frame = pl.DataFrame(
            [{"variant": v, "model": v.split("__")[0], "mode": v.split("__")[1]} for v in VARIANTS]
        ).with_columns(
            base_variant=pl.col("model") + "__base",
            model_role=pl.when(pl.col("model") == "big").then(pl.lit("teacher")).otherwise(pl.lit("student")),
        )
        connection.register("variants", frame)
        settings = {
            "alpha": [1.0],
            "beta": [3.0],
            "gamma": [5.0],
            "seed": [42],
            "primary_judge": ["ann"],
            "teacher": ["big"],
            "resamples": [200],
        }
        connection.register("settings", pl.DataFrame(settings))

        self.prices()

    def prices(self, **models):
        """Say what a million tokens of each model cost: (prompt, completion, cached prompt, currency)."""
        names = ["price_input", "price_output", "price_cached_input", "currency"]
        types = {"model": pl.String, **dict.fromkeys(names[:3], pl.Float64), "currency": pl.String}
        rows = [{"model": model, **dict(zip(names, price, strict=True))} for model, price in models.items()]
        self.connection.register("models", pl.DataFrame(rows, schema=types))

    def put(self, table, *groups):
        """Fill a table with the rows of all groups (lists of dicts)."""
        types = {name: column.dtype for name, column in TABLES[table].columns().items()}
        rows = [
            {name: {"dataset": "toy", "rollout_id": 1, **row}.get(name) for name in types} for g in groups for row in g
        ]
        self.connection.register(table, pl.DataFrame(rows, schema=types))

    def answers(self, *cells):
        """Fill answer_scores; a row gives at least variant and question_id."""
        defaults = {
            "normalized_prediction": "x",
            "answer_found": True,
            "exact_match": 0.0,
            "substring_match": 0.0,
            "f1": 0.0,
            "f1_plain": 0.0,
            "completion_tokens": 100,
            **dict.fromkeys(
                ["unscorable_gold", "truncated", "looping", "degenerate", "empty_reasoning", "failed"], False
            ),
        }
        self.put("answer_scores", *([{**defaults, **row} for row in cell] for cell in cells))

    def judged(self, table, *cells):
        """Fill a judged table; rows are scored by the primary judge unless they say otherwise."""
        defaults = {"judge": "ann", "status": "scored", "attempts": 1, "reasks": 0}
        self.put(table, *([{**defaults, **row} for row in cell] for cell in cells))

    def run(self, name):
        """The rows of one SQL file."""
        return self.connection.sql(sql.load(name).statement).pl()

    def _ask(self):
        """Fill validation_questions with every question that has a score, where a test has not asked its own."""
        scored = " UNION ".join(f"SELECT dataset, question_id FROM {table}" for table in SCORES)
        frame = self.connection.sql(f"{scored} ORDER BY ALL").pl()
        if not self.connection.sql("SELECT * FROM validation_questions").pl().height:
            self.put("validation_questions", [{**row, "tier": "medium"} for row in frame.iter_rows(named=True)])

    def mart(self, name):
        """The rows of a mart or of a cell's figures, after all that it is made from."""
        self._ask()
        for cells in sql.CELLS:
            self.connection.register(cells, self.run(cells))
        return self.run(name)

    def row(self, name, **key):
        """The one row of a mart with these values."""
        found = self.mart(name).filter(**key)
        assert found.height == 1, found
        return found.row(0, named=True)


@pytest.fixture
def lake():
    with contextlib.closing(duckdb.connect()) as connection:
        udfs.register(connection, resamples=200, seed=42)
        yield HandMadeLake(connection)


@pytest.fixture
def cell():
    """Rows of one cell: `cell("small__base", exact_match=[1.0, 0.0])` gives questions q1 and q2."""

    def rows(variant, **columns):
        count = max(len(values) for values in columns.values())
        return [
            {"variant": variant, "question_id": f"q{i + 1}", **{name: values[i] for name, values in columns.items()}}
            for i in range(count)
        ]

    return rows
