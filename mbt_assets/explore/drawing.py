"""The rows of a query as a chart: counted and summed up in DuckDB, so that only what is drawn leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from markupsafe import Markup

from mbt_assets.explore import charts
from mbt_assets.explore.columns import Column
from mbt_assets.explore.statement import Statement

KINDS = {"bar": "bars", "line": "line", "point": "points", "histogram": "histogram", "heat": "heat map"}
SUMMARIES = {
    "avg": "average",
    "sum": "sum",
    "median": "median",
    "min": "smallest",
    "max": "greatest",
    "count": "number of rows",
}
MOST_NAMES = 30
"""Names on an axis."""
MOST_GROUPS = len(charts.GROUPS)
MOST_POINTS = 2000
BINS = 30


@dataclass
class Drawn:
    """A chart.

    Attributes:
        svg: the picture; None for a heat map, which is a table.
        heat: rows of the heat map: name, and for each column value and share of the colour.
        names: columns of the heat map.
        title: says in words what is drawn.
        notes: what is left out.
    """

    title: str
    svg: Markup | None = None
    heat: list[tuple[str, list[tuple[float | None, float]]]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Choice:
    """What is to be drawn.

    Attributes:
        kind: of KINDS.
        x: column along the axis, or the columns of a heat map.
        y: column of the heights; None where rows are counted.
        summary: of SUMMARIES: what is made of the y of several rows.
        by: column whose values are told apart, or the rows of a heat map.
    """

    kind: str
    x: Column
    y: Column | None
    summary: str
    by: Column | None

    @property
    def y_title(self) -> str:
        """What the heights are."""
        if self.summary == "count" or self.y is None:
            return SUMMARIES["count"]
        return self.y.name if self.kind == "point" else f"{SUMMARIES[self.summary]} of {self.y.name}"

    @property
    def title(self) -> str:
        """What is drawn, in words."""
        shown = f"histogram of {self.x.name}" if self.kind == "histogram" else f"{self.y_title} by {self.x.name}"
        return f"{shown}, for each {self.by.name}" if self.by else shown


def choice_of(columns: list[Column], wanted: Mapping[str, str]) -> Choice | None:
    """The chart that an address asks for; what it does not say, or says wrong, is chosen by the columns' types.

    Args:
        columns: of the result.
        wanted: `chart`, and perhaps `x`, `y`, `of` and `by`; columns by their number.

    Returns:
        None where no chart is asked for, or no column can be drawn so.
    """
    kind = wanted.get("chart", "")
    by_number = {str(column.number): column for column in columns}
    numbers = [column for column in columns if column.kind == "number"]
    drawable = numbers if kind == "histogram" else [column for column in columns if column.kind != "nested"]
    if kind not in KINDS or not drawable:
        return None
    usual = drawable if kind == "histogram" else sorted(drawable, key=lambda column: column.kind == "number")
    x = _first(by_number.get(wanted.get("x", "")), drawable) or usual[0]
    y = _first(by_number.get(wanted.get("y", "")), numbers) or next((c for c in numbers if c != x), None)
    by = _first(by_number.get(wanted.get("by", "")), [column for column in columns if column.kind != "nested"])
    if kind == "heat" and by is None:
        by = next((column for column in columns if column.kind == "text" and column != x), None)
    summary = wanted.get("of", "")
    return Choice(kind, x, y, summary if summary in SUMMARIES else "avg", by)


def _first(column: Column | None, allowed: list[Column]) -> Column | None:
    return column if column in allowed else None


def draw(statement: Statement, choice: Choice) -> Drawn:
    """Draw a statement's rows.

    Raises:
        resources.warehouse.QueryError: it fails, or takes too long.
    """
    if choice.kind == "histogram":
        return _histogram(statement, choice)
    if choice.kind == "point":
        return _points(statement, choice)
    return _heat(statement, choice) if choice.kind == "heat" else _summed(statement, choice)


def _named(column: Column) -> str:
    """SQL for a column's values as names."""
    return f"coalesce(left(CAST({column.alias} AS VARCHAR), 80), 'NULL')"


def _place(column: Column, kind: str) -> str:
    """SQL for where a column's values lie along the x axis: a name, a number or a time that Python knows."""
    if column.kind == "text" or (column.kind == "time" and kind == "bar"):
        return _named(column)
    if column.kind == "number":
        return column.alias
    known = "TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31'"
    return f"CASE WHEN TRY_CAST({column.alias} AS TIMESTAMP) BETWEEN {known} THEN {column.alias} END"


def _value(choice: Choice) -> str:
    if choice.summary == "count" or choice.y is None:
        return "count(*)"
    return f"{choice.summary}(CAST({choice.y.alias} AS DOUBLE))"


def _grouping(choice: Choice) -> str:
    return f', {_named(choice.by)} AS "group"' if choice.by else ""


