"""The page of two variants: who is right where, and both on one question side by side."""

import re
from urllib.parse import quote

import httpx2
import pytest
from explored_rows import BASE, HOSTILE_IDS, MBT_R, MBT_S, question_id
from page_words import words_of

from partitions.grid import Node

PAIR = f"/compare?dataset=trails&a={BASE}&b={MBT_R}"


def listed(reply):
    """Numbers of the questions in the list, in order."""
    return [int(n) for n in re.findall(r"Which castle stands at milestone (\d+)\?", reply.text)]


def test_the_fourfold_table_counts_questions_by_who_is_right(web):
    # The base is right on even numbers, MBT-R on all but every fourth.
    text = words_of(web.get(PAIR))
    assert "20 questions that both have answered" in text
    assert "a right 5 5" in text
    assert "a wrong 10 0" in text
    assert "gained 10 : b is right more often than a" in text and "lost 5 : less often" in text
    assert "exact match 0.500 0.750 +0.250" in text
    assert "response tokens 305 152.5 × 0.500" in text


def test_only_the_dataset_is_needed_the_base_is_what_others_are_compared_with(web):
    text = words_of(web.get("/compare?dataset=wide"))
    assert f"a {BASE} and b {MBT_R} on wide" in text
    assert "4 questions that both have answered" in text
    assert web.get("/compare").status_code == 200


@pytest.mark.parametrize(
    ("show", "numbers"),
    [
        ("gained", set(range(1, 20, 2))),
        ("lost", set(range(4, 21, 4))),
        ("shorter", set(range(1, 21))),
        ("longer", set()),
    ],
)
def test_the_list_is_cut_to_questions_that_differ_in_one_way(web, show, numbers):
    assert set(listed(web.get(f"{PAIR}&show={show}"))) == numbers


def test_questions_on_which_the_judge_differs_are_those_with_two_verdicts(web):
    # The judge agrees with the exact match, and has said nothing of question 15.
    assert set(listed(web.get(f"{PAIR}&show=judge"))) == {n for n in range(1, 21) if n % 2 or n % 4 == 0} - {15}


def test_those_that_differ_most_come_first(web):
    numbers = listed(web.get(PAIR))
    assert len(numbers) == 20
    assert set(numbers[:15]) == {n for n in range(1, 21) if n % 2 or n % 4 == 0}


def test_a_column_sorts_one_way_and_then_the_other_and_back_undoes_it(page):
    page.goto(PAIR)
    page.get_by_role("link", name="tokens a").click()
    page.wait_for_url("**sort=tokens_a")
    assert page.locator("th[aria-sort=descending]").inner_text() == "tokens a"
    assert "milestone 20?" in page.locator("[data-row]").first.inner_text()
    page.get_by_role("link", name="tokens a").click()
    page.wait_for_url("**order=asc")
    assert "milestone 1?" in page.locator("[data-row]").first.inner_text()
    page.go_back()
    page.wait_for_url("**sort=tokens_a")
    assert "milestone 20?" in page.locator("[data-row]").first.inner_text()


def test_choices_and_search_make_an_address_that_leads_back_to_them(page):
    page.goto(PAIR)
    page.get_by_label("Which questions").select_option("gained")
    page.wait_for_url("**show=gained*")
    page.keyboard.press("/")
    page.keyboard.type("MILESTONE 1")
    page.keyboard.press("Enter")
    page.wait_for_url("**find=MILESTONE+1*")
    assert page.locator("[data-row]").count() == 6
    page.goto(page.url)
    assert page.get_by_label("Which questions").input_value() == "gained"
    assert page.get_by_label("Text of the question").input_value() == "MILESTONE 1"
    page.get_by_label("Variant b").select_option(BASE)
    page.wait_for_url(f"**b={BASE}*")
    assert "No question is like that." in page.locator("main").inner_text()


