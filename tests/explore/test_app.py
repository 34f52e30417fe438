"""The frame of all pages: how it starts, whom it answers, what every response carries, and how errors look."""

import builtins
import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx2
import polars as pl
import pytest
from explored_rows import BASE, MBT_R
from typer.testing import CliRunner

from mbt_assets.cli.main import app as mbt
from mbt_assets.explore import query
from mbt_assets.instance import InstanceError
from partitions.grid import Node


@pytest.mark.parametrize("path", ["/", "/no-such-page", "/static/explore.css", "/report"])
def test_every_response_forbids_scripts_of_others_and_is_not_kept(web, path):
    headers = web.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe-inline'" not in headers["content-security-policy"].replace("style-src-attr 'unsafe-inline'", "")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_a_page_of_another_site_cannot_reach_it_under_its_own_name(web):
    # What a browser sends after the other site has let its name point to 127.0.0.1.
    reply = web.get("/", headers={"Host": "evil.example"})
    assert reply.status_code == 400
    assert "tiny__base" not in reply.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_the_grid_can_only_be_read(web, method):
    assert web.request(method, "/").status_code == 405


def test_an_unknown_page_is_told_as_a_page_with_the_way_back(web):
    reply = web.get("/no-such-page")
    assert reply.status_code == 404
    assert "there is no page /no-such-page" in reply.text
    assert '<a href="/">To the grid</a>' in reply.text


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/?metric=exact_matsch&sort=roads", ["metric=exact_matsch", "sort=roads"]),
        (f"/cell/trails/{MBT_R}?answer=rihgt&phase=9&sort=-tokens", ["answer=rihgt", "phase=9"]),
        (f"/trace/trails/{MBT_R}/q01/1?judge=nobody", ["judge=nobody"]),
        (f"/compare?dataset=trails&a={BASE}&b={MBT_R}&show=won&order=asc", ["show=won"]),
        (f"/training/trails/{MBT_R}?sort=length", ["sort=length"]),
        ("/query?sql=SELECT+1&chart=pie", ["chart=pie"]),
        (f"/cell/trails/{MBT_R}?tier=<b>%E2%80%AE", ["tier=&lt;b&gt;⟨U+202E⟩"]),
    ],
)
def test_what_an_address_chooses_that_there_is_none_of_is_told_not_dropped_in_silence(web, path, told):
    reply = web.get(path)
    assert reply.status_code == 200
    shown = reply.text.partition('id="strange">')[2].partition("</p>")[0]
    assert re.findall("<code>(.*?)</code>", shown) == told


@pytest.mark.parametrize("path", ["/?metric=f1&show=", f"/cell/trails/{MBT_R}?answer=right&sort=-tokens&page=7"])
def test_an_address_that_chooses_what_there_is_has_nothing_told(web, path):
    assert 'id="strange"' not in web.get(path).text


def test_an_address_with_script_or_broken_utf8_shows_as_text(web):
    reply = web.get("/<script>alert(1)</script>%ff%ed%a0%80?metric=%ff&find=%ed%a0%80<b>")
    assert reply.status_code == 404
    assert "<script>alert" not in reply.text
    assert web.get("/?metric=%ff&find=%ed%a0%80<b>&sort='%22--").status_code == 200


def test_static_files_are_those_of_the_folder_alone(web):
    assert web.get("/static/explore.js").status_code == 200
    assert web.get("/static/..%2fapp.py").status_code == 404
    assert web.get("/static/%2e%2e/%2e%2e/__init__.py").status_code == 404


def test_pages_name_nothing_of_another_host(web):
    for path in ("/", "/no-such-page"):
        links = re.findall(r"(?:href|src|action)=\"([^\"]*)\"", web.get(path).text)
        assert links and all(link.startswith(("/", "#")) and not link.startswith("//") for link in links)


def test_where_there_is_no_warehouse_the_page_says_how_to_make_one(own_home):
    from explored import served

    own_home.platform.home.warehouse.unlink()
    with served(own_home.platform) as address:
        reply = httpx2.get(f"{address}/", timeout=60)
        assert reply.status_code == 400
        assert "there is no warehouse" in reply.text
        assert "mbt demo" in reply.text
        # It need not be started anew.
        own_home.warehouse()
        assert httpx2.get(f"{address}/", timeout=60).status_code == 200


