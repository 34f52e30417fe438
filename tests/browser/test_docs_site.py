"""The documentation in the browser: pages, search, light and dark, wide and narrow."""

import pytest
from axe import serious_faults
from docs_site import build_site, served_site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Address of the built site."""
    pytest.importorskip("mkdocs", reason="no mkdocs: install the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    build_site(folder)
    with served_site(folder) as address:
        yield address


@pytest.mark.parametrize(
    ("name", "colours", "width"),
    [("adding-a-metric", "light", 1400), ("tour", "dark", 1400), ("reference/study", "light", 400)],
)
def test_a_page_can_be_read_by_everybody_and_asks_nobody_else(site, page, name, colours, width):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.emulate_media(color_scheme=colours)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{site}/{name}.html")
    page.wait_for_load_state("networkidle")
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert asked and not [url for url in asked if not url.startswith((site, "data:", "blob:"))]


def test_the_search_finds_a_field_of_the_study_file(site, page):
    page.goto(f"{site}/index.html")
    page.wait_for_load_state("networkidle")
    field = page.get_by_role("textbox", name="Search")
    field.click()
    # It looks at what is typed once it has read its index.
    page.get_by_text("Type to start searching").wait_for()
    field.press_sequentially("judge_reasks")
    page.locator(".md-search-result a", has_text="Limits").first.click()
    page.wait_for_url("**/reference/study.html*")


def test_pictures_of_the_tour_are_shown(site, page):
    page.goto(f"{site}/tour.html")
    page.wait_for_load_state("networkidle")
    widths = page.locator("article img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(widths) >= 8 and min(widths) >= 1000
