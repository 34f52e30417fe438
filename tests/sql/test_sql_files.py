"""Headers of the SQL files: they are read, refused when wrong, and say what the statements give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sql
from partitions.grid import CELL_SQL, MARTS
from resources.tables import TABLES

NAMES = (*sql.CELLS, *sql.MARTS)
GOOD = """-- What it is.
-- In two sentences.
-- grain: a, b
-- inputs: cell_metrics,
--   variants
-- column a: first
-- column b: second,
--   and more of it
-- estimate c: third
select
    1 as a;
"""


def test_a_header_is_read():
    file = sql.parse(GOOD, Path("x.sql"))
    assert (file.name, file.description) == ("x", "What it is. In two sentences.")
    assert (file.grain, file.inputs) == (("a", "b"), ("cell_metrics", "variants"))
    assert list(file.columns) == ["a", "b", "c", "c_lo", "c_hi"]
    assert file.columns["b"] == "second, and more of it"
    assert file.columns["c_lo"] == "lower end of the 95 % interval of c"
    assert file.statement == "select\n    1 as a"
    assert file.digest != sql.parse(GOOD.replace("1", "2"), Path("x.sql")).digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-- grain: a, b\n", "", "nothing about grain"),
        ("-- grain: a, b", "-- grain: a, z", "grain names z"),
        ("-- inputs: cell_metrics,\n--   variants\n", "", "nothing about inputs"),
        ("-- What it is.\n-- In two sentences.\n", "", "nothing about description"),
        ("-- column b", "-- column a", "says twice 'column a'"),
        ("-- estimate", "-- grain: a\n-- estimate", "says twice 'grain'"),
        ("select\n    1 as a;\n", "", "no statement"),
    ],
)
def test_a_wrong_header_is_refused(old, new, message):
    with pytest.raises(sql.SqlFileError, match=message):
        sql.parse(GOOD.replace(old, new), Path("x.sql"))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(
        sql.SqlFileError,
        match="no SQL file 'nope'; there are cell_estimates, judge_reliability, cell_metrics, main_results",
    ):
        sql.load("nope")


def test_every_file_on_disk_is_listed_once():
    assert sorted(path.stem for path in (sql.FOLDER / "marts").glob("*.sql")) == sorted(sql.MARTS)
    assert (sql.CELLS, sql.MARTS) == (CELL_SQL, MARTS)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_one_statement_that_gives_its_documented_columns(lake, name):
    file = sql.load(name)
    assert len(lake.connection.extract_statements(file.statement)) == 1
    assert lake.mart(name).columns == list(file.columns)
    assert all(file.columns.values())
    if name not in sql.CELLS:
        assert {"dataset", "model", "mode", "variant"} <= set(file.columns)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_reads_its_inputs_and_nothing_else(name):
    file = sql.load(name)
    made_here = re.findall(r"^(\w+) as \($", file.statement, re.MULTILINE)
    read = re.findall(r"\b(?:from|join) (\w+)", file.statement)
    assert set(file.inputs) == set(read) - set(made_here)
    assert set(file.inputs) <= {*TABLES, "variants", "models", "settings", *sql.CELLS}
