"""How tokens, arrival, redundancy and phases spread over the rollouts of a list, beside those of the base variant."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from mbt_assets.explore import charts
from mbt_assets.explore.rollouts import Chosen
from mbt_assets.explore.view import count, figure
from mbt_assets.scoring.mqi import PHASES

SHARE_BINS = 20
MOST_BINS = 24
SKEWED = 8.0
"""Above this ratio of the 95th percentile to the 5th, tokens are drawn on a logarithmic scale."""
TITLES = {
    "tokens": "Response tokens",
    "arrival": "Arrival: share of the trace until the answer is derived",
    "redundancy": "Redundancy: share of redundant sentences",
}
NAMES = {True: "right", False: "wrong", None: "not scored"}


@dataclass(frozen=True)
class Picture:
    """A chart with what stands above and below it.

    Attributes:
        title: what it shows.
        svg: the drawing.
        text: what it shows in words.
    """

    title: str
    svg: Markup
    text: str


@dataclass(frozen=True)
class Bins:
    """Intervals of one width, or of one ratio.

    Attributes:
        low: lower end of the first; its logarithm where `is_log`.
        step: width of each; ratio's logarithm where `is_log`.
        number: how many.
        is_log: of one ratio.
    """

    low: float
    step: float
    number: int
    is_log: bool = False

    def end(self, place: int) -> float:
        """Lower end of the interval at a place."""
        value = self.low + place * self.step
        return math.exp(value) if self.is_log else value

    def place(self, column: str) -> str:
        """SQL for the interval that a value is in."""
        value = f"ln(greatest({column}, 1))" if self.is_log else column
        return f"least(floor(({value} - {self.low}) / {self.step} + 1e-9), {self.number - 1})::INTEGER"


def pictures(chosen: Chosen, base: Chosen | None) -> list[Picture]:
    """A chart of each measure that some of the rollouts have.

    Args:
        chosen: the rollouts.
        base: the base variant's rollouts that the same filter leaves; None where there is none to compare with.
    """
    drawn = [_spread(name, chosen, base) for name in TITLES]
    return [picture for picture in (*drawn, _phases(chosen, base)) if picture]


def _spread(name: str, chosen: Chosen, base: Chosen | None) -> Picture | None:
    mine = _summary(name, chosen)
    if not mine.height:
        return None
    other = _summary(name, base) if base else mine.clear()
    bins = token_bins(pl.concat([mine, other])) if name == "tokens" else Bins(0.0, 1 / SHARE_BINS, SHARE_BINS)
    counted = _counted(name, bins, chosen, "y")
    if base:
        counted = counted.join(
            _counted(name, bins, base, "outline"), on=["is_right", "place"], how="full", coalesce=True
        )
    # The panels stand in one order whatever is in them, and leave out what neither has.
    shown = [is_right for is_right in NAMES if is_right in [*mine["is_right"], *other["is_right"]]]
    frame = counted.select(
        pl.col("place").map_elements(bins.end, pl.Float64).alias("x"),
        pl.col("place").map_elements(lambda place: bins.end(place + 1), pl.Float64).alias("x2"),
        pl.col("^y|outline$").fill_null(0.0),
        pl.col("is_right").map_elements(NAMES.__getitem__, pl.String, skip_nulls=False).alias("row"),
    ).sort(pl.col("row").replace_strict({NAMES[key]: number for number, key in enumerate(shown)}), "x")
    svg = charts.histogram(
        frame, "tokens" if name == "tokens" else name, (bins.end(0), bins.end(bins.number)), is_log=bins.is_log
    )
    words = [_in_words(NAMES[key], mine, other, key, base is not None) for key in shown]
    return Picture(TITLES[name], svg, "; ".join(words))


def token_bins(summary: pl.DataFrame) -> Bins:
    """Intervals that hold all counts of tokens, in a scale that shows them.

    Args:
        summary: columns `least`, `most`, `low` (5th percentile) and `high` (95th).
    """
    least, most = max(float(summary["least"].min() or 0), 1.0), float(summary["most"].max() or 1)  # type: ignore[arg-type]
    low, high = max(float(summary["low"].min() or 0), 1.0), float(summary["high"].max() or 1)  # type: ignore[arg-type]
    if high / low > SKEWED:
        bottom, top = math.log(least), math.log(most + 1)
        return Bins(bottom, (top - bottom) / MOST_BINS, MOST_BINS, is_log=True)
    step = _round_step((most - least) / MOST_BINS)
    start = math.floor(least / step) * step
    return Bins(start, step, math.floor((most - start) / step) + 1)


def _round_step(step: float) -> float:
    """The least of 1, 2, 5, 10, 20, 50 and so on that is as great."""
    power = 10.0 ** math.floor(math.log10(max(step, 1.0)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step)


def _summary(name: str, rollouts: Chosen) -> pl.DataFrame:
    """For the right, the wrong and those that are not scored: how many, ends and quantiles."""
    return rollouts.ask(
        f"SELECT exact_match = 1 AS is_right, count(*) AS n, min({name}) AS least, max({name}) AS most, "
        f"quantile_cont({name}, 0.05) AS low, median({name}) AS middle, quantile_cont({name}, 0.95) AS high "
        f"FROM chosen WHERE {name} IS NOT NULL GROUP BY is_right"
    )


def _counted(name: str, bins: Bins, rollouts: Chosen, column: str) -> pl.DataFrame:
    """Share of the rollouts in each interval that some are in."""
    return rollouts.ask(
        f"SELECT exact_match = 1 AS is_right, {bins.place(name)} AS place, "
        f"count(*) / sum(count(*)) OVER () AS {column} FROM chosen WHERE {name} IS NOT NULL GROUP BY ALL"
    )


def _in_words(label: str, mine: pl.DataFrame, other: pl.DataFrame, key: bool | None, has_base: bool) -> str:
    said = f"{label}: {_quantiles(mine, key)}"
    return f"{said} (base: {_quantiles(other, key)})" if has_base else said


def _quantiles(summary: pl.DataFrame, key: bool | None) -> str:
    rows = summary.filter(pl.col("is_right").eq_missing(key)).rows(named=True)
    if not rows:
        return "none"
    row = rows[0]
    return f"{count(row['n'])}, median {figure(row['middle'])}, 5–95 % {figure(row['low'])}–{figure(row['high'])}"


def _phases(chosen: Chosen, base: Chosen | None) -> Picture | None:
    mine, other = _phase_shares(chosen), _phase_shares(base) if base else None
    if mine is None:
        return None
    names = [f"{number} {name}" for number, name in enumerate(PHASES, 1)]
    frame = pl.DataFrame({"y": names, "x": mine} | ({"outline": other} if other else {}))
    beside: list[float | None] = [*other] if other else [None] * len(names)
    words = [
        f"{name}: {share:.0%}" + (f" (base: {base_share:.0%})" if base_share is not None else "")
        for name, share, base_share in zip(names, mine, beside, strict=True)
    ]
    return Picture(
        "Phases: share of the traces that show each", charts.bars(frame, "share of traces"), "; ".join(words)
    )


def _phase_shares(rollouts: Chosen) -> list[float] | None:
    parts = ", ".join(f"avg(list_contains(phases, {n})::INTEGER) AS p{n}" for n in range(1, len(PHASES) + 1))
    row = rollouts.ask(f"SELECT {parts} FROM chosen WHERE mqi_status = 'scored'").row(0)
    return None if row[0] is None else list(row)
