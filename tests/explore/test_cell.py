"""The page of one cell: its figures, what went wrong, how it stands, and the list with its filters."""

import html
import re

import httpx2
import pytest
from explored_rows import BASE, MBT_R, MBT_S, question_id

from mbt_assets.explore.cell import PAGE

CELL = f"/cell/trails/{MBT_R}"
OF_BASE = f"/cell/trails/{BASE}"


def words_of(reply):
    """The text of a page's content, without what marks it up."""
    content = reply.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", content)).split())


def rows(page):
    return page.locator("tbody.rows tr")


def count(page):
    return page.locator("#left").inner_text()


def column(page, number):
    """Texts of a column of the list, from 1."""
    return page.locator(f"tbody.rows tr > :nth-child({number})").all_inner_texts()


def test_figures_stand_with_their_intervals_and_the_difference_to_the_base(web):
    text = words_of(web.get(CELL))
    assert re.search(r"exact match 0\.750 \[0\.\d+, 0\.\d+\] base 0\.500: \+0\.250 \[[-−+\d., ]+\]", text)
    assert "mean tokens 152.5" in text
    assert "Mean over 20 questions with 40 rollouts" in text
    assert "base 0" not in words_of(web.get(OF_BASE)).partition("Figures")[2].partition("Failed or cut off")[0]


def test_the_checkpoint_that_answered_is_told(web):
    assert "Checkpoint registered now:" in words_of(web.get(CELL))
    assert "The rollouts are of these very weights." in words_of(web.get(CELL))


def test_a_checkpoint_that_changed_since_is_told(own_home):
    from explored import served

    [row] = own_home.rows("checkpoints", MBT_R)
    own_home.put("checkpoints", MBT_R, [{**row, "digest": "f" * 64}])
    with served(own_home.platform) as address:
        text = words_of(httpx2.get(f"{address}{CELL}", timeout=60))
    assert "changed The rollouts are of other weights" in text
    assert "This cell is stale" in text


def test_what_went_wrong_is_counted_by_kind_and_by_score(web):
    text = words_of(web.get(OF_BASE))
    assert "request failed: http_500 1 2.5%" in text
    assert "truncated: the server stopped for length 1 2.5%" in text
    assert "no reasoning 1 2.5%" in text
    assert re.search(r"judge scored unparseable failed verdict 37 2 1", text)


def test_a_count_of_failures_leads_to_those_rollouts(page):
    page.goto(OF_BASE)
    page.get_by_role("rowheader", name="no reasoning").locator("xpath=..").get_by_role("link").click()
    page.wait_for_url("**kind=empty_reasoning**")
    assert count(page) == "1 of 40 rollouts"
    assert "no reasoning" in rows(page).inner_text()


def test_figures_by_difficulty(web):
    text = words_of(web.get(CELL)).partition("By difficulty")[2]
    assert text.startswith(
        " Figures with 95 % intervals by difficulty of the question figure all easy medium hard exact match 0.750 ["
    )


def test_the_distributions_say_in_words_what_they_draw(web):
    text = words_of(web.get(CELL)).partition("Distributions Of the 40 rollouts")[2]
    assert "right: 30, median" in text
    assert "(base: 20, median" in text
    assert "4 self-correction: 0% (base: 0%)" in text
    assert "3 execution and monitoring: 100% (base: 100%)" in text


def test_a_stale_cell_says_so_and_leaves_scores_of_other_rollouts_out(web):
    text = words_of(web.get(f"/cell/trails/{MBT_S}"))
    assert "This cell is stale: " in text
    assert "made of other rollouts than those that are there now" in text
    assert "40 rollouts" in text
    assert "✓ right" not in text


def test_a_missing_cell_says_what_to_do(web):
    reply = web.get(f"/cell/wide/{MBT_S}")
    assert reply.status_code == 200
    text = words_of(reply)
    assert "This cell is missing: never made . To make it, materialize the partition wide|tiny__mbt-s" in text
    assert "No rollouts yet" in text


def test_a_cell_that_the_study_does_not_have_is_not_found(web):
    for address in ("/cell/trails/tiny__grpo", "/cell/nowhere/tiny__base", "/cell/%3Cb%3E/%22"):
        reply = web.get(address)
        assert reply.status_code == 404
        assert "the study has no cell" in words_of(reply)
    assert web.get(f"/cell/wide/{MBT_S}/rows").status_code == 404


@pytest.mark.parametrize(
    "query", ["answer=perhaps", "sort=no-such", "row=-5", "row=99999999999999999999", "tier=1 OR 1=1", "from=x"]
)
def test_filters_that_do_not_exist_are_left_aside(web, query):
    assert "40 rollouts" in words_of(web.get(f"{CELL}?{query}"))
    assert web.get(f"{CELL}/rows?{query}").status_code == 200


def test_texts_of_the_data_stay_texts(web):
    page = web.get(OF_BASE).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page
    assert "⟨U+202E⟩" in page
    assert web.get(f"{OF_BASE}?find=%3Cscript%3Ealert").text.count('data-place="') == 2


def test_each_row_leads_to_its_trace_whatever_the_question_is_called(web):
    links = re.findall(r'data-row[^>]*? href="([^"]+)"', web.get(f"{OF_BASE}/rows?count=500&answer=right").text)
    assert len(links) == 20
    for link in links:
        reply = web.get(html.unescape(link))
        assert reply.status_code == 200
        assert "of 20 (filtered)" in words_of(reply)


