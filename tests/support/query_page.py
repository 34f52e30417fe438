"""The explorer's page for SQL: how tests ask it, and what it shows."""

from urllib.parse import urlencode

CELLS = "SELECT dataset, variant, exact_match FROM main_results ORDER BY dataset, variant"


def at(sql, **more):
    return f"/query?{urlencode({'sql': sql, **more})}"


def cells(page):
    """The result's rows as texts."""
    return [row.locator("td").all_inner_texts() for row in page.locator("table.rows tbody tr").all()]


def ask(page, sql):
    page.get_by_label("SQL").fill(sql)
    page.get_by_role("button", name="Run").click()
