"""Every page for everybody: by keyboard alone, for a screen reader, in light, dark and in a narrow window."""

import re
from itertools import pairwise
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from axe import serious_faults
from explored_rows import BASE, MBT_R, MBT_S

LINEAGE = "SELECT dataset, variant, question_id, rollout_id, completion_tokens FROM lineage ORDER BY ALL"
PAGES = {
    "grid": "/",
    "cell": f"/cell/trails/{BASE}",
    "stale cell": f"/cell/trails/{MBT_S}",
    "missing cell": f"/cell/wide/{MBT_S}",
    "trace": f"/trace/trails/{BASE}/q%2Fwith%2Fslashes/1",
    "trace of a megabyte": f"/trace/trails/{BASE}/q07/1",
    "failed request": f"/trace/trails/{BASE}/q09/2",
    "compare": f"/compare?dataset=trails&a={BASE}&b={MBT_R}",
    "compare a question": f"/compare?dataset=trails&a={BASE}&b={MBT_R}&question=q%2Fwith%2Fslashes",
    "training sets": "/training",
    "training set": f"/training/trails/{MBT_R}",
    "training row": f"/training/trails/{MBT_R}/train%2F2/1/1",
    "query": "/query",
    "query with rows": "/query?" + urlencode({"sql": LINEAGE, "chart": "heat"}),
    "unknown page": "/no-such-page",
}
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}

REACHABLE = """() => {
  const usable = 'a[href], button, input, select, textarea, summary, [tabindex], [role=button], [data-row]';
  const shown = (element) => {
    if (element.matches(':disabled, [type=hidden], [tabindex="-1"]')) return false;
    if (element.closest('dialog:not([open])')) return false;
    return element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;
  };
  const all = [...document.querySelectorAll(usable)].filter(shown);
  all.forEach((element, number) => (element.dataset.number = number));
  return all.length;
}"""
FOCUSED = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const outline = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  return [element.dataset.number ?? null, outline, element.outerHTML.slice(0, 120)];
}"""
ONLY_BY_MOUSE = """() => {
  const keyboard = 'a[href], button, input, select, textarea, summary, label, [tabindex="0"]';
  return [...document.querySelectorAll('body *')]
    .filter((element) => element.onclick || getComputedStyle(element).cursor === 'pointer')
    .filter((element) => !element.closest(keyboard) && element.getClientRects().length > 0)
    .map((element) => element.outerHTML.slice(0, 120));
}"""
COLOUR = "getComputedStyle(document.body).backgroundColor"
HEADINGS = "() => [...document.querySelectorAll('main h1, main h2, main h3, main h4')].map((h) => Number(h.tagName[1]))"


@pytest.fixture(scope="module")
def views(browser, explorer):
    """Two windows that all tests share, by their names: a wide one in light colours, a narrow one in dark."""
    wide = browser.new_context(base_url=explorer, viewport=WIDE, color_scheme="light")
    narrow = browser.new_context(base_url=explorer, viewport=NARROW, color_scheme="dark")
    yield {"wide and light": wide.new_page(), "narrow and dark": narrow.new_page()}
    wide.close()
    narrow.close()


@pytest.mark.parametrize("name", PAGES)
def test_nothing_keeps_anybody_from_using_it(views, name):
    for page in views.values():
        page.goto(PAGES[name])
        assert serious_faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        levels = page.evaluate(HEADINGS)
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels)), levels


@pytest.mark.parametrize("name", PAGES)
def test_keys_reach_in_order_and_visibly_all_that_a_mouse_reaches(views, name):
    page = views["wide and light"]
    page.goto(PAGES[name])
    assert page.evaluate(ONLY_BY_MOUSE) == []
    expected = page.evaluate(REACHABLE)
    reached = []
    for _ in range(expected):
        page.keyboard.press("Tab")
        number, has_outline, element = page.evaluate(FOCUSED)
        assert has_outline, f"no outline: {element}"
        assert number is not None, f"not expected in the order of tabs: {element}"
        reached.append(int(number))
    assert reached == list(range(expected))
    # The last one may be a field to write in, where letters are no keys.
    page.locator("#main").focus()
    before = page.evaluate(COLOUR)
    page.keyboard.press("d")
    assert page.evaluate(COLOUR) != before
    page.keyboard.press("d")
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keyboard").is_visible()
    page.keyboard.press("Escape")
    if page.locator('input[type="search"]').count():
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.type") == "search"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("cell", r"/trace/trails/"),
        ("compare", r"/compare\?.*question="),
        ("training sets", r"/training/trails/"),
        ("training set", r"/training/trails/.+/.+/\d+/\d+"),
        ("query", r"/query\?sql="),
        ("query with rows", r"/trace/trails/"),
    ],
)
def test_j_and_k_walk_over_the_rows_and_enter_opens_one(views, name, target):
    page = views["wide and light"]
    page.goto(PAGES[name])
    rows = page.locator("[data-row]")
    here = "[...document.querySelectorAll('[data-row]')].indexOf(document.activeElement.closest('[data-row]'))"
    page.keyboard.press("j")
    assert page.evaluate(here) == 0
    if rows.count() > 1:
        page.keyboard.press("j")
        assert page.evaluate(here) == 1
        page.keyboard.press("k")
        assert page.evaluate(here) == 0
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(target))


def place_of(url):
    """A path and what is chosen there, in whatever order the address says it."""
    parts = urlsplit(url)
    return parts.path, sorted(parse_qsl(parts.query))


@pytest.mark.parametrize("name", ["cell", "trace", "compare a question", "training row"])
def test_n_and_p_go_to_the_next_and_back_and_u_goes_up(views, name):
    page = views["wide and light"]
    page.goto(PAGES[name])
    keys = ("n", "p") if page.locator('a[data-key="n"]').count() else ("p", "n")
    first = page.url
    page.keyboard.press(keys[0])
    page.wait_for_url(lambda url: place_of(url) != place_of(first))
    page.keyboard.press(keys[1])
    page.wait_for_url(lambda url: place_of(url) == place_of(first))
    up = page.locator('a[data-key="u"]').get_attribute("href")
    page.keyboard.press("u")
    page.wait_for_url(lambda url: url.endswith(up))


def test_without_its_scripts_every_page_is_still_there_and_filters_have_a_button(browser, explorer):
    context = browser.new_context(base_url=explorer, java_script_enabled=False, viewport=WIDE)
    page = context.new_page()
    try:
        for name in ("grid", "cell", "trace", "compare", "training set", "query with rows"):
            page.goto(PAGES[name])
            assert page.locator("h1").inner_text()
        page.goto("/")
        page.get_by_label("Figure").select_option("mean_tokens")
        with page.expect_navigation():
            page.get_by_role("button", name="Show").click()
        assert page.locator("h1").inner_text() == "mean tokens"
        page.goto("/query")
        page.get_by_label("SQL").fill("SELECT 42 AS answer")
        with page.expect_navigation():
            page.get_by_role("button", name="Run").click()
        assert page.locator("table.rows td").all_inner_texts() == ["42"]
    finally:
        context.close()