def test_keys_open_a_question_and_walk_on_through_the_list(page):
    page.goto(f"{PAIR}&show=lost")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**question=*")
    steps = page.get_by_role("navigation", name="Questions of the list")
    assert "1 of 5 (lost)" in steps.inner_text()
    with page.expect_navigation():
        page.keyboard.press("n")
    assert "2 of 5" in steps.inner_text()
    with page.expect_navigation():
        page.keyboard.press("p")
    assert "1 of 5" in steps.inner_text()
    page.keyboard.press("u")
    page.wait_for_url(f"**{PAIR}&show=lost")


def test_both_traces_stand_side_by_side_with_the_same_marks(page):
    page.goto(f"{PAIR}&question=q12")
    a, b = page.locator(".beside.even > section").all()
    assert a.bounding_box()["y"] == b.bounding_box()["y"]
    assert (a.locator(".paragraph").count(), b.locator(".paragraph").count()) == (5, 4)
    assert a.locator(".paragraph.derives .number").inner_text() == "3"
    assert b.locator(".paragraph.derives").count() == 0
    assert "✓ right" in a.inner_text() and "✗ wrong" in b.inner_text()
    assert "prediction\nCastle 12" in a.inner_text() and "prediction\nMill" in b.inner_text()
    b.get_by_role("link", name="2", exact=True).click()
    page.wait_for_url("**rollout_b=2")
    page.locator(".beside.even > section").nth(1).get_by_role("link", name="all about this rollout").click()
    page.wait_for_url(f"**/trace/trails/{MBT_R}/q12/2")


