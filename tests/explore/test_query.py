"""The page for SQL: what it answers, in pages and order, and how it shows it."""

import io

import polars as pl
import pytest
from explored_rows import BASE, LONG_LINE, MBT_R, REVERSED, SCRIPT
from query_page import CELLS, ask, at, cells

from mbt_assets.explore.schema import EXAMPLES

# What it shows


def test_sql_runs_by_key_and_stands_in_the_address(page):
    page.goto("/query")
    page.get_by_label("SQL").fill(CELLS)
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/query?sql=*")
    assert page.locator("#rows").inner_text().startswith("5 rows")
    assert cells(page)[0] == ["open", "trails", BASE, "0.5"]
    assert page.get_by_label("SQL").input_value() == CELLS


def test_an_address_with_sql_is_a_deep_link_and_back_leads_to_what_was_asked_before(page):
    page.goto(at("SELECT 1 AS one"))
    ask(page, "SELECT 2 AS two")
    page.wait_for_url("**two*")
    assert cells(page) == [["2"]]
    page.go_back()
    page.wait_for_url("**one*")
    assert cells(page) == [["1"]]
    assert page.get_by_label("SQL").input_value() == "SELECT 1 AS one"


@pytest.mark.parametrize("title", EXAMPLES)
def test_every_example_runs(web, title):
    reply = web.get(at(EXAMPLES[title].strip()))
    assert reply.status_code == 200, reply.text


def test_a_row_of_a_rollout_leads_to_its_trace_and_one_of_a_cell_to_the_cell(page):
    page.goto(
        at("SELECT dataset, variant, question_id, rollout_id FROM lineage WHERE question_id LIKE 'q/%' ORDER BY ALL")
    )
    assert (
        page.locator("table.rows a[data-row]").first.get_attribute("href")
        == f"/trace/trails/{BASE}/q%2Fwith%2Fslashes/1"
    )
    page.goto(at(CELLS))
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/cell/trails/{MBT_R}")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'nowhere' AS dataset, variant FROM variants",
        "SELECT 'trails' AS dataset, variant, 'no-such' AS question_id, 1 AS rollout_id FROM variants",
        "SELECT 'nowhere' AS dataset, variant, 'q01' AS question_id, 1 AS rollout_id, 1 AS trace_id FROM variants",
        "SELECT 1 AS dataset, 2 AS variant, 3 AS question_id, 4 AS rollout_id",
    ],
)
def test_a_row_of_nothing_that_has_a_page_leads_nowhere(web, sql):
    reply = web.get(at(sql))
    assert reply.status_code == 200
    assert "data-row" not in reply.text


def test_hostile_texts_are_shown_and_do_nothing(page):
    page.goto(at("SELECT question_id, question FROM validation_questions WHERE dataset = 'trails' ORDER BY sample_id"))
    shown = page.locator("table.rows").inner_text()
    assert SCRIPT in shown
    assert "<b>bold</b>" in shown
    assert "⟨U+202E⟩" in shown
    assert REVERSED not in shown
    assert page.locator("main script, main b, main img").count() == 0


def test_a_text_of_a_megabyte_is_cut_on_the_page_and_whole_in_the_file(web):
    sql = f"SELECT reasoning FROM validation_rollouts WHERE variant = '{BASE}' AND question_id = 'q07' LIMIT 1"
    reply = web.get(at(sql))
    assert "cut after 1,000 characters" in reply.text
    assert len(reply.text) < len(web.get("/query").text) + 20_000
    rows = pl.read_csv(web.get(at(sql).replace("/query?", "/query/rows.csv?")).content)
    assert LONG_LINE.strip() in rows["reasoning"][0]


def test_columns_of_the_same_name_and_of_no_name_are_told_apart(web, page):
    sql = 'SELECT 1 AS a, 2 AS a, 3 + 4, NULL AS "x""y<b>" -- and a comment'
    page.goto(at(sql))
    assert cells(page) == [["1", "2", "7", "NULL"]]
    rows = pl.read_parquet(io.BytesIO(web.get(at(sql).replace("/query?", "/query/rows.parquet?")).content))
    assert rows.columns == ["a", "a_2", "(3 + 4)", 'x"y<b>']


def test_lists_and_structs_are_shown_and_written_as_json(web, page):
    sql = "SELECT documents FROM validation_questions WHERE sample_id = 1 AND dataset = 'wide'"
    page.goto(at(sql))
    assert "Milestone 1" in page.locator("table.rows").inner_text()
    text = pl.read_csv(web.get(at(sql).replace("/query?", "/query/rows.csv?")).content)["documents"][0]
    assert text.startswith('[{"title":"Milestone 1","sentences":[')


@pytest.mark.parametrize(
    "sql", ["SHOW TABLES", "DESCRIBE lineage", "SUMMARIZE settings", "VALUES (1, 2)", "FROM settings;"]
)
def test_all_kinds_of_reading_are_shown(web, sql):
    reply = web.get(at(sql))
    assert reply.status_code == 200
    assert 'table class="rows"' in reply.text


def test_an_explain_shows_the_plan(web):
    reply = web.get(at("EXPLAIN SELECT count(*) FROM lineage"))
    assert "<h2>Plan</h2>" in reply.text


@pytest.mark.parametrize("sql", ["SELECT 1 AS a; -- c", "SELECT 1 AS a; /* /* c */ */ ;", "SELECT 1 AS a -- c;"])
def test_a_comment_after_the_statement_is_passed_over(web, page, sql):
    page.goto(at(sql))
    assert cells(page) == [["1"]]
    assert web.get(at(sql).replace("/query?", "/query/rows.csv?")).text.split() == ['"a"', "1"]


