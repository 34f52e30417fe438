"""The report: one page that needs nothing else, with the paper's tables and figures above the marts."""

import re
import sys
from html.parser import HTMLParser

import pytest

from mbt_assets.report import render

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """What a page consists of: ids, addresses it loads from, and elements that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.loads, self.open, self.texts, self.tags = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture
def page(marts, study):
    return Page(render(study, marts, {"aes": "0123456789abcdef0123"}))


def test_it_is_one_page_that_loads_nothing(page):
    assert page.open == []
    assert all(address.startswith("#") for address in page.loads)
    assert {"script", "iframe", "link", "img"}.isdisjoint(page.tags)


def test_it_holds_four_tables_and_five_figures_above_the_marts(page):
    assert page.tags.count("svg") == 5
    order = [name for name in page.ids if name.startswith(("table-", "figure-")) or name == "main_results"]
    assert [name for name in order if name.startswith("table-")] == [
        "table-main",
        "table-aes",
        "table-rrp",
        "table-mqi",
    ]
    assert order[-1] == "main_results"
    assert "0123456789abcdef" in " ".join(page.texts)


def test_no_two_parts_have_the_same_id(page):
    assert len(page.ids) == len(set(page.ids))
    assert {address.removeprefix("#") for address in page.loads} <= set(page.ids)


def test_names_are_escaped(marts, study):
    text = render(study.model_copy(update={"description": "<script>alert(1)</script>"}), marts, {})
    assert "<script>" not in text
    assert not re.search(r"wi&de", text)


def test_without_matplotlib_it_has_its_tables(marts, study, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page(render(study, marts, {}))
    assert "svg" not in page.tags
    assert "table-mqi" in page.ids