def test_a_warehouse_that_is_built_anew_is_seen_by_the_next_page(own_home):
    from explored import served

    with served(own_home.platform) as address:
        assert "0.123" not in httpx2.get(f"{address}/?metric=exact_match", timeout=60).text
        before = own_home.platform.home.warehouse.stat().st_ino
        node = Node("cell_metrics", f"trails|{MBT_R}")
        figures = own_home.lake.read(node).with_columns(exact_match=pl.lit(0.123))
        own_home.lake.write(node, figures, own_home.lake.stored(node).provenance)
        own_home.warehouse()
        assert own_home.platform.home.warehouse.stat().st_ino != before
        assert "0.123" in httpx2.get(f"{address}/?metric=exact_match", timeout=60).text


def test_without_its_marts_the_grid_shows_what_the_cells_say_and_without_those_what_to_do(own_home):
    from explored import served

    lake = own_home.platform.artifacts.lake
    for mart in ("aes", "significance"):
        shutil.rmtree(str(lake.folder(mart)))
    with served(own_home.platform) as address:
        assert "0.750" in httpx2.get(f"{address}/?show=difference", timeout=60).text
        shutil.rmtree(str(lake.folder("cell_metrics")))
        told = httpx2.get(f"{address}/", timeout=60)
        assert told.status_code == 400
        assert "This table of the lake is gone: materialize it" in told.text


def test_pages_that_are_asked_for_at_the_same_time_are_all_answered(web, monkeypatch):
    monkeypatch.setattr(query, "PATIENCE_S", 60)
    paths = ["/", f"/cell/trails/{BASE}", f"/trace/trails/{BASE}/q01/1", "/training", "/query?sql=SELECT+1"]
    paths += [f"/compare?dataset=trails&a={BASE}&b={MBT_R}", f"/training/trails/{MBT_R}", "/query?sql=SELECT+nothing"]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(web.get, paths * 3))
    assert [reply.status_code for reply in replies] == ([200] * 7 + [400]) * 3


def test_a_report_is_shown_with_a_policy_of_its_own(own_home):
    from explored import served

    with served(own_home.platform) as address:
        missing = httpx2.get(f"{address}/report", timeout=60)
        assert missing.status_code == 404
        assert "materialize the asset `report`" in missing.text.replace("&#96;", "`")
        own_home.platform.artifacts.files["report"].write_text("<title>all of it</title>")
        found = httpx2.get(f"{address}/report", timeout=60)
        assert found.text == "<title>all of it</title>"
        assert "default-src 'none'" in found.headers["content-security-policy"]
        assert "script-src 'self'" not in found.headers["content-security-policy"]


def test_a_port_that_is_taken_is_told_in_one_line(study_home, monkeypatch):
    monkeypatch.setenv("MBT_HOME", str(study_home.platform.home.root))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = CliRunner().invoke(mbt, ["explore", "--port", str(port), "--study", "embedded"])
    assert isinstance(found.exception, InstanceError)
    assert f"cannot listen on 127.0.0.1:{port}" in str(found.exception)
    assert "--port" in str(found.exception)


def test_a_missing_extra_is_named_with_the_way_to_install_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **others):
        if name == "vl_convert":
            raise ImportError("No module named 'vl_convert'", name="vl_convert")
        return real(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", without)
    found = CliRunner().invoke(mbt, ["explore"])
    assert "needs the package vl_convert: pip install -e .[explore]" in str(found.exception)


def test_navigation_leads_to_every_page_and_says_where_one_is(page):
    page.goto("/")
    links = page.locator("header nav a")
    addresses = [links.nth(number).get_attribute("href") for number in range(links.count())]
    assert addresses == ["/", "/compare", "/training", "/query"]
    assert page.locator("header nav a[aria-current=page]").inner_text() == "Grid"
    for key, address in zip("gctq", addresses, strict=True):
        # The first key leads to the very page one is on: that the address is right does not say that it has led there.
        with page.expect_navigation(url=f"**{address}"):
            page.keyboard.press(key)
        assert page.locator("header nav a[aria-current=page]").get_attribute("href") == address
    page.go_back()
    page.wait_for_url("**/training")


def test_colours_follow_the_system_until_a_key_changes_them_and_stay_changed(tab):
    page = tab(color_scheme="dark")
    page.goto("/")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.keyboard.press("d")
    light = page.evaluate(colour)
    assert dark != light == "rgb(255, 255, 255)"
    assert page.locator("#said").inner_text() == "light colours"
    page.goto(f"/?find={MBT_R}")
    assert page.evaluate(colour) == light


def test_help_opens_by_key_and_closes_by_escape(page):
    page.goto("/")
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keyboard").is_visible()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0


def test_the_first_tab_stop_skips_to_the_content(page):
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