def test_in_a_narrow_window_one_trace_follows_the_other(tab):
    page = tab(viewport={"width": 360, "height": 800})
    for path in (PAIR, f"{PAIR}&question=q07"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    a, b = page.locator(".beside.even > section").all()
    assert b.bounding_box()["y"] >= a.bounding_box()["y"] + a.bounding_box()["height"]


@pytest.mark.parametrize("number", HOSTILE_IDS)
def test_ids_that_addresses_take_for_something_else_are_found(web, number):
    reply = web.get(f"{PAIR}&question={quote(question_id(number), safe='')}")
    assert reply.status_code == 200
    assert "<script>alert" not in reply.text and "<b>bold" not in reply.text
    assert f"Which castle stands at milestone {number}?" in reply.text


def test_scores_of_other_rollouts_are_told(web):
    text = words_of(web.get(f"/compare?dataset=trails&a={BASE}&b={MBT_S}"))
    assert f"The scores of {MBT_S} were made of other rollouts than those that are there now" in text


def test_questions_that_one_alone_has_answered_are_left_out_and_counted(own_home):
    from explored import served

    key = f"trails|{MBT_R}"
    own_home.put("answer_scores", key, list(own_home.rows("answer_scores", key))[:10])
    with served(own_home.platform) as address:
        text = words_of(httpx2.get(f"{address}{PAIR}", timeout=60))
    assert "5 questions that both have answered" in text
    assert "Left out: 15 questions that a alone has answered, 0 that b alone has." in text


DRAWS = {1: ("00", "10"), 2: ("11", "10"), 3: ("10", "11"), 4: ("10", "00"), 5: ("01", "10"), 6: ("00", "00")}
DRAWS |= {7: ("00", "11")}
"""By question, whether the first and the second rollout of the base and of MBT-R are right."""


@pytest.fixture(scope="module")
def mixed(study_home, tmp_path_factory):
    """The study where few questions have scores, of which the rollouts of one question differ."""
    from explored import copy_of, served

    home = copy_of(study_home, tmp_path_factory.mktemp("mixed") / "home")
    number_of = {question_id(number): number for number in DRAWS}
    for side, variant in enumerate((BASE, MBT_R)):
        rows = [row for row in home.rows("answer_scores", f"trails|{variant}") if row["question_id"] in number_of]
        drawn = [float(DRAWS[number_of[row["question_id"]]][side][row["rollout_id"] - 1]) for row in rows]
        kept = [{**row, "exact_match": em} for row, em in zip(rows, drawn, strict=True)]
        home.put("answer_scores", f"trails|{variant}", kept)
    with served(home.platform) as address, httpx2.Client(base_url=address, timeout=30) as client:
        yield client


def test_of_several_rollouts_half_make_a_question_right_and_any_more_or_fewer_gained_or_lost(mixed):
    text = words_of(mixed.get(PAIR))
    assert "7 questions that both have answered" in text
    assert "right where at least half of the rollouts are" in text
    # Both on 2, 3, 5; the base alone on 4; MBT-R alone on 1 and 7; neither on 6.
    assert "a right 3 1" in text and "a wrong 2 1" in text
    assert "gained 3 : b is right more often than a in its rollouts" in text and "lost 2 : less often" in text
    # Of seven, 0 + 1 + ½ + ½ + ½ + 0 + 0 and ½ + ½ + 1 + 0 + ½ + 0 + 1.
    assert "exact match 0.357 0.500 +0.143" in text


@pytest.mark.parametrize(("show", "numbers"), [("gained", {1, 3, 7}), ("lost", {2, 4}), ("all", set(DRAWS))])
def test_the_lists_of_gained_and_lost_compare_the_shares_of_right_rollouts(mixed, show, numbers):
    reply = mixed.get(f"{PAIR}&show={show}")
    assert set(listed(reply)) == numbers
    badges = re.findall(r'class="badge (?:right|wrong)">(gained|lost)</span></td>', reply.text)
    assert badges.count("gained") == len(numbers & {1, 3, 7}) and badges.count("lost") == len(numbers & {2, 4})
    assert listed(mixed.get(f"{PAIR}&sort=differ"))[0] == 7


def test_questions_that_are_not_stored_are_listed_by_their_ids(own_home):
    from explored import served

    own_home.lake.path(Node("validation_questions", "trails")).unlink()
    with served(own_home.platform) as address, httpx2.Client(base_url=address, timeout=30) as client:
        text = words_of(client.get(PAIR))
        assert "The questions are not stored" in text and "validation_questions of trails" in text
        assert "20 questions that both have answered" in text and "a right 5 5" in text
        assert "q12" in text and question_id(2) in text
        assert client.get(f"{PAIR}&question=q12").status_code == 200


def test_a_page_past_the_end_is_the_last_one(web, monkeypatch):
    assert len(listed(web.get(f"{PAIR}&page=99"))) == 20
    monkeypatch.setattr("mbt_assets.explore.differences.PER_PAGE", 8)
    monkeypatch.setattr("mbt_assets.explore.compare.PER_PAGE", 8)
    last = web.get(f"{PAIR}&sort=tokens_a&order=asc&page=99")
    assert listed(last) == [17, 18, 19, 20]
    assert listed(web.get(f"{PAIR}&sort=tokens_a&order=asc&page=2")) == list(range(9, 17))
    assert "3 of 3" in words_of(last)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("dataset=nowhere", "the study has no dataset 'nowhere': choose one of trails, wide"),
        ("dataset=trails&a=nobody", "the study has no variant 'nobody'"),
        (f"dataset=wide&b={MBT_S}", "has no answer_scores on wide yet: materialize them"),
        (f"dataset=trails&a={BASE}&b={MBT_R}&question=no-such", "has answered a question 'no-such' of trails"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_do(web, query, message):
    reply = web.get(f"/compare?{query}")
    assert reply.status_code == 404
    assert message in words_of(reply)


@pytest.mark.parametrize("query", ["show=x", "sort=drop+table", "order=up", "page=-1", "page=x", "tier=z", "find=%00"])
def test_wrong_choices_are_as_if_they_were_not_made(web, query):
    assert len(listed(web.get(f"{PAIR}&{query}"))) == 20
