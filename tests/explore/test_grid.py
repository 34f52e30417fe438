"""The first page: the study's cells as a heat map."""

import re

from explored_rows import BASE, MBT_R, MBT_S

from mbt_assets.explore.figures import called


def cell(page, dataset, variant):
    return page.locator(f'a.cell[href="/cell/{dataset}/{variant}"]')


def values(page):
    return page.locator("a.cell").all_inner_texts()


def test_each_cell_shows_its_figure_and_leads_to_its_page(page):
    page.goto("/")
    assert page.locator("h1").inner_text() == "exact match"
    # Half of the base's answers are right, three of four of MBT-R's, one of five of MBT-S's.
    assert cell(page, "trails", BASE).inner_text() == "0.500"
    assert cell(page, "trails", MBT_R).inner_text() == "0.750"
    assert cell(page, "wide", MBT_R).inner_text() == "0.750"
    assert cell(page, "trails", MBT_S).inner_text().startswith("0.200")
    assert page.title() == "Grid – MBT explorer"


def test_missing_and_stale_cells_say_so_in_words(page):
    page.goto("/")
    assert cell(page, "wide", MBT_S).inner_text() == "missing"
    assert "stale" in cell(page, "trails", MBT_S).inner_text()
    legend = page.locator(".legend").inner_text()
    assert "stale 1" in legend
    assert "validation_rollouts[trails|tiny__mbt-s] changed" in page.content()


def test_another_figure_is_an_address_of_its_own_and_back_returns(page):
    page.goto("/")
    page.get_by_label("Figure").select_option("mean_tokens")
    page.wait_for_url("**/?metric=mean_tokens")
    assert page.locator("h1").inner_text() == "mean tokens"
    # (200 + 10 n) tokens for n from 1 to 20, halved by MBT-R.
    assert cell(page, "trails", BASE).inner_text() == "305"
    assert cell(page, "trails", MBT_R).inner_text() == "152.5"
    page.go_back()
    page.wait_for_url(re.compile("/$"))
    assert page.locator("h1").inner_text() == "exact match"
    assert page.get_by_label("Figure").input_value() == "exact_match"


def test_the_difference_to_the_base_is_signed_and_the_base_has_none(page):
    page.goto("/")
    page.get_by_label("Show").select_option("difference")
    page.wait_for_url("**show=difference*")
    assert cell(page, "trails", MBT_R).inner_text() == "+0.250"
    assert cell(page, "wide", MBT_R).inner_text() == "+0.250"
    assert cell(page, "trails", MBT_S).inner_text().startswith("−0.300")
    assert cell(page, "trails", BASE).inner_text() == "base"


def test_fewer_tokens_are_shown_as_the_better_ones(page):
    page.goto("/?metric=mean_tokens")
    heat = "element => [element.style.getPropertyValue('--up'), element.style.getPropertyValue('--down')].map(Number)"
    up, down = cell(page, "trails", MBT_R).evaluate(heat)
    worst_up, _ = cell(page, "trails", BASE).evaluate(heat)
    assert up > worst_up == 0.0
    assert down == 0.0
    assert "less is better" in page.locator(".legend").inner_text()


def test_the_interval_shows_where_the_focus_comes_and_for_all_by_choice(page):
    page.goto("/")
    link = cell(page, "trails", MBT_R)
    tip = page.locator(f"#{link.get_attribute('aria-describedby')}")
    assert not tip.is_visible()
    link.focus()
    assert tip.is_visible()
    assert re.search(r"exact match: 0\.750, 95 % \[0\.\d{3}, 0\.\d{3}\]", tip.inner_text())
    page.get_by_label("intervals").check()
    page.wait_for_url("**intervals=1*")
    assert re.fullmatch(r"0\.750\s*\[0\.\d{3}, 0\.\d{3}\]", cell(page, "trails", MBT_R).inner_text())


def test_a_dataset_sorts_the_variants_and_the_first_column_undoes_it(page):
    page.goto("/")
    page.get_by_role("link", name="trails", exact=True).click()
    page.wait_for_url("**sort=trails*")
    shown = page.locator("tbody th[scope=row]").all_inner_texts()
    known = [name for name in shown if name in (BASE, MBT_R, MBT_S)]
    assert known == [MBT_R, BASE, MBT_S]
    assert page.locator("th[aria-sort=descending]").inner_text() == "trails"
    page.get_by_role("link", name="variant", exact=True).click()
    page.wait_for_url(lambda url: "sort" not in url)
    assert page.locator("th[aria-sort]").count() == 0


def test_variants_are_found_by_a_part_of_their_name(page):
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("MBT-R")
    page.keyboard.press("Enter")
    page.wait_for_url("**find=MBT-R*")
    page.wait_for_load_state()
    assert len(values(page)) == 2
    page.goto("/?find=no-such-name")
    assert "No variant's name holds “no-such-name”" in page.locator("main").inner_text()
    with page.expect_navigation():
        page.get_by_role("link", name="Show all").click()
    assert len(values(page)) > 2


def test_a_whole_choice_is_a_deep_link(page):
    page.goto("/?metric=f1&show=difference&intervals=1&find=mbt&sort=wide")
    assert page.get_by_label("Figure").input_value() == "f1"
    assert page.get_by_label("Show").input_value() == "difference"
    assert page.get_by_label("intervals").is_checked()
    assert page.get_by_label("Variants").input_value() == "mbt"
    assert page.locator("th[aria-sort]").inner_text() == "wide"
    # Changing one keeps the others.
    page.get_by_label("Figure").select_option("exact_match")
    page.wait_for_url("**metric=exact_match*")
    assert "sort=wide" in page.url and "find=mbt" in page.url and "show=difference" in page.url


def test_figures_are_called_as_in_print_and_those_of_own_sql_by_their_column(page):
    page.goto("/?metric=maj_2")
    assert page.locator("h1").inner_text() == "maj@2"
    offered = page.get_by_label("Figure").locator("option").all_inner_texts()
    assert {"exact match", "F1", "AES", "avg@1", "95th percentile of tokens", "scored levels (MQI)"} <= set(offered)
    assert [called(name) for name in ("pass_64", "own_measure")] == ["pass@64", "own measure"]


def test_wrong_choices_fall_back_to_the_usual_ones(web):
    reply = web.get("/?metric=no_such&show=nothing&sort=no_such&intervals=maybe")
    assert reply.status_code == 200
    assert "<h1>exact match</h1>" in reply.text


def test_what_is_looked_for_shows_as_text(web):
    reply = web.get('/?find="><script>alert(1)</script>')
    assert "<script>alert" not in reply.text
    assert "&lt;script&gt;" in reply.text
