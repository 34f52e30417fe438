"""The documentation site: it builds without a warning, every link of it leads somewhere, and it asks no other host.

Links to other sites cannot be tried without a network: only their form is looked at.
"""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from docs_site import ROOT, build_site

DOCS = ROOT / "docs"
ATTRIBUTES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src", "iframe": "src"}
LOADED = {"link", "img", "script", "source", "iframe"}


class Page(HTMLParser):
    """Links and anchors of a built page.

    Attributes:
        links: (tag, address) of all that the page points to or loads.
        anchors: ids that can be linked to.
    """

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        # An address that a page calls its own is no link: it is where the site would be.
        if (address := found.get(ATTRIBUTES.get(tag, ""))) and found.get("rel") != "canonical":
            self.links.append((tag, address))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site: path below its folder → page."""
    folder = tmp_path_factory.mktemp("site")
    assert "WARNING" not in build_site(folder)
    return folder, {path.relative_to(folder).as_posix(): Page(path) for path in folder.rglob("*.html")}


def named(tree):
    """Every page that the navigation names."""
    if isinstance(tree, str):
        return [tree]
    return [page for part in (tree if isinstance(tree, list) else tree.values()) for page in named(part)]


def navigation():
    # The file has tags of Python's own, which only mkdocs has to understand.
    text = (ROOT / "mkdocs.yml").read_text()
    return named(yaml.safe_load(text[text.index("\nnav:") :])["nav"])


def test_the_site_builds_without_a_warning(site):
    _, pages = site
    assert {"index.html", "tour.html", "reference/study.html", "reference/tables.html", "404.html"} <= set(pages)


def test_every_page_stands_in_the_navigation_once(site):
    _, pages = site
    there = [name.replace(".md", ".html") for name in navigation()]
    assert sorted(there) == sorted(set(pages) - {"404.html"})
    written = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")}
    assert written <= set(there)


def test_every_link_and_every_anchor_of_the_site_leads_somewhere(site):
    folder, pages = site
    broken = []
    for name, page in pages.items():
        # The page for what is not there may be shown at any address, and names the others from the root.
        place = folder if name == "404.html" else (folder / name).parent
        for _, address in page.links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            path = unquote(parts.path)
            target = (folder / path.lstrip("/") if path.startswith("/") else place / path) if path else folder / name
            target = Path(os.path.normpath(target))
            if target.is_dir():
                target /= "index.html"
            anchors = pages.get(target.relative_to(folder).as_posix())
            if not target.is_file() or (parts.fragment and anchors and parts.fragment not in anchors.anchors):
                broken.append((name, address))
    assert not [link for link in broken if link[1] not in ("#__skip", "#")]


def test_no_markdown_is_left_unread_in_a_page(site):
    """Lists and blocks that the code host takes for such, and the site's reader for text."""
    folder, pages = site
    for name in pages:
        text = (folder / name).read_text()
        text = re.sub(r"<pre.*?</pre>|<code>.*?</code>", "", text.partition("<article")[2], flags=re.DOTALL)
        left = re.search(r"<(p|li|td)>(?:(?!</\1>).)*?(\n[*-] |```|\n\d\. |\|---|\*\*\w|\]\()", text, re.DOTALL)
        assert not left, (name, left and left.group()[-80:])


def test_nothing_is_loaded_from_another_host(site):
    folder, pages = site
    foreign = [(n, a) for n, page in pages.items() for tag, a in page.links if tag in LOADED and urlsplit(a).netloc]
    assert not foreign
    styles = "".join(path.read_text() for path in folder.rglob("*.css"))
    assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*", styles)


def test_links_to_other_sites_are_well_formed(site):
    _, pages = site
    outside = {a for page in pages.values() for _, a in page.links if urlsplit(a).scheme or urlsplit(a).netloc}
    assert outside
    for address in outside:
        parts = urlsplit(address)
        assert parts.scheme in ("https", "http") and parts.hostname, address
        assert parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost"), address
        assert "." in parts.hostname or parts.hostname == "localhost", address


def test_the_readme_links_to_pages_that_are_there_and_to_files_of_the_repository(site):
    _, pages = site
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / "README.md").read_text()):
        path, _, anchor = target.partition("#")
        assert not path or (ROOT / path).is_file(), target
        if path.startswith("docs/") and path.endswith(".md"):
            page = pages[path.removeprefix("docs/").replace(".md", ".html")]
            assert not anchor or anchor in page.anchors, target


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere_on_the_code_host_too(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).is_file(), target
        # What lies outside of the folder is on the code host, and not on the site.
        assert DOCS in (page.parent / target).resolve().parents, target


def test_the_search_index_holds_every_page(site):
    folder, pages = site
    index = (folder / "search" / "search_index.json").read_text()
    assert all(f'"{name}"' in index or f'"{name}#' in index for name in pages if name != "404.html")
