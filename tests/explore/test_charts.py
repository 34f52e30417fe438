"""Charts: small frames become SVG that takes its colours from the page and holds no markup of the data."""

from datetime import date
from xml.etree import ElementTree

import polars as pl
import pytest

charts = pytest.importorskip("mbt_assets.explore.charts", reason="no explorer: install the extra `explore`")

SCRIPT = "<script>alert(1)</script>"


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_histogram_has_a_panel_per_group_and_an_outline():
    frame = pl.DataFrame(
        {
            "x": [1.0, 10.0, 1.0],
            "x2": [10.0, 100.0, 10.0],
            "y": [0.5, 0.25, 0.25],
            "outline": [0.2, 0.2, 0.6],
            "row": ["right", "right", "wrong"],
        }
    )
    svg = charts.histogram(frame, "tokens", (1, 100), is_log=True)
    assert {"right", "wrong", "tokens", "40%"} <= set(texts(svg))
    assert svg.count('fill="var(--accent)"') == 3
    assert svg.count('stroke-dasharray="3,2"') == 3


def test_bars_are_drawn_for_the_first_names_alone():
    names = [f"name {number}" for number in range(charts.MOST_BARS + 5)]
    svg = charts.bars(pl.DataFrame({"x": [1.0] * len(names), "y": names}), "length")
    assert [text for text in texts(svg) if text.startswith("name")] == names[: charts.MOST_BARS]


@pytest.mark.parametrize("kind", ["bar", "line", "point"])
@pytest.mark.parametrize("x", [["b", "a"], [1, 2], [date(2024, 1, 1), date(2024, 1, 2)]])
def test_rows_are_drawn_whatever_x_is(kind, x):
    svg = charts.plot(pl.DataFrame({"x": x, "y": [1.0, float("nan")]}), kind, "the x", "the y")
    assert {"the x", "the y"} <= set(texts(svg))


def test_groups_differ_in_more_than_colour():
    frame = pl.DataFrame({"x": [1, 2, 1, 2], "y": [1, 2, 3, 4], "group": ["a", "a", "b", "b"]})
    line = charts.plot(frame, "line", "x", "y")
    assert 'stroke="var(--accent)"' in line
    assert 'stroke="var(--bad)"' in line
    assert "stroke-dasharray" in line


@pytest.mark.parametrize("text", [SCRIPT, "\u202e", "\"&'", "NUL \x00"])
def test_texts_of_the_data_stay_texts(text):
    frame = pl.DataFrame({"x": [1.0], "y": [text]})
    svg = charts.bars(frame, text)
    assert "<script" not in svg
    ElementTree.fromstring(svg)
