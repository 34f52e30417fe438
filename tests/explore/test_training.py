"""The pages of what students were trained on: sets, rows, and a draft beside what was made of it."""

from urllib.parse import quote

import httpx2
import pytest
from explored_rows import BASE, MBT_R, MBT_S, digest
from page_words import words_of

from partitions.grid import Node


def row(number, rollout=1, trace=1, variant=MBT_R):
    return f"/training/trails/{variant}/{quote(f'train/{number}', safe='')}/{rollout}/{trace}"


def test_every_training_set_tells_its_source_its_state_and_its_checkpoint(web):
    text = words_of(web.get("/training"))
    made = f"trails 6 rewritten_traces[trails|{MBT_R}] 6 rows fresh {digest('weights', MBT_R)[:12]}…"
    assert f"{MBT_R} SFT on the student's traces, rewritten by the teacher into five phases {made}" in text
    assert "trails 3 synthesized_traces[trails|rule-teacher__mbt-s] 3 rows fresh" in text


def test_from_the_sets_to_a_row_and_back_by_keys(page):
    page.goto("/training")
    page.get_by_role("link", name=MBT_R).click()
    page.wait_for_url(f"**/training/trails/{MBT_R}")
    assert page.locator("[data-row]").count() == 6
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{row(1)}")
    page.keyboard.press("n")
    page.wait_for_url(f"**{row(1, 2)}")
    page.keyboard.press("u")
    page.wait_for_url(f"**/training/trails/{MBT_R}")
    page.go_back()
    page.wait_for_url(f"**{row(1, 2)}")


def test_rows_are_filtered_searched_and_sorted_by_their_address(page):
    page.goto(f"/training/trails/{MBT_R}")
    page.get_by_label("Type").select_option("comparison")
    page.wait_for_url("**type=comparison*")
    assert page.locator("[data-row]").count() == 2
    page.goto(f"/training/trails/{MBT_R}")
    page.keyboard.press("/")
    page.keyboard.type("CASTLE 3")
    page.keyboard.press("Enter")
    page.wait_for_url("**find=CASTLE+3*")
    assert "2 rows that fit" in page.locator("main").inner_text()
    page.get_by_role("link", name="characters").click()
    page.wait_for_url("**sort=characters*")
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("characters")


def test_draft_and_trace_stand_side_by_side_with_what_differs_marked(page):
    page.goto(row(1))
    draft, rewritten = page.locator(".beside.even > section").all()
    assert draft.bounding_box()["y"] == rewritten.bounding_box()["y"]
    # The draft took the mill; the rewritten trace comes to the castle, and does not check a second time.
    assert any("Mill" in text for text in draft.locator("del").all_inner_texts())
    assert draft.locator("ins").count() == 0
    assert any("Castle 1" in text for text in rewritten.locator("ins").all_inner_texts())
    assert rewritten.locator("del").count() == 0
    assert "✗ wrong" in draft.locator("h3").inner_text()
    assert "words of the draft are kept" in page.locator("main").inner_text()


def test_one_key_shows_both_in_one_text_and_the_address_keeps_it(page):
    page.goto(row(1))
    page.keyboard.press("v")
    page.wait_for_url("**view=inline")
    assert page.locator(".wording del").count() and page.locator(".wording ins").count()
    page.keyboard.press("n")
    page.wait_for_url(f"**{row(1, 2)}?view=inline")
    page.keyboard.press("v")
    page.wait_for_url(f"**{row(1, 2)}")


def test_a_row_shows_what_it_was_made_from(web, study_home):
    text = words_of(web.get(row(2)))
    taught, drafted = digest("taught", 2), digest("draft", 2, 0)
    assert text.count(taught) == 2 and drafted in text
    assert "Milestone 2, hence Castle 2." in text
    assert digest("weights", BASE) in text
    stored = next(r for r in study_home.rows("training_sets", f"trails|{MBT_R}") if r["question_id"] == "train/2")
    assert " ".join(stored["completion"].split()) in text
    assert "What the teacher was asked: template mbt_r" in text
    assert "STUDENT'S DRAFT" in text


