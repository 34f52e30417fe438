"""The page of one rollout: its marks, its scores, and the way back."""

import re
from urllib.parse import quote

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from explored_rows import BASE, CONTROLS, HOSTILE_IDS, LONG_LINE, MBT_R, MBT_S, digest, question_id
from page_words import words_of

from partitions.grid import Node
from resources.lake import Provenance

RIGHT_LABEL, WRONG_LABEL = "✓ right", "✗ wrong"


def trace(number, rollout=1, variant=BASE, dataset="trails"):
    return f"/trace/{dataset}/{variant}/{quote(question_id(number), safe='')}/{rollout}"


def main(page):
    return page.locator("main").inner_text()


def row(page, name):
    return page.locator("tr", has=page.get_by_role("rowheader", name=name)).locator("td").all_inner_texts()


def test_the_judged_paragraphs_are_marked_and_labelled(page):
    page.goto(trace(12))
    paragraphs = page.locator(".paragraph")
    assert paragraphs.locator(".number").all_inner_texts() == ["1", "2", "3", "4", "5"]
    assert page.locator(".paragraph.derives").inner_text().split()[:4] == ["3", "derives", "the", "answer"]
    assert [text.split()[0] for text in page.locator(".paragraph.redundant").all_inner_texts()] == ["4", "5"]
    assert page.locator(".paragraph mark").all_inner_texts() == ["Castle 12"] * 3
    legend = page.locator(".legend").inner_text()
    assert "paragraph 3 of 5" in legend and "2 of 5 paragraphs" in legend


def test_the_link_of_the_legend_goes_to_the_paragraph(page):
    page.goto(trace(12))
    page.get_by_role("link", name="paragraph 3").click()
    assert page.url.endswith("#p3")
    assert page.locator("#p3").evaluate("element => element.matches(':target')")


def test_prediction_and_gold_stand_side_by_side_as_written_and_as_compared(page):
    page.goto(trace(1, variant=MBT_R))
    assert row(page, "prediction") == ["Castle 1", "castle 1"]
    assert row(page, "gold answer") == ["Castle 1", "castle 1"]
    assert row(page, "alias") == ["the old castle 1", "old castle 1"]
    assert RIGHT_LABEL in main(page)
    page.goto(trace(1))
    assert row(page, "prediction") == ["Mill", "mill"]
    assert WRONG_LABEL in main(page)


def test_phases_say_present_or_absent_in_words(web):
    text = words_of(web.get(trace(1, variant=MBT_R)))
    assert "1 understanding and filtering: present" in text
    assert "4 self-correction: absent" in text


def test_supporting_documents_and_sentences_are_told(web):
    text = words_of(web.get(trace(1)))
    first = "1 Milestone 1 supporting Milestone 1 is on the road. Beside it stands Castle 1 . (supporting sentence)"
    assert f"{first} 2 Distractor" in text
    assert text.count("(supporting sentence)") == 1


def test_each_judges_raw_reply_its_request_and_its_failure_are_there(page):
    page.goto(trace(1, variant=MBT_R))
    replies = page.locator("section", has=page.get_by_role("heading", name="What the judges said")).locator("details")
    assert replies.count() == 8
    rrp = replies.filter(has_text="RRP").first
    assert "derived in paragraph 3, 0 redundant; arrival" in rrp.locator("summary").inner_text()
    rrp.locator("summary").press("Enter")
    assert rrp.locator("pre").inner_text().startswith("ANSWER_PARAGRAPH_MARKER: [[M03]]")
    assert digest("rrp_scores", MBT_R, question_id(1), 1, "rule-judge") in rrp.inner_text()
    page.goto(trace(15))
    verdict = page.locator("details.reply", has_text="verdict").first
    assert "unparseable" in verdict.locator("summary").inner_text()
    verdict.locator("summary").click()
    assert "I cannot say. <script>alert(1)</script>" in verdict.locator("pre").inner_text()
    assert verdict.locator(".fault").is_visible()


def test_another_judge_is_an_address_of_its_own(page):
    page.goto(trace(12))
    redundant = page.locator(".paragraph.redundant .number")
    assert redundant.all_inner_texts() == ["4", "5"]
    page.get_by_label("Marks by the judge").select_option("second-judge")
    page.wait_for_url("**judge=second-judge")
    assert redundant.all_inner_texts() == ["5"]
    assert "1 of 5 paragraphs" in page.locator(".legend").inner_text()
    assert page.get_by_label("Marks by the judge").input_value() == "second-judge"
    page.get_by_role("link", name="next ›").click()
    page.wait_for_url("**/q12/2?judge=second-judge")
    page.go_back()
    page.go_back()
    page.wait_for_url("**/q12/1")
    assert page.get_by_label("Marks by the judge").input_value() == "rule-judge"


