"""The page for SQL: charts of what it answers."""

import pytest
from explored_rows import BASE, MBT_R, SCRIPT
from query_page import at


@pytest.mark.parametrize("kind", ["bar", "line", "point", "histogram"])
def test_every_chart_is_drawn_with_a_text_in_its_place(web, kind):
    reply = web.get(at("SELECT variant, completion_tokens, arrival FROM lineage", chart=kind))
    assert reply.text.count("<svg") == 1
    assert 'role="img" aria-label="' in reply.text


def test_the_chart_s_columns_are_chosen_by_menus_and_stand_in_the_address(page):
    page.goto(at("SELECT variant, tier, completion_tokens, arrival FROM lineage"))
    page.get_by_label("Chart").select_option("bar")
    page.wait_for_url("**chart=bar*")
    page.locator("select[name=y]").select_option("arrival")
    page.wait_for_url("**y=4*")
    page.get_by_label("for each").select_option("tier")
    page.wait_for_url("**by=2*")
    assert page.get_by_role("img").get_attribute("aria-label") == "average of arrival by variant, for each tier"
    page.get_by_label("of several rows").select_option("count")
    page.wait_for_url("**of=count*")
    assert page.get_by_role("img").get_attribute("aria-label") == "number of rows by variant, for each tier"


def test_a_heat_map_is_a_table_of_averages(page):
    sql = "SELECT dataset, variant, exact_match FROM lineage WHERE exact_match IS NOT NULL ORDER BY ALL"
    page.goto(at(sql, chart="heat"))
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("table.heat tbody tr").all()]
    assert rows == [[BASE, "0.5", "0.5"], [MBT_R, "0.75", "0.75"]]


def test_what_a_chart_leaves_out_is_said(web):
    reply = web.get(at("SELECT 'name ' || range AS name, range AS n FROM range(500)", chart="bar"))
    assert "The first 30 of 500 values of name are drawn." in reply.text
    reply = web.get(at("SELECT range AS x, range % 7 AS y FROM range(9000)", chart="point", x="1", y="2"))
    assert "At most 2,000 rows are drawn" in reply.text


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS x WHERE false",
        "SELECT NULL AS x, NULL AS y",
        "SELECT 'nan'::DOUBLE AS x, 'inf'::DOUBLE AS y FROM range(3)",
        "SELECT 7 AS x, 7 AS y FROM range(3)",
        "SELECT 'infinity'::TIMESTAMP AS x, 1 AS y UNION ALL SELECT DATE '290000-01-01', 2",
        "SELECT '-infinity'::TIMESTAMPTZ AS x, 1 AS y UNION ALL SELECT '2020-01-01', 2",
        "FROM test_all_types()",
        "SELECT DATE '2020-01-01' + range::INT AS x, range AS y FROM range(3)",
        "SELECT TIMESTAMPTZ '2020-01-01 00:00:00+00' AS x, 1.5::DECIMAL(8, 2) AS y",
        f"SELECT '{SCRIPT}' AS \"{SCRIPT}\", 1 AS n",
        "SELECT [1, 2] AS nested",
        "SELECT true AS x, 'a'::BLOB AS y, INTERVAL 1 DAY AS z, uuid() AS u",
        "SELECT 170141183460469231731687303715884105727::HUGEINT AS x, TIME '12:00' AS y",
    ],
)
@pytest.mark.parametrize("kind", ["bar", "line", "point", "histogram", "heat"])
def test_no_values_however_odd_break_a_chart(web, sql, kind):
    reply = web.get(at(sql, chart=kind))
    assert reply.status_code == 200, reply.text
    assert "<script>alert" not in reply.text