def test_script_in_texts_is_text(page):
    page.goto(row(2))
    assert "<script>alert(1)</script>" in page.locator(".wording").nth(1).inner_text()
    assert page.locator("main script, main img").count() == 0


def test_synthesized_traces_say_that_there_is_no_draft(web):
    text = words_of(web.get(row(1, 0, 0, MBT_S)))
    assert "The teacher wrote it from the question alone: there is no draft." in text
    assert "template mbt_s" in text


@pytest.fixture(scope="module")
def changed(study_home, tmp_path_factory):
    """The study after drafts were made anew, one set has lost a row, and another's source is gone."""
    from explored import copy_of, served

    home = copy_of(study_home, tmp_path_factory.mktemp("changed") / "home")
    drafts, trained = f"trails|{BASE}", f"trails|{MBT_R}"
    home.put("train_rollouts", drafts, [{**r, "latency_ms": 1.0} for r in home.rows("train_rollouts", drafts)])
    home.put("training_sets", trained, list(home.rows("training_sets", trained))[:-1])
    home.lake.path(Node("synthesized_traces", "trails|rule-teacher__mbt-s")).unlink()
    with served(home.platform) as address, httpx2.Client(base_url=address, timeout=30) as client:
        yield client


def test_sources_that_were_made_anew_since_are_told(changed):
    text = words_of(changed.get(row(1)))
    assert "Made anew since: train rollouts. What is shown of them may not be what this row was made from." in text
    assert "not as it was sent" in text


def test_a_checkpoint_of_other_rows_is_told(changed):
    assert "trained on other rows" in words_of(changed.get("/training"))
    text = words_of(changed.get(f"/trace/trails/{MBT_R}/q01/1"))
    assert "5 rows" in text and "made anew since the training" in text


def test_a_set_of_what_has_changed_is_stale(changed):
    assert f"stale rewritten_traces[trails|{MBT_R}] is stale" in words_of(changed.get("/training"))


def test_a_source_that_is_gone_leaves_what_was_trained_on(changed):
    reply = changed.get(row(1, 0, 0, MBT_S))
    assert reply.status_code == 200
    assert "holds it no more" in words_of(reply)
    assert "Completion," in words_of(reply)


def test_questions_that_are_not_stored_leave_the_rows_and_are_told(own_home):
    from explored import served

    own_home.lake.path(Node("train_questions", "trails")).unlink()
    with served(own_home.platform) as address, httpx2.Client(base_url=address, timeout=30) as client:
        text = words_of(client.get(f"/training/trails/{MBT_R}"))
        assert "6 rows" in text and "train/3" in text
        assert "The questions are not stored" in text and "train_questions of trails" in text
        assert "2 rows that fit" in words_of(client.get(f"/training/trails/{MBT_R}?find=train/2"))
        assert client.get(row(1)).status_code == 200
        trace = client.get(f"/trace/trails/{MBT_R}/q01/1")
        assert trace.status_code == 200
        assert "6 rows; which of them are on questions like this one is not known" in words_of(trace)


def test_a_page_past_the_end_is_the_last_one(web):
    text = words_of(web.get(f"/training/trails/{MBT_R}?page=99"))
    assert "6 rows" in text and "Which castle stands at milestone 3?" in text


def test_a_narrow_window_shows_one_text_below_the_other(tab):
    page = tab(viewport={"width": 360, "height": 800}, color_scheme="dark")
    for path in ("/training", f"/training/trails/{MBT_R}", row(1), row(1) + "?view=inline"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"/training/trails/{BASE}", "the study has no training set trails|tiny__base: /training lists those"),
        (f"/training/nowhere/{MBT_R}", "the study has no training set nowhere|tiny__mbt-r"),
        (row(1, 9), "has no row of question 'train/1', rollout 9, trace 1"),
        (row(1, 10**30), "has no row of question"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_do(web, path, message):
    reply = web.get(path)
    assert reply.status_code == 404
    assert message in words_of(reply)


@pytest.mark.parametrize("query", ["sort=x", "order=up", "page=x", "page=-4", "find=%00", "type="])
def test_wrong_choices_are_as_if_they_were_not_made(web, query):
    assert "6 rows" in words_of(web.get(f"/training/trails/{MBT_R}?{query}"))