def test_the_way_back_names_request_prompt_checkpoint_and_training_rows(page, study_home):
    page.goto(trace(1, variant=MBT_R))
    text = main(page)
    stored = study_home.rows("validation_rollouts", f"trails|{MBT_R}")[0]
    assert stored["request_digest"] in text
    assert digest("weights", MBT_R) in text
    assert digest("weights", BASE) in text and "trained from" in text
    assert study_home.lake.stored(Node("training_sets", f"trails|{MBT_R}")).data_version in text
    assert "validation_questions[trails]" in text and "the same" in text
    prompt = page.locator("details", has_text="The prompt: template answer")
    assert "another template now" not in prompt.inner_text()
    prompt.locator("summary").click()
    assert "Question: Which castle stands at milestone 1?" in prompt.locator("pre").inner_text()
    page.get_by_role("link", name=re.compile("on questions of type")).click()
    page.wait_for_url(f"**/training/trails/{MBT_R}?type=bridge")
    assert "rows that fit" in main(page)


def test_other_answers_to_the_question_are_listed_and_linked(page):
    page.goto(trace(3))
    table = page.get_by_role("table", name="Scored rollouts of this question")
    # The scores of MBT-S are of other rollouts than those that are there: they are no answer to compare with.
    assert table.locator("tbody tr").count() == 4
    assert MBT_S not in table.inner_text()
    assert table.locator("tr[aria-current]").inner_text().startswith(f"{BASE} this one")
    table.get_by_role("link", name=MBT_R).first.click()
    page.wait_for_url(f"**{trace(3, variant=MBT_R)}")
    page.get_by_role("link", name=f"Side by side with {BASE}").click()
    page.wait_for_url(f"**/compare?dataset=trails&a={BASE}&b={MBT_R}&question=q03")


def test_no_link_leads_to_a_comparison_that_cannot_be_shown(own_home):
    from explored import served

    pages = (trace(3, variant=MBT_R), f"/cell/trails/{MBT_R}")
    with served(own_home.platform) as address:
        assert all(f"a={BASE}&amp;b={MBT_R}" in httpx2.get(address + path, timeout=60).text for path in pages)
    own_home.lake.path(Node("answer_scores", f"trails|{BASE}")).unlink()
    with served(own_home.platform) as address:
        for path in pages:
            reply = httpx2.get(address + path, timeout=60)
            assert reply.status_code == 200 and "/compare?dataset" not in reply.text


def test_keys_walk_through_the_list_that_it_was_opened_from(page):
    page.goto(trace(2) + "?answer=right")
    assert "of 20 (filtered)" in page.get_by_role("navigation", name="Rollouts of the list").inner_text()
    page.keyboard.press("n")
    page.wait_for_url("**/2?answer=right")
    page.keyboard.press("n")
    page.wait_for_url(lambda url: quote(question_id(4), safe="") in url and url.endswith("/1?answer=right"))
    page.keyboard.press("p")
    page.wait_for_url("**/2?answer=right")
    page.keyboard.press("u")
    page.wait_for_url(f"**/cell/trails/{BASE}?answer=right")
    page.go_back()
    page.wait_for_url("**/2?answer=right")


@pytest.mark.parametrize("number", HOSTILE_IDS)
def test_ids_that_addresses_take_for_something_else_are_found(web, number):
    reply = web.get(trace(number))
    assert reply.status_code == 200
    assert f"Which castle stands at milestone {number}?" in reply.text


def test_script_in_texts_is_text(page):
    page.goto(trace(2))
    assert "<script>alert(1)</script>" in page.locator("h1").inner_text()
    assert "<img src=x onerror=alert(2)>" in page.locator(".paragraph").first.inner_text()
    page.locator("details", has_text="The prompt").locator("summary").click()
    assert page.locator("script:not([src^='/static/'])").count() == 0
    assert page.locator("main img").count() == 0


def test_reversed_text_does_not_turn_what_follows_it(page):
    page.goto(trace(3))
    heading = page.locator("h1")
    assert "left ⟨U+202E⟩gnirts desrever⟨U+202C⟩ right" in heading.inner_text()
    assert "\u202e" not in page.content()
    # The last word stands to the right of the first, as in any text that is read from left to right.
    place = """(heading, word) => {
      const text = document.createTreeWalker(heading, NodeFilter.SHOW_TEXT).nextNode();
      const range = document.createRange();
      const start = text.data.indexOf(word);
      range.setStart(text, start);
      range.setEnd(text, start + word.length);
      return range.getBoundingClientRect().left;
    }"""
    assert heading.evaluate(place, "right") > heading.evaluate(place, "gnirts")


def test_controls_are_shown_by_their_pictures(page):
    page.goto(trace(5))
    assert "NUL ␀, escape ␛[31m, bell ␇" in page.locator(".paragraph").first.inner_text()
    assert CONTROLS not in page.content()


