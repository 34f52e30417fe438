"""Charts as SVG within a page: drawn on the server by Vega-Lite, in colours that the page's style gives.

Each function takes a small frame of figures that are already counted, whose columns are named x, y and so on; texts are
data, which the drawing escapes. Colours are CSS variables, so that a chart follows light and dark as its page does.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal
from xml.etree import ElementTree

import orjson
import polars as pl
import vl_convert
from markupsafe import Markup

from mbt_assets.explore.texts import shortened, visible

WIDTH = 340
"""Pixels of the plot; the page scales the whole down where it is narrower."""
ROW_HEIGHT = 70
HEIGHT = 200
MOST_BARS = 40
MOST_CHARACTERS = 36
"""Of a name: Vega would cut longer ones itself, in the middle of a character, and fail."""
GROUPS = ("var(--accent)", "var(--bad)", "var(--right)", "var(--warn)", "var(--wrong)", "var(--quiet)")
"""Colours of groups, which differ in dash or shape too."""
MARK, TEXT, QUIET, LINE = "var(--accent)", "var(--text)", "var(--quiet)", "var(--line)"
OUTLINE = {"type": "bar", "color": "transparent", "stroke": TEXT, "strokeDash": [3, 2], "strokeWidth": 1}
"""The mark of what something is compared with."""
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "padding": 8,
    "aria": False,
    "mark": {"color": MARK},
    "axis": {
        "labelLimit": 0,
        "labelColor": QUIET,
        "titleColor": QUIET,
        "titleFontWeight": "normal",
        "gridColor": LINE,
        "domainColor": LINE,
        "tickColor": LINE,
    },
    "header": {"labelColor": TEXT, "titleColor": TEXT},
    "legend": {"labelLimit": 0, "labelColor": TEXT, "titleColor": TEXT},
    "view": {"stroke": None},
}

ElementTree.register_namespace("", "http://www.w3.org/2000/svg")

Kind = Literal["bar", "line", "point"]
Spec = dict[str, Any]
"""A part of a Vega-Lite specification."""


def histogram(frame: pl.DataFrame, title: str, domain: tuple[float, float], is_log: bool = False) -> Markup:
    """Shares as bars over intervals, with the outline of what they are compared with where there is one.

    Args:
        frame: columns `x` and `x2` (ends of the interval), `y` (share), and where wanted `outline` (the other's share)
            and `row` (text: one panel per value, in the order of appearance, with one scale).
        title: of the x axis, with its unit.
        domain: ends of the x axis.
        is_log: whether x is drawn on a logarithmic scale; then it is above 0.
    """
    has_rows = "row" in frame.columns
    scale = {"type": "log" if is_log else "linear", "domain": domain, "nice": False}
    axis = {"title": _text(title), "grid": False, "tickCount": 6} | ({"format": ",~r"} if is_log else {})
    x = {"field": "x", "type": "quantitative", "scale": scale, "axis": axis}
    y_axis = {"title": None if has_rows else "share", "tickCount": 3, "format": "~p"}
    # Bars that say where they end on the left and right have to say where they end below, too.
    ends = {"x": x, "x2": {"field": "x2"}, "y2": {"datum": 0}}
    layers = [{"mark": {"type": "bar", "opacity": 0.75}, "encoding": {**ends, "y": _number("y", axis=y_axis)}}]
    if "outline" in frame.columns:
        layers.append({"mark": OUTLINE, "encoding": {**ends, "y": _number("outline")}})
    layered = {"layer": layers, "width": WIDTH, "height": ROW_HEIGHT if has_rows else HEIGHT}
    if not has_rows:
        return _drawn(frame, layered)
    header = {"labelOrient": "top", "labelAnchor": "start", "labelFontWeight": "bold", "labelPadding": 2}
    order = [_value(name) for name in frame["row"].unique(maintain_order=True)]
    row = {"field": "row", "type": "nominal", "title": None, "sort": order, "header": header}
    return _drawn(frame, {"facet": {"row": row}, "spec": layered, "spacing": 8})


def bars(frame: pl.DataFrame, title: str, y_title: str = "") -> Markup:
    """Horizontal bars, one per name, in the frame's order.

    Args:
        frame: columns `x` (length), `y` (text: name), and where wanted `outline` (length of the bar that it is
            compared with), `low` and `high` (ends of an interval); its first `MOST_BARS` rows are drawn.
        title: of the lengths, with their unit.
        y_title: of the names.
    """
    frame = frame.head(MOST_BARS).with_columns(pl.col("y").cast(pl.String))
    names = {"title": _text(y_title) or None, "grid": False}
    y = {"field": "y", "type": "nominal", "sort": None, "axis": names}
    x = _number("x", axis={"title": _text(title), "tickCount": 5})
    layers: list[Spec] = [
        {"mark": {"type": "bar", "opacity": 0.75, "height": {"band": 0.7}}, "encoding": {"x": x, "y": y}}
    ]
    if "outline" in frame.columns:
        outline = {**OUTLINE, "height": {"band": 0.9}}
        layers.append({"mark": outline, "encoding": {"x": _number("outline"), "y": y}})
    if "low" in frame.columns:
        ends = {"x": _number("low"), "x2": {"field": "high"}}
        layers.append({"mark": {"type": "rule", "color": TEXT}, "encoding": {**ends, "y": y}})
    return _drawn(frame, {"layer": layers, "width": WIDTH - 100, "height": {"step": 20}})


def plot(frame: pl.DataFrame, kind: Kind, x_title: str, y_title: str) -> Markup:
    """What rows show when they are drawn as they are: bars, a line or points.

    Args:
        frame: columns `x` (number, time or text), `y` (number), and where wanted `group` (text; at most as many values
            as `GROUPS`, which differ in colour and in dash, shape or place).
        kind: of the marks.
        x_title: name of x.
        y_title: name of y.
    """
    x_type = _type_of(frame.schema["x"])
    x: Spec = {"field": "x", "type": x_type, "title": _text(x_title)}
    if x_type == "temporal":
        x["scale"] = {"type": "utc"}
    if x_type == "nominal":
        x["sort"] = None
    encoding = {"x": x, "y": _number("y", title=_text(y_title))}
    if "group" in frame.columns:
        encoding |= _grouped(frame["group"], kind)
    return _drawn(frame, {"mark": {"type": kind}, "encoding": encoding, "width": WIDTH * 2, "height": HEIGHT * 1.5})


def _grouped(names: pl.Series, kind: Kind) -> Spec:
    """Channels that tell groups apart: by colour, and by what is seen without it."""
    groups = [_value(name) for name in names.cast(pl.String).unique(maintain_order=True)]
    shared = {"field": "group", "type": "nominal", "legend": {"title": None, "orient": "top", "columns": 3}}
    channels = {"color": {**shared, "scale": {"domain": groups, "range": list(GROUPS[: len(groups)])}}}
    if kind == "bar":
        # Side by side: averages on top of each other would add up to nothing.
        return channels | {"xOffset": {"field": "group", "type": "nominal", "scale": {"domain": groups}}}
    other = {"line": "strokeDash", "point": "shape"}.get(kind)
    return channels | ({other: {**shared, "scale": {"domain": groups}}} if other else {})


def _number(field: str, **more: Any) -> Spec:
    return {"field": field, "type": "quantitative", **more}


def _type_of(dtype: pl.DataType) -> Literal["quantitative", "temporal", "nominal"]:
    if dtype.is_numeric():
        return "quantitative"
    return "temporal" if dtype in (pl.Date, pl.Datetime) else "nominal"


def _value(value: Any) -> Any:
    """A value as JSON can hold it: what is no number is null, times are milliseconds since 1970."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, Decimal | float | int):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000
    if isinstance(value, date):
        return (value - date(1970, 1, 1)) / timedelta(milliseconds=1)
    return _text(str(value))


def _text(text: str) -> str:
    """A text as it can be drawn: a NUL in one ends the whole process."""
    return visible(shortened(text, MOST_CHARACTERS))


def _drawn(frame: pl.DataFrame, spec: Spec) -> Markup:
    values = [{name: _value(value) for name, value in row.items()} for row in frame.iter_rows(named=True)]
    try:
        return Markup(_svg(orjson.dumps({**spec, "data": {"values": values}, "config": CONFIG})))
    except ValueError as error:
        # The page has the figures in words, too: it is not to fail for its picture.
        return Markup("<p>This cannot be drawn: {}</p>").format(str(error).partition("\n    at ")[0])


@lru_cache(maxsize=256)
def _svg(spec: bytes) -> str:
    # No address is ever fetched: all data stands in the specification.
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(spec.decode(), allowed_base_urls=[]))
    for element in root.iter():
        # Vega names each mark's role, and not what it stands for: the page says that of the whole.
        for name in [name for name in element.attrib if name == "role" or name.startswith("aria-")]:
            del element.attrib[name]
    root.set("aria-hidden", "true")
    return ElementTree.tostring(root, encoding="unicode")