def _summed(statement: Statement, choice: Choice) -> Drawn:
    """Bars, or a line: one value for each x and group."""
    x = _place(choice.x, choice.kind)
    # Names stand in the order in which the statement gives them, numbers and times in their own.
    frame = statement.rows(
        f"WITH numbered AS (SELECT *, row_number() OVER () AS row_number FROM {statement.result}) "
        f"SELECT {x} AS x, {_value(choice)} AS y{_grouping(choice)}, min(row_number) AS first_row "
        f"FROM numbered GROUP BY ALL ORDER BY {'first_row' if choice.x.kind == 'text' else 'x'}, first_row "
        f"LIMIT {MOST_POINTS * MOST_GROUPS + 1}"
    )
    drawn = Drawn(choice.title)
    frame = _few(frame, "group", MOST_GROUPS, choice.by, drawn)
    most = MOST_NAMES if choice.kind == "bar" else MOST_POINTS
    frame = _few(frame, "x", most, choice.x, drawn).drop("first_row")
    kind: charts.Kind = "bar" if choice.kind == "bar" else "line"
    if kind == "bar":
        # A bar stands on its name: a number on the axis would leave it no width.
        frame = frame.with_columns(pl.col("x").cast(pl.String).fill_null("NULL"))
    drawn.svg = charts.plot(frame.drop_nulls("x"), kind, choice.x.name, choice.y_title)
    return drawn


def _points(statement: Statement, choice: Choice) -> Drawn:
    drawn = Drawn(choice.title)
    if choice.y is None:
        drawn.notes.append("Points need a column of numbers for y.")
        return drawn
    x = _place(choice.x, choice.kind)
    sampled = f"USING SAMPLE reservoir({MOST_POINTS} ROWS) REPEATABLE (1)"
    columns = f"{x} AS x, CAST({choice.y.alias} AS DOUBLE) AS y{_grouping(choice)}"
    there = f"{x} IS NOT NULL AND {choice.y.alias} IS NOT NULL"
    frame = statement.rows(f"SELECT * FROM (SELECT {columns} FROM {statement.result} WHERE {there}) {sampled}")
    if frame.height == MOST_POINTS:
        drawn.notes.append(f"At most {MOST_POINTS:,} rows are drawn, taken at random.")
    frame = _few(frame, "group", MOST_GROUPS, choice.by, drawn)
    if choice.x.kind == "text":
        frame = _few(frame, "x", MOST_NAMES, choice.x, drawn)
    drawn.svg = charts.plot(frame, "point", choice.x.name, choice.y_title)
    return drawn


def _histogram(statement: Statement, choice: Choice) -> Drawn:
    group = _named(choice.by) if choice.by else "''"
    frame = statement.rows(
        f"WITH data AS (SELECT CAST({choice.x.alias} AS DOUBLE) AS x, {group} AS row FROM {statement.result}), "
        "fit AS (SELECT * FROM data WHERE isfinite(x)), "
        "ends AS (SELECT min(x) AS low, CASE WHEN max(x) > min(x) THEN max(x) ELSE min(x) + 1 END AS high FROM fit), "
        f"binned AS (SELECT row, low, high, least(floor((x - low) / (high - low) * {BINS}), {BINS - 1}) AS bin "
        "FROM fit CROSS JOIN ends) "
        "SELECT row, low, high, bin, count(*) AS n FROM binned GROUP BY ALL ORDER BY row, bin"
    )
    drawn = Drawn(choice.title)
    if frame.is_empty():
        drawn.notes.append(f"There is no number in {choice.x.name}.")
        return drawn
    frame = _few(frame, "row", MOST_GROUPS, choice.by, drawn)
    width = (pl.col("high") - pl.col("low")) / BINS
    left = pl.col("low") + pl.col("bin") * width
    share = pl.col("n") / pl.col("n").sum().over("row")
    shown = frame.select(x=left, x2=left + width, y=share, row="row")
    ends = (frame["low"][0], frame["high"][0])
    drawn.svg = charts.histogram(shown if choice.by else shown.drop("row"), choice.x.name, ends)
    return drawn


def _heat(statement: Statement, choice: Choice) -> Drawn:
    drawn = Drawn(choice.title)
    if choice.by is None:
        drawn.notes.append("A heat map needs two columns of names: choose one for the rows.")
        return drawn
    frame = statement.rows(
        f"WITH numbered AS (SELECT *, row_number() OVER () AS row_number FROM {statement.result}) "
        f"SELECT {_named(choice.x)} AS x, {_value(choice)} AS y{_grouping(choice)}, min(row_number) AS first_row "
        f"FROM numbered GROUP BY ALL ORDER BY first_row LIMIT {10 * MOST_NAMES**2}"
    )
    frame = _few(_few(frame, "x", MOST_NAMES, choice.x, drawn), "group", MOST_NAMES, choice.by, drawn)
    drawn.names = frame["x"].unique(maintain_order=True).to_list()
    low, high = frame["y"].min(), frame["y"].max()
    found = {(row["group"], row["x"]): row["y"] for row in frame.iter_rows(named=True)}
    for name in frame["group"].unique(maintain_order=True):
        values = [found.get((name, column)) for column in drawn.names]
        drawn.heat.append((name, [(value, _share(value, low, high)) for value in values]))
    return drawn


def _share(value: float | None, low: Any, high: Any) -> float:
    return 0.0 if value is None or not high > low else round((value - low) / (high - low), 3)


def _few(frame: pl.DataFrame, name: str, most: int, column: Column | None, drawn: Drawn) -> pl.DataFrame:
    """The rows of the first values of a column, as many as a picture can show."""
    if name not in frame.columns or column is None or frame[name].n_unique() <= most:
        return frame
    values = frame[name].unique(maintain_order=True)
    drawn.notes.append(f"The first {most:,} of {len(values):,} values of {column.name} are drawn.")
    return frame.filter(pl.col(name).is_in(values.head(most).implode(), nulls_equal=True))
