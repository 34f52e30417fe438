"""The report in a real browser without a network: it asks for nothing, sorts by keyboard, and everybody can use it."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe import serious_faults
from hand_marts import STUDY, hand_marts

from mbt_assets.reporting.contents import Made, contents_of
from mbt_assets.reporting.origins import software
from mbt_assets.reporting.page import render
from mbt_assets.staleness import Standing
from partitions.grid import Grid
from partitions.study_file import parse_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the hand-made study, as a file."""
    study = parse_study(STUDY)
    keys = Grid(study).keys("cell_metrics")
    cells = {key: Standing("fresh") for key in keys} | {keys[1]: Standing("stale", "prompt changed")}
    made = Made("2026-01-02T03:04:05+00:00", "run-1", software(), cells)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(contents_of(study, hand_marts()), made), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=["light", "dark"])
def colours(request: pytest.FixtureRequest) -> str:
    return request.param


@contextlib.contextmanager
def opened(browser: Browser, address: str, **options: object) -> Iterator[tuple[Page, list[str], list[str]]]:
    """The report in a browser that is cut off from any network: page, complaints, and what it asked for."""
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    try:
        yield page, complaints, asked
    finally:
        context.close()


@pytest.fixture
def report(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address, viewport=WIDE) as (page, complaints, asked):
        yield page
        assert complaints == []
        assert asked == [address]


def test_it_asks_for_nothing_and_complains_of_nothing(browser: Browser, address: str, colours: str) -> None:
    with opened(browser, address, viewport=WIDE, color_scheme=colours) as (page, complaints, asked):
        assert asked == [address]
        assert complaints == []
        assert page.title() == "by_hand – MBT report"
        assert serious_faults(page) == []
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert serious_faults(page) == []


def test_a_phone_scrolls_tables_and_never_the_page(browser: Browser, address: str, colours: str) -> None:
    with opened(browser, address, viewport=NARROW, color_scheme=colours) as (page, _, _):
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert serious_faults(page) == []


def modes(table: Locator) -> list[str]:
    return table.locator("tbody").first.locator("th[scope=row]").all_inner_texts()


def test_a_table_of_the_paper_sorts_by_keyboard_within_each_model(report: Page) -> None:
    table = report.locator("#table-main table")
    tokens = table.get_by_role("columnheader", name="Tokens").first
    report.locator("#table-main .scroll").focus()
    for _ in range(5):
        report.keyboard.press("Tab")
    report.keyboard.press("Enter")
    assert tokens.get_attribute("aria-sort") == "descending"
    assert modes(table) == ["base", "mbt-r", "mbt-s"]
    report.keyboard.press("Space")
    assert tokens.get_attribute("aria-sort") == "ascending"
    assert modes(table) == ["mbt-s", "mbt-r", "base"]
    assert table.locator("tbody").first.locator("tr").first.inner_text().strip() == "stu#dent-1b", (
        "its head stays on top"
    )
    report.keyboard.press("Space")
    assert tokens.get_attribute("aria-sort") == "none"
    assert modes(table) == ["base", "mbt-s", "mbt-r"]


def test_times_and_digests_sort_as_text(report: Page) -> None:
    report.evaluate("location.hash = 'origins'")
    table = report.locator("table.sortable", has=report.get_by_role("columnheader", name="data version")).last
    report.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    rows = table.locator("tbody")
    rows.evaluate(
        """body => {
          const row = (made) => { const tr = document.createElement('tr');
            for (const text of ['m', '1', made, made]) {
              const td = document.createElement('td'); td.textContent = text; tr.append(td); }
            return tr; };
          body.replaceChildren(row('2026-11-02 05:59:52'), row('2026-11-02 05:59:42'), row('2026-11-01 23:00:00'));
        }"""
    )
    table.locator("th").nth(3).get_by_role("button").click()
    assert rows.locator("tr td:nth-child(4)").all_inner_texts() == [
        "2026-11-01 23:00:00",
        "2026-11-02 05:59:42",
        "2026-11-02 05:59:52",
    ]


def test_what_is_missing_comes_last_whichever_way(report: Page) -> None:
    table = report.locator("#table-rrp table")
    for _ in range(2):
        table.get_by_role("columnheader", name="ρ").first.get_by_role("button").click()
        assert modes(table)[2] == "mbt-r"


def test_a_mart_opens_by_its_link_sorts_and_comes_as_csv(report: Page, tmp_path: Path) -> None:
    report.evaluate("location.hash = 'significance'")
    table = report.locator("#significance table")
    table.wait_for()
    table.get_by_role("button", name="metric").click()
    assert table.locator("tbody tr td:nth-child(3)").all_inner_texts() == sorted(
        ["aes", "exact_match", "exact_match", "mean_tokens"]
    )
    with report.expect_download() as download:
        report.locator("#significance").get_by_role("link", name="significance.csv").click()
    download.value.save_as(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open() as file:
        assert [row["difference"] for row in csv.DictReader(file)] == ["0.25", "-400.0", "0.2499", "1.9"]


def test_another_figure_is_chosen_for_the_heat_map_by_keyboard(report: Page) -> None:
    assert report.locator("#panel-exact_match").is_visible()
    report.get_by_role("radio", name="exact match, %", exact=True).focus()
    report.keyboard.press("ArrowRight")
    assert report.locator("#panel-f1").is_visible()
    assert not report.locator("#panel-exact_match").is_visible()
    assert "stale" in report.locator("#panel-f1").inner_text()


def test_without_script_everything_is_there_but_the_sorting(browser: Browser, address: str) -> None:
    with opened(browser, address, viewport=WIDE, java_script_enabled=False) as (page, complaints, _):
        assert page.locator("th button").count() == 0
        page.get_by_text("The numbers behind it").first.click()
        assert page.locator("#figure-accuracy_tokens table").is_visible()
        page.get_by_role("radio", name="AES").check()
        assert page.locator("#panel-aes").is_visible()
        assert complaints == []


def test_a_script_that_got_into_the_page_does_not_run(browser: Browser, address: str) -> None:
    with opened(browser, address, viewport=WIDE) as (page, complaints, _):
        page.evaluate(
            """() => {
                const script = document.createElement('script');
                script.textContent = 'window.ran = true';
                document.body.append(script);
            }"""
        )
        assert page.evaluate("window.ran === undefined")
        assert "Content Security Policy" in complaints[0]