@pytest.mark.parametrize("query", ["", "?whole=1"])
def test_a_line_of_a_megabyte_does_not_widen_the_page(tab, query):
    page = tab(viewport={"width": 360, "height": 800})
    page.goto(trace(7) + query)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    shown = page.locator(".paragraph").first.text_content()
    assert (len(shown) > len(LONG_LINE)) == bool(query)
    if not query:
        assert "more characters" in shown
        page.get_by_role("link", name="Show all of it").click()
        page.wait_for_url("**whole=1")
        assert page.locator(".paragraph").count() == 5


def test_the_page_is_as_usable_in_the_dark_and_narrow(tab):
    page = tab(viewport={"width": 360, "height": 800}, color_scheme="dark")
    page.goto(trace(12))
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    light = tab(viewport={"width": 360, "height": 800}, color_scheme="light")
    light.goto(trace(12))
    colour = "element => getComputedStyle(element).backgroundColor"
    for marked in (".paragraph.derives", ".paragraph.redundant", "mark"):
        assert page.locator(marked).first.evaluate(colour) != light.locator(marked).first.evaluate(colour)


def test_a_failed_request_says_so_and_has_no_trace(web):
    text = words_of(web.get(trace(9, 2)))
    assert "The request failed after 3 attempts, so there is no trace: http_500: the server broke down" in text
    assert "There is no reasoning." in text
    assert f"{WRONG_LABEL} failed easy" in text


@pytest.mark.parametrize(("number", "flags"), [(11, "degenerate looping truncated"), (13, "empty reasoning")])
def test_what_is_wrong_with_a_rollout_stands_at_its_head(web, number, flags):
    assert f"{WRONG_LABEL} {flags}" in words_of(web.get(trace(number, 2)))


def test_scores_of_other_rollouts_are_left_out_and_told(web):
    reply = web.get(trace(5, variant=MBT_S))
    assert "Scores of other rollouts than these are left out" in words_of(reply)
    assert "not scored" in words_of(reply) and "stale" in words_of(reply)
    assert 'class="badge derives"' not in reply.text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (trace(1, 9), "has no rollout 9 of question"),
        (f"/trace/trails/{BASE}/no-such/1", "has no rollout 1 of question"),
        (f"/trace/wide/{MBT_S}/q01/1", "there is no validation_rollouts of wide|tiny__mbt-s yet: materialize it"),
        ("/trace/nowhere/nobody/q01/1", "the study has no cell nowhere|nobody"),
        (f"/trace/trails/{BASE}/q01/{10**30}", "has no rollout"),
        ("/trace/..%2f..%2fetc/passwd/q01/1", "the study has no cell"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_do(web, path, message):
    reply = web.get(path)
    assert reply.status_code == 404
    assert message in reply.text


@pytest.fixture(scope="module")
def changed(study_home, tmp_path_factory):
    """The study with one cell imported, one asked with another template, and one whose texts are no UTF-8."""
    from explored import copy_of, served

    home = copy_of(study_home, tmp_path_factory.mktemp("changed") / "home")
    imported = Node("validation_rollouts", f"trails|{MBT_R}")
    source = "imported:their <b>rollouts</b>.jsonl:sha256:abc"
    home.lake.write(imported, home.lake.read(imported), Provenance("by-hand", {}, {}, source=source))
    key = f"trails|{BASE}"
    home.put(imported.asset, key, [{**r, "prompt_digest": "0" * 64} for r in home.rows(imported.asset, key)])
    path = str(home.lake.path(Node("validation_rollouts", f"wide|{BASE}")))
    file = pq.ParquetFile(path)
    rows = file.read().replace_schema_metadata(file.metadata.metadata)
    broken = pa.array([b"\xff\xfe broken"] * rows.num_rows, pa.binary()).view(pa.string())
    pq.write_table(rows.set_column(rows.schema.get_field_index("reasoning"), "reasoning", broken), path)
    with served(home.platform) as address, httpx2.Client(base_url=address, timeout=30) as client:
        yield client


def test_imported_rollouts_have_no_request_and_say_where_they_are_from(changed):
    text = words_of(changed.get(trace(1, variant=MBT_R)))
    assert "imported:their <b>rollouts</b>.jsonl" in text
    assert "there is no request" in text
    assert "The prompt: template" not in text


def test_another_template_now_is_told(changed):
    text = words_of(changed.get(trace(1)))
    assert "another template now" in text
    assert "what follows is what it makes now, not what was sent" in text


def test_text_that_is_no_utf8_is_one_clear_error_and_other_cells_are_shown(changed):
    reply = changed.get(trace(1, dataset="wide"))
    assert reply.status_code == 400
    assert re.search(rf'Parquet file ".*variant={BASE}/rows.parquet": value .* is not valid UTF8', words_of(reply))
    assert "Delete this file and materialize its partition again" in words_of(reply)
    assert changed.get(trace(1, variant=MBT_R, dataset="wide")).status_code == 200
