"""The page for SQL: what it refuses, what it stops, and what it says of faults."""

import threading

import httpx2
import pytest
from processes import until
from query_page import CELLS, ask, at

from mbt_assets.explore import query

SLOW = "SELECT sum(a.range * b.range) FROM range(10000000) AS a, range(1000000) AS b"


def test_an_error_says_where_it_is_and_keeps_the_sql(page):
    page.goto("/query")
    ask(page, "SELECT dataset,\n  no_such\nFROM main_results")
    fault = page.get_by_role("alert").inner_text()
    assert 'Referenced column "no_such" not found' in fault
    assert "LINE 2:   no_such" in fault
    assert page.get_by_label("SQL").input_value() == "SELECT dataset,\n  no_such\nFROM main_results"


def test_an_error_that_shows_only_when_it_runs_is_told_too(web):
    reply = web.get(at("SELECT CAST(variant AS INTEGER) FROM variants"))
    assert reply.status_code == 400
    assert "Could not convert string" in reply.text


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT 1; SELECT 2", "one SQL statement; this is 2"),
        ("-- nothing", "one SQL statement; this is 0"),
        ("DROP VIEW lineage", "read-only: DROP"),
        ("SET memory_limit = '1TB'", "read-only: SET"),
        ("ATTACH '/tmp/other.db' AS other", "read-only: ATTACH"),
        ("INSTALL httpfs", "read-only: LOAD"),
        ("LOAD httpfs", "read-only: LOAD"),
        ("COPY (SELECT 1) TO '/tmp/never.csv'", "read-only: COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/never.csv'", "read-only: COPY"),
        ("EXPLAIN /* /* */ SELECT 1 -- */ ANALYZE COPY (SELECT 1) TO '{lake}/never.csv'", "read-only: COPY"),
        ("WITH a AS (COPY (SELECT 1) TO '{lake}/never.csv') FROM a", "read-only: COPY"),
        ("SELECT 1) AS x; COPY (SELECT 1) TO '{lake}/never.csv' --", "syntax error"),
        ("SELECT * FROM query('COPY (SELECT 1) TO ''{lake}/never.csv''')", "Expected a single SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "Cannot access file"),
        ("SELECT * FROM read_text('{lake}/../mbt.duckdb.provenance.json')", "Cannot access file"),
        ("SELECT * FROM glob('/etc/*')", "Cannot access file"),
        ("SELECT * FROM read_parquet('https://example.com/x.parquet')", "Cannot access file"),
        ("SELECT * FROM asked", "Table with name asked does not exist"),
    ],
)
def test_it_reads_the_lake_and_the_warehouse_and_nothing_else(web, study_home, sql, why):
    lake = study_home.lake.root
    for path in ("/query", "/query/rows.csv"):
        reply = web.get(path, params={"sql": sql.replace("{lake}", str(lake))})
        assert reply.status_code == 400
        assert why in reply.text
    assert not (lake / "never.csv").exists()


def test_the_lake_s_own_files_can_be_read(web, study_home):
    pattern = f"{study_home.lake.root}/main_results/**/*.parquet"
    assert web.get(at(f"SELECT * FROM read_parquet('{pattern}')")).status_code == 200


def test_sql_that_takes_too_long_is_stopped_and_told(web, monkeypatch):
    monkeypatch.setattr(query, "SECONDS", 0.5)
    reply = web.get(at(SLOW))
    assert reply.status_code == 400
    assert "stopped after 0.5 s" in reply.text
    assert SLOW in reply.text


@pytest.mark.parametrize("keys", [["Escape"], ["Tab", "Tab", "Enter"]])
def test_cancel_stops_what_runs_and_keeps_the_sql(page, keys):
    page.goto("/query")
    page.get_by_label("SQL").fill(SLOW)
    page.keyboard.press("Control+Enter")
    assert until(lambda: query._running._value < query.AT_ONCE)
    for key in keys:
        page.keyboard.press(key)
    assert until(lambda: query._running._value == query.AT_ONCE)
    assert page.get_by_label("SQL").input_value() == SLOW
    assert page.locator("#said").inner_text() == "cancelled"
    assert not page.locator("#running").is_visible()


def test_a_browser_that_goes_away_ends_what_it_asked_for(explorer):
    with pytest.raises(httpx2.TimeoutException):
        httpx2.get(explorer + at(SLOW), timeout=1)
    assert until(lambda: query._running._value == query.AT_ONCE)


def test_more_than_a_few_statements_at_once_wait_and_are_then_refused(web, monkeypatch):
    monkeypatch.setattr(query, "PATIENCE_S", 0.2)
    for _ in range(query.AT_ONCE):
        assert query._running.acquire(timeout=5)
    try:
        reply = web.get(at("SELECT 1"))
        assert reply.status_code == 503
        assert "4 other statements are running" in reply.text
        # Every other page is served meanwhile.
        assert web.get("/").status_code == 200
    finally:
        for _ in range(query.AT_ONCE):
            query._running.release()
    assert web.get(at("SELECT 1")).status_code == 200


def test_another_site_can_link_here_but_not_ask_behind_its_readers_back(web):
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert web.get(at("SELECT 1"), headers=link).status_code == 200
    for destination in ("image", "iframe", "empty"):
        assert web.get(at("SELECT 1"), headers={**link, "Sec-Fetch-Dest": destination}).status_code == 403
    assert web.post("/query", data={"sql": "SELECT 1"}, headers=link).status_code == 403
    beside = {**link, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "image"}
    assert web.get(at("SELECT 1"), headers=beside).status_code == 403


def test_the_warehouse_may_be_built_anew_between_two_questions_and_during_one(own_home):
    from explored import served

    with served(own_home.platform) as address:
        asking = threading.Thread(target=lambda: httpx2.get(address + at("SELECT count(*) FROM lineage"), timeout=60))
        asking.start()
        own_home.warehouse()
        asking.join()
        assert "5 rows" in httpx2.get(address + at(CELLS), timeout=60).text