def test_times_that_no_calendar_has_are_shown_as_duckdb_writes_them(page):
    page.goto(
        at("SELECT DATE '290000-01-01' AS a UNION ALL SELECT 'infinity' UNION ALL SELECT '2020-01-01'", sort="-1")
    )
    assert cells(page) == [["infinity"], ["290000-01-01"], ["2020-01-01"]]


# Pages and order


def test_a_long_result_is_shown_in_pages_that_duckdb_cuts(page):
    page.goto(at("SELECT range AS n FROM range(1050) ORDER BY n"))
    assert page.locator("#rows").inner_text().startswith("1,050 rows")
    assert len(cells(page)) == 100
    page.keyboard.press("n")
    page.wait_for_url("**page=2*")
    assert cells(page)[0] == ["100"]
    page.get_by_role("link", name="last").first.click()
    page.wait_for_url("**page=11*")
    assert [row[0] for row in cells(page)] == [str(number) for number in range(1000, 1050)]
    page.keyboard.press("p")
    page.wait_for_url("**page=10*")
    page.go_back()
    page.wait_for_url("**page=11*")


def test_a_page_beyond_the_end_shows_the_last_one(web):
    for number in ("99", "0", "-1", "x", "9" * 30, "9" * 5000):
        assert web.get(at("SELECT range FROM range(250)", page=number)).status_code == 200
    assert "page 3 of 3" in web.get(at("SELECT range FROM range(250)", page="99")).text


def test_a_heading_sorts_all_rows_and_not_only_those_of_the_page(page):
    page.goto(at("SELECT range AS n, -range AS m FROM range(250)"))
    heading = page.locator("table.rows th").nth(1)
    heading.get_by_role("link").click()
    page.wait_for_url("**sort=-2*")
    assert cells(page)[0] == ["0", "0"]
    assert page.locator("table.rows th").nth(1).get_attribute("aria-sort") == "descending"
    page.locator("table.rows th").nth(1).get_by_role("link").click()
    page.wait_for_url("**sort=2*")
    assert cells(page)[0] == ["249", "-249"]


def test_an_unknown_column_to_sort_or_draw_is_passed_over(web):
    reply = web.get(at(CELLS, sort="-99", chart="bar", x="77", y="zz", by="'", of="drop"))
    assert reply.status_code == 200


# Long SQL


def test_sql_that_no_address_holds_goes_as_a_form_with_pages_order_chart_and_files(page):
    long = "SELECT range AS n, -range AS m FROM range(250) ORDER BY n -- " + "x" * 20_000
    page.goto("/query")
    ask(page, long)
    page.get_by_text("too long for an address").wait_for()
    assert page.url.endswith("/query")
    page.wait_for_load_state()
    assert len(cells(page)) == 100
    page.get_by_role("button", name="next").first.click()
    page.locator("table.rows tbody tr:first-child", has_text="100").wait_for()
    page.get_by_role("button", name="m", exact=True).click()
    page.locator("th[aria-sort=descending]", has_text="m").wait_for()
    page.wait_for_load_state()
    assert cells(page)[0] == ["0", "0"]
    page.get_by_label("Chart").select_option("histogram")
    page.get_by_role("img").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    assert len(download.value.path().read_text().splitlines()) == 251
    assert page.get_by_label("SQL").input_value() == long


def test_more_than_a_megabyte_of_sql_is_refused(web):
    assert web.post("/query", data={"sql": "SELECT 1 -- " + "x" * 1_100_000}).status_code == 413


# Names, and what was asked before


def test_names_are_found_described_and_put_where_the_cursor_is(page):
    page.goto("/query")
    editor = page.get_by_label("SQL")
    editor.fill("SELECT FROM lineage")
    editor.evaluate("element => element.setSelectionRange(6, 6)")
    page.get_by_label("Find").fill("redundant_frac")
    lineage = page.locator("details.table[data-name=lineage]")
    assert lineage.get_by_text("redundant share of the sentences").is_visible()
    assert page.locator("details.table[data-name=settings]").is_hidden()
    lineage.locator("[data-insert=redundant_fraction]").focus()
    page.keyboard.press("Enter")
    assert editor.input_value() == "SELECT redundant_fraction FROM lineage"
    assert page.evaluate("document.activeElement.id") == "sql"


def test_tables_are_listed_by_what_they_are(page):
    page.goto("/query")
    groups = {
        group.locator("h2").inner_text(): group.locator("summary").all_inner_texts()
        for group in page.locator(".group").all()
    }
    assert list(groups) == ["Figures", "Rows joined", "Tables of the lake", "The study"]
    assert "main_results" in groups["Figures"]
    assert "lineage" in groups["Rows joined"]
    assert "validation_rollouts" in groups["Tables of the lake"]
    assert {"settings", "provenance"} <= set(groups["The study"])


def test_what_ran_is_kept_in_this_browser_until_it_is_told_to_forget(page):
    page.goto("/query")
    for sql in ("SELECT 1 AS first", "SELECT 2 AS second", "SELECT no_such"):
        ask(page, sql)
        page.wait_for_load_state()
    page.goto("/query")
    recent = page.locator("#recent li button")
    assert recent.all_inner_texts() == ["SELECT 2 AS second", "SELECT 1 AS first"]
    recent.last.click()
    assert page.get_by_label("SQL").input_value() == "SELECT 1 AS first"
    page.get_by_role("button", name="Forget them").click()
    assert recent.count() == 0
    page.reload()
    assert not page.locator("#recent").is_visible()


def test_tab_leaves_the_editor(page):
    page.goto("/query")
    page.get_by_label("SQL").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Run"