def test_parts_of_the_list_can_be_asked_for(web):
    part = web.get(f"{CELL}/rows?from=5&count=3&sort=-tokens")
    assert re.findall(r'data-place="(\d+)"', part.text) == ["5", "6", "7"]
    assert re.findall(r'aria-rowindex="(\d+)"', part.text) == ["7", "8", "9"]
    assert web.get(f"{CELL}/rows?from=400").text.strip() == ""


def test_without_scripts_filters_and_pages_are_addresses(browser, explorer, monkeypatch):
    monkeypatch.setattr("mbt_assets.explore.cell.PAGE", 15)
    context = browser.new_context(base_url=explorer, java_script_enabled=False)
    page = context.new_page()
    page.goto(CELL)
    assert rows(page).count() == 15
    page.get_by_role("link", name="later rows").click()
    assert page.locator("tbody.rows tr").first.get_attribute("data-place") == "15"
    page.get_by_role("link", name="earlier rows").click()
    page.locator("select[name=answer]").select_option("wrong")
    page.get_by_role("button", name="Show", exact=True).click()
    assert count(page) == "10 of 40 rollouts"
    context.close()
    assert PAGE == 100


def test_a_filter_changes_the_list_in_place_and_back_undoes_it(page):
    page.goto(CELL)
    page.locator("select[name=answer]").focus()
    page.locator("select[name=answer]").select_option("wrong")
    page.wait_for_function("() => document.getElementById('left')?.textContent.startsWith('10 of 40')")
    assert page.url.endswith("?answer=wrong")
    assert set(column(page, 4)) == {"✗ wrong"}
    # The choice keeps the focus, and what a screen reader hears is how many are left.
    assert page.evaluate("document.activeElement.name") == "answer"
    assert page.locator("#said").inner_text() == "10 of 40 rollouts"
    page.go_back()
    page.wait_for_function("() => document.getElementById('left')?.textContent.startsWith('40 ')")
    assert page.locator("select[name=answer]").input_value() == ""


def test_the_distributions_follow_the_filter(page):
    page.goto(CELL)
    page.locator("select[name=answer]").select_option("wrong")
    page.wait_for_function("() => document.getElementById('drawn')?.textContent.includes('Of the 10 rollouts')")
    assert "wrong: 10, median" in page.locator("#drawn").inner_text()


def test_search_finds_words_of_traces(page):
    page.goto(OF_BASE)
    page.keyboard.press("/")
    page.keyboard.type("Same WORDS here")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.getElementById('left')?.textContent.startsWith('1 of 40')")
    assert "truncated" in rows(page).inner_text()
    page.get_by_role("link", name="Show all").click()
    page.wait_for_function("() => document.getElementById('left')?.textContent.startsWith('40 ')")
    assert page.get_by_label("Search").input_value() == ""


def test_headings_sort_up_down_and_not_at_all(page):
    page.goto(CELL)
    for order, first in (("ascending", "105"), ("descending", "200"), (None, "105")):
        page.get_by_role("columnheader", name="tokens").get_by_role("link").click()
        wanted = f"th[aria-sort='{order}']" if order else ".rollouts thead:not(:has(th[aria-sort]))"
        page.locator(wanted).first.wait_for()
        assert column(page, 7)[0] == first
        assert page.evaluate("document.activeElement.textContent") == "tokens"


def test_a_filtered_and_sorted_list_has_an_address(page):
    page.goto(f"{CELL}?tier=easy&sort=-tokens&answer=right")
    assert count(page) == "10 of 40 rollouts"
    assert page.locator("select[name=tier]").input_value() == "easy"
    tokens = [int(text) for text in column(page, 7)]
    assert tokens == sorted(tokens, reverse=True)


def test_nothing_left_is_told(page):
    page.goto(f"{CELL}?find=no such words anywhere")
    assert count(page) == "0 of 40 rollouts"
    assert "No rollout is left by these filters." in page.locator(".rollouts").inner_text()
    assert "Nothing to draw." in page.locator("#drawn").inner_text()


def test_keys_lead_to_the_next_cell_and_up_to_the_grid(page):
    page.goto(OF_BASE)
    page.keyboard.press("n")
    page.wait_for_url(f"**/cell/trails/{MBT_S}")
    page.keyboard.press("p")
    page.wait_for_url(f"**{OF_BASE}")
    page.keyboard.press("u")
    page.wait_for_url(re.compile("/$"))


def test_a_row_opens_its_trace_by_key_and_by_click_and_back_returns_to_it(page):
    page.goto(f"{OF_BASE}?answer=right")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/trace/trails/**")
    assert "2 of 20 (filtered)" in page.locator("main").inner_text()
    page.go_back()
    page.wait_for_function("() => document.activeElement.closest('tr')?.dataset.place === '1'")
    rows(page).nth(3).locator("td").nth(3).click()
    page.wait_for_url("**/trace/trails/**")
    assert question_id(4).split()[0] in page.title()


def test_a_narrow_window_scrolls_the_list_and_not_the_page(tab):
    page = tab(viewport={"width": 360, "height": 740})
    page.goto(OF_BASE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(".rollouts").evaluate("box => box.scrollWidth > box.clientWidth")
