"""The report: one page that needs nothing else, with a summary, the paper's tables and figures, and the marts."""

import csv
import hashlib
import io
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

import polars as pl
import pytest
from hand_marts import STUDENT

from mbt_assets.report import all_marts
from mbt_assets.reporting.contents import Made, contents_of, states_of
from mbt_assets.reporting.headline import headlines
from mbt_assets.reporting.heat import heats_of
from mbt_assets.reporting.judging import judge_lines
from mbt_assets.reporting.listing import CSV_ROWS, SHOWN_ROWS, listing_of, shown
from mbt_assets.reporting.origins import CHECKPOINTS, origins_of, place, software
from mbt_assets.reporting.page import render
from mbt_assets.staleness import Standing, assess
from mbt_assets.tables.frames import rows_of
from mbt_assets.tables.layout import LAYOUTS
from partitions.grid import Grid, Node
from partitions.model_sources import PathSource
from resources import warehouse

VOID = {"meta", "link", "br", "img", "hr", "input"}
BEST, BASE = f"tr_ails|{STUDENT}__mbt-s", f"tr_ails|{STUDENT}__base"


class Page(HTMLParser):
    """What a page consists of: ids, addresses it loads from, and elements that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.loads, self.open, self.texts, self.tags, self.files = [], [], [], [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        if "download" in given:
            self.files[given["download"]] = given["href"]
        else:
            self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())

    def rows_of(self, file):
        """The rows of a CSV that stands in the page."""
        head, _, text = self.files[file].partition(",")
        assert head == "data:text/csv;charset=utf-8"
        return list(csv.DictReader(io.StringIO(unquote(text))))


@pytest.fixture
def text(marts, study):
    return render(contents_of(study, marts))


@pytest.fixture
def page(text):
    return Page(text)


def main_rows(marts, study):
    return rows_of(LAYOUTS["main"], marts, study)


def test_it_is_one_page_that_loads_nothing(page, text):
    assert page.open == []
    assert all(address.startswith("#") for address in page.loads)
    assert {"iframe", "link", "img", "object"}.isdisjoint(page.tags)
    assert page.tags.count("script") == 1
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src &#39;none&#39;" in policy
    assert "script-src &#39;sha256-" in policy


def test_it_holds_four_tables_and_five_figures_above_the_marts(page):
    assert page.tags.count("svg") == 5
    order = [name for name in page.ids if name in ("summary", "cells", "main_results", "settings")]
    assert order == ["summary", "cells", "main_results", "settings"]
    tables = [name for name in page.ids if re.fullmatch(r"table-\w+", name)]
    assert tables == ["table-main", "table-aes", "table-rrp", "table-mqi"]


def test_no_two_parts_have_the_same_id_and_every_link_leads_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    assert {address.removeprefix("#") for address in page.loads} <= set(page.ids)


def test_names_are_escaped(marts, study):
    text = render(contents_of(study.model_copy(update={"description": "<script>alert(1)</script>"}), marts))
    assert "<script>alert" not in text
    assert not re.search(r"wi&de", text)


def test_without_matplotlib_it_has_its_tables_and_the_numbers_of_its_figures(marts, study, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page(render(contents_of(study, marts)))
    assert "svg" not in page.tags
    assert "table-mqi" in page.ids
    assert [row["arrival"] for row in page.rows_of("rrp_plane.csv")][:2] == ["0.5", "0.25"]


def test_the_best_variant_is_named_with_what_it_is_above_its_base(marts, study):
    found = {(line.dataset, line.measure): line for line in headlines(main_rows(marts, study), study)}
    best = found["tr_ails", "exact match"]
    assert (best.mode, best.best.text, best.best.spread) == ("mbt-s", "75.0", "[50.0, 100.0]")
    assert (best.base.text, best.difference, best.ends, best.is_sure) == ("50.0", "+25.0", "[+5.0, +45.0]", True)
    assert best.others == [f"{STUDENT} mbt-r"], "74.99 prints as 75.0 too"
    assert found["tr_ails", "F1"].ends == "", "F1 has no paired test"
    assert found["tr_ails", "judged accuracy"].best.marks == "†", "one verdict is missing"
    assert best.sentence == (
        f"On tr_ails, {STUDENT} mbt-s has the highest exact match: 75.0 % [50.0, 100.0], as has {STUDENT} mbt-r. "
        "That is +25.0 points against 50.0 % of its base; the paired difference is [+5.0, +45.0]."
    )


def test_where_nothing_beats_the_base_that_is_said(marts, study):
    found = [line for line in headlines(main_rows(marts, study), study) if line.dataset == "wi&de"]
    assert [line.sentence.rpartition("; ")[2] for line in found] == ["no other mode is better."] * 3


def test_heat_goes_from_the_worst_cell_to_the_best(marts, study):
    heats = {heat.name: heat for heat in heats_of(marts, study)}
    fields = {
        field.key: field for heat in [heats["exact_match"]] for _, rows in heat.models for _, r in rows for field in r
    }
    assert (fields[BEST].text, fields[BEST].level, fields[BEST].difference, fields[BEST].is_sure) == (
        "75.0",
        0.75,
        "+25.0",
        True,
    )
    assert fields[BASE].difference == ""
    assert fields[f"wi&de|{STUDENT}__mbt-s"].text == "", "a cell that is not there has no colour"
    tokens = {f.key: f.level for _, rows in heats["mean_tokens"].models for _, r in rows for f in r if f.text}
    assert tokens["tr_ails|teacher__base"] == 1.0, "the fewest tokens are the best"
    assert tokens[BASE] == 0.0


def test_stale_and_missing_cells_are_told_with_their_reason(marts, study):
    cells = {key: Standing("fresh") for key in Grid(study).keys("cell_metrics")}
    cells |= {BEST: Standing("stale", "prompt changed"), f"wi&de|{STUDENT}__mbt-s": Standing("missing", "never made")}
    text = render(contents_of(study, marts), Made("2026-01-02T03:04:05+00:00", "run-1", software(), cells))
    said = " ".join(Page(text).texts)
    assert "2 of 8 cells were not up to date" in said
    assert "stale (prompt changed)" in said
    assert "missing (never made)" in said
    assert text.count('<td class="old"') == 7, "the stale cell in each heat map"
    assert "2026-01-02 03:04:05 UTC" in said


def test_marts_that_are_not_up_to_date_are_told(marts, study):
    made = Made("2026-01-02T03:04:05+00:00", "run-1", software(), {}, outdated="Outdated numbers: 1 of 8 marts (aes)")
    assert "Outdated numbers: 1 of 8 marts (aes)" in " ".join(Page(render(contents_of(study, marts), made)).texts)


def test_the_same_numbers_give_the_same_bytes_and_only_the_making_differs(marts, study):
    contents = contents_of(study, marts)
    assert render(contents) == render(contents_of(study, marts))
    made = [Made(f"2026-01-0{day}T00:00:00+00:00", "one", software()) for day in (1, 2)]
    first, second = (render(contents, one).splitlines() for one in made)
    assert [a for a, b in zip(first, second, strict=True) if a != b] == [line for line in first if "2026-01-01" in line]


def test_each_table_can_be_taken_as_csv_in_full_precision(page, marts):
    rows = page.rows_of("main_results.csv")
    assert len(rows) == marts.frames["main_results"].height
    assert rows[2]["exact_match"] == "0.7499"
    paper = page.rows_of("main.csv")
    assert {"exact_match_difference_lo", "n_answers", "variant"} <= set(paper[0])
    assert set(page.files) >= {"aes.csv", "rrp.csv", "mqi.csv", "significance.csv", "accuracy_tokens.csv"}


def test_columns_without_any_value_and_rows_beyond_the_first_are_left_out_and_counted():
    frame = pl.DataFrame(
        {"n": range(CSV_ROWS + 1), "empty": [None] * (CSV_ROWS + 1), "words": [["a", "b"]] * (CSV_ROWS + 1)}
    )
    listing = listing_of("many", frame)
    assert [name for name, _ in listing.columns] == ["n", "words"]
    assert (len(listing.rows), listing.csv_rows, listing.total) == (SHOWN_ROWS, CSV_ROWS, CSV_ROWS + 1)
    assert listing.csv.count("%0A") == CSV_ROWS + 1


def test_a_small_p_value_is_no_zero_and_a_missing_one_is_a_dash():
    assert [shown(value) for value in (0.0, 0.0004, 0.05, 1234.5, None, 7)] == [
        "0.000",
        "4.0e-04",
        "0.050",
        "1,234",
        "–",
        "7",
    ]


def test_judges_are_summed_up_and_their_weak_points_said():
    quality = pl.DataFrame(
        [
            {"dataset": "d", "variant": variant, "judge": judge, "score": "verdicts", "n_replies": 100, "n_failed": 1}
            | {"n_unparseable": unread, "em_kappa": kappa, "retest_agreement": again}
            for variant, judge, unread, kappa, again in [
                ("a", "strict", 10, 0.5, 0.8),
                ("b", "strict", 0, 0.9, 0.9),
                ("a", "other", 0, None, None),
            ]
        ]
    )
    lines, caveats = judge_lines(quality)
    assert [(line.judge, line.replies, line.unreadable, line.failed) for line in lines] == [
        ("strict", 200, 10, 2),
        ("other", 100, 0, 1),
    ]
    assert lines[0].ranges[:2] == ["0.500 to 0.900", "0.800 to 0.900"]
    assert lines[1].ranges == ["–", "–", "–", "–"]
    assert [caveat.partition(":")[0] for caveat in caveats] == [
        "strict (verdicts)",
        "strict (verdicts)",
        "other (verdicts)",
    ]
    assert "5.0 % of 200 replies" in caveats[0]
    assert "85 %" in caveats[1]
    assert judge_lines(None)[1] == ["Nothing is known of the judges yet: the mart judge_quality has no rows."]


def test_settings_and_places_tell_neither_secrets_nor_folders(marts, study):
    study.models["teacher"].server.options["api_key"] = "sk-verysecretvalue"
    study.models["teacher"] = study.models["teacher"].model_copy(
        update={"source": PathSource(kind="path", path="/home/someone/weights/teacher-1")}
    )
    text = render(contents_of(study, marts))
    assert "verysecret" not in text
    assert "someone" not in text
    assert "…/teacher-1" in text
    assert place("/home/someone/weights/tiny-1a2b/") == "…/tiny-1a2b"
    assert place("file:///home/someone/weights/tiny-1a2b") == "…/tiny-1a2b"
    assert place("hf://org/name") == "hf://org/name"
    assert place("org/name") == "org/name"


def test_what_real_numbers_were_made_from_is_told(made, small_study):
    platform, _ = made
    artifacts = platform.artifacts
    with warehouse.reading(artifacts.files["warehouse"], artifacts.lake) as connection:
        marts, checkpoints = all_marts(connection)
    grid = Grid(small_study, artifacts.imported_cells())
    standings = assess(grid, artifacts)
    origins = origins_of(small_study, standings, checkpoints)
    assert "digest" in CHECKPOINTS
    assert [row[0] for row in origins.checkpoints] == ["rule-teacher__base"]
    assert {row[0] for row in origins.questions} == {"trails", "wide"}
    steps = {row[0]: row for row in origins.steps}
    assert steps["judge_verdicts"][1].startswith("verdict, version ")
    assert steps["answer_scores"][3] != "–"
    assert len(dict(row[:2] for row in origins.marts)) == 8
    states = states_of(grid, standings)
    made_by = Made("2026-01-01T00:00:00+00:00", "r", software(), states)
    assert made_by.counts == {"fresh": 2, "stale": 0, "missing": 4}
    page = Page(render(contents_of(small_study, marts, standings, checkpoints), made_by))
    assert page.open == []
    written = artifacts.files["report"].read_text()
    assert "2</strong> of 6 cells fresh" in written
    assert str(platform.home.root) not in written
    contents = contents_of(small_study, marts, standings, checkpoints)
    assert artifacts.stored(Node("report")).data_version == hashlib.sha256(render(contents).encode()).hexdigest()
