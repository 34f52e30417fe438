"""The page for SQL: files of what it answers."""

import io

import polars as pl
import pytest
from query_page import at

from mbt_assets.explore import query, statement


def test_a_csv_has_all_rows_and_one_for_a_spreadsheet_has_no_formulas(web):
    sql = "SELECT '=1+1' AS a, '-5' AS b, -5 AS c, 'plain' AS d, '@x' AS e, range FROM range(3000)"
    found = web.get(at(sql).replace("/query?", "/query/rows.csv?"))
    assert found.headers["content-disposition"] == 'attachment; filename="rows.csv"'
    lines = found.text.splitlines()
    assert len(lines) == 3001
    assert lines[1] == '"=1+1","-5",-5,"plain","@x",0'
    guarded = web.get(at(sql, spreadsheet="1").replace("/query?", "/query/rows.csv?")).text.splitlines()
    assert guarded[1] == '"\'=1+1","\'-5",-5,"plain","\'@x",0'


def test_a_parquet_file_keeps_the_types(web):
    found = web.get(
        at("SELECT documents, sample_id FROM validation_questions").replace("/query?", "/query/rows.parquet?")
    )
    rows = pl.read_parquet(io.BytesIO(found.content))
    assert rows.height == 24
    assert rows.schema["documents"].inner.fields[0].name == "title"


def test_a_file_of_sql_that_fails_is_an_error_page_with_the_sql(web):
    reply = web.get(at("SELECT no_such FROM settings").replace("/query?", "/query/rows.csv?"))
    assert reply.status_code == 400
    assert "no_such" in reply.text
    assert web.get(at("SELECT 1").replace("/query?", "/query/rows.exe?")).status_code == 404


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_every_type_can_be_written(web, form):
    found = web.get(at("FROM test_all_types()").replace("/query?", f"/query/rows.{form}?"))
    assert found.status_code == 200, found.text[-500:]
    file = io.BytesIO(found.content)
    rows = pl.read_csv(file, infer_schema=False) if form == "csv" else pl.read_parquet(file)
    assert rows.height == 3


def test_a_type_that_parquet_does_not_hold_is_written_as_text(web):
    sql = "SELECT INTERVAL 1 DAY AS a, {'b': [INTERVAL 2 DAY]} AS c"
    found = web.get(at(sql).replace("/query?", "/query/rows.parquet?"))
    assert pl.read_parquet(io.BytesIO(found.content)).rows() == [("1 day", "{'b': [2 days]}")]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_that_takes_too_long_or_grows_too_large_is_stopped_told_and_forgotten(web, monkeypatch, form):
    sql = "SELECT range, repeat('x', 1000) FROM range(1000000000000)"
    address = at(sql).replace("/query?", f"/query/rows.{form}?")
    monkeypatch.setattr(query, "FILE_SECONDS", 0.5)
    late = web.get(address)
    monkeypatch.setattr(query, "FILE_SECONDS", 60.0)
    monkeypatch.setattr(statement, "MOST_BYTES", 100_000)
    large = web.get(address)
    for reply, why in ((late, "stopped after 0.5 s"), (large, "more than 0.0001 GB")):
        assert reply.status_code == 400
        assert why in reply.text
        assert "range(1000000000000)" in reply.text
    # Nothing of them is left open, which would keep every other page from the warehouse.
    assert web.get("/").status_code == 200
    assert web.get(at("SELECT 1")).status_code == 200


def test_what_cannot_be_written_fails_alone(web, monkeypatch):
    monkeypatch.setattr("mbt_assets.explore.columns.NOT_IN_PARQUET", ())
    reply = web.get(at("SELECT INTERVAL 1 DAY AS a").replace("/query?", "/query/rows.parquet?"))
    assert reply.status_code == 400
    assert "these rows cannot be written" in reply.text
    assert web.get("/").status_code == 200


def test_a_plan_has_no_rows_to_download(web):
    reply = web.get(at("EXPLAIN SELECT 1").replace("/query?", "/query/rows.csv?"))
    assert reply.status_code == 400
    assert "a plan has no rows" in reply.text
