"""The list of a cell with thousands of rollouts: few rows stand in the page, and all of them can be reached."""

import shutil

import pytest
from explored_rows import MBT_S, question, rollout

COUNT = 6000
CELL = f"/cell/wide/{MBT_S}"


@pytest.fixture(scope="module")
def explorer(study_home, tmp_path_factory):
    """The explorer over a copy of the study in which one more cell has many rollouts, and no scores."""
    from explored import Explored, served

    root = tmp_path_factory.mktemp("long")
    shutil.copytree(study_home.platform.home.root, root / "home", symlinks=True)
    home = Explored(root / "home")
    asked = question("wide", 1)
    one = {**rollout(home.study, asked, MBT_S, 1), "reasoning": "short", "response": "short"}
    rows = [{**one, "rollout_id": draw + 1, "completion_tokens": draw} for draw in range(COUNT)]
    home.put("validation_rollouts", f"wide|{MBT_S}", rows)
    with served(home.platform) as address:
        yield address


def places(page):
    return page.locator("tbody.rows tr").evaluate_all("rows => rows.map((row) => Number(row.dataset.place))")


def focused(page, place):
    page.wait_for_function(f"() => document.activeElement.closest('tr')?.dataset.place === '{place}'")


def seen(page, place):
    """Waits until a row stands within the part of the list that is seen."""
    page.wait_for_function(
        """(place) => {
            const row = document.querySelector(`tr[data-place="${place}"]`)?.getBoundingClientRect();
            const box = document.querySelector(".rollouts").getBoundingClientRect();
            return row && row.top >= box.top && row.bottom <= box.bottom + 1;
        }""",
        arg=place,
    )


def test_few_rows_stand_in_the_page_and_the_list_is_as_high_as_all(page):
    page.goto(CELL)
    table = page.locator(".rollouts table")
    assert table.get_attribute("aria-rowcount") == str(COUNT + 1)
    page.wait_for_function("() => document.querySelectorAll('tbody.rows tr').length < 100")
    height = page.locator(".rollouts").evaluate("box => box.scrollHeight")
    row = page.locator("tbody.rows tr").first.evaluate("row => row.getBoundingClientRect().height")
    assert abs(height - row * COUNT) < row * 3


def test_scrolling_fetches_what_is_seen_and_keeps_the_place_in_the_address(page):
    page.goto(CELL)
    page.locator(".rollouts").evaluate("box => box.scrollTop = box.scrollHeight / 2")
    seen(page, COUNT // 2 + 5)
    assert len(places(page)) < 100
    page.wait_for_function("() => new URL(location.href).searchParams.get('row') > 2900")
    row = int(page.evaluate("new URL(location.href).searchParams.get('row')"))
    page.reload()
    seen(page, row)


def test_keys_walk_through_the_whole_list(page):
    page.goto(CELL)
    page.keyboard.press("j")
    focused(page, 0)
    page.keyboard.press("End")
    focused(page, COUNT - 1)
    seen(page, COUNT - 1)
    page.keyboard.press("ArrowUp")
    focused(page, COUNT - 2)
    page.keyboard.press("PageUp")
    page.wait_for_function(f"() => Number(document.activeElement.closest('tr')?.dataset.place) < {COUNT - 5}")
    page.keyboard.press("Home")
    focused(page, 0)
    for place in range(1, 60):
        page.keyboard.press("ArrowDown")
        focused(page, place)
    seen(page, 59)
    assert page.locator("tr[data-place='59']").get_attribute("aria-rowindex") == "61"


def test_back_from_a_trace_returns_to_the_row_deep_in_the_list(page):
    page.goto(f"{CELL}?sort=-tokens")
    page.keyboard.press("j")
    page.keyboard.press("End")
    focused(page, COUNT - 1)
    page.wait_for_function("() => new URL(location.href).searchParams.get('row') > 5900")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/trace/wide/{MBT_S}/q01/1?**")
    page.go_back()
    focused(page, COUNT - 1)
    seen(page, COUNT - 1)


def test_a_list_that_was_replaced_meanwhile_is_loaded_anew(page):
    page.goto(CELL)
    page.route("**/rows?**", lambda route: route.fulfill(body="", headers={"X-Version": "another"}), times=1)
    with page.expect_navigation():
        page.locator(".rollouts").evaluate("box => box.scrollTop = box.scrollHeight / 3")
    seen(page, COUNT // 3)


def test_rows_that_cannot_be_loaded_are_told_of(tab):
    page = tab()
    page.goto(CELL)
    page.route("**/rows?**", lambda route: route.fulfill(status=503, body=""))
    page.locator(".rollouts").evaluate("box => box.scrollTop = box.scrollHeight / 2")
    page.wait_for_function("() => document.getElementById('said').textContent.includes('cannot be loaded (503)')")
