"""How far the judges can be trusted, summed up over the cells, and what has to be said of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from mbt_assets.reporting.listing import shown

AGREEMENT = {
    "em_kappa": "κ with exact match",
    "retest_agreement": "agreement when asked again",
    "renumbered_agreement": "agreement with documents renumbered",
    "agreement": "agreement with another judge",
}
"""Columns of the mart `judge_quality` that are shown as their range over the cells."""
UNREADABLE = 0.02
"""Share of replies that could not be read from which on it is said in words."""
UNSTEADY = 0.9
"""Mean agreement of a judge with itself below which it is said in words."""


@dataclass(frozen=True)
class JudgeLine:
    """One judge's replies of one kind.

    Attributes:
        judge: who.
        score: table that the replies are scored in.
        replies: how many there are.
        unreadable: of these could not be read, after all attempts.
        failed: requests that failed.
        ranges: for each column of `AGREEMENT`, from the least to the most of a cell; a dash where nothing is known.
    """

    judge: str
    score: str
    replies: int
    unreadable: int
    failed: int
    ranges: list[str]


def judge_lines(quality: pl.DataFrame | None) -> tuple[list[JudgeLine], list[str]]:
    """Each judge and kind of score, and the caveats that follow.

    Args:
        quality: the mart `judge_quality`; None where there is none.
    """
    if quality is None or quality.is_empty():
        return [], ["Nothing is known of the judges yet: the mart judge_quality has no rows."]
    lines, caveats = [], []
    for (judge, score), rows in quality.group_by("judge", "score", maintain_order=True):
        # A judge's own replies stand on each line that compares it with another judge.
        own = rows.unique(["dataset", "variant"], keep="first", maintain_order=True)
        line = JudgeLine(
            str(judge),
            str(score),
            int(own["n_replies"].sum()),
            int(own["n_unparseable"].sum()),
            int(own["n_failed"].sum()),
            [_range(rows, column) for column in AGREEMENT],
        )
        lines.append(line)
        caveats += _caveats(line, own)
    if quality["judge"].n_unique() == 1:
        caveats.append("There is one judge alone: no other has been asked whether it agrees.")
    return lines, caveats


def _caveats(line: JudgeLine, own: pl.DataFrame) -> list[str]:
    found = []
    name = f"{line.judge} ({line.score})"
    if line.replies and line.unreadable / line.replies >= UNREADABLE:
        share = 100 * line.unreadable / line.replies
        found.append(f"{name}: {share:.1f} % of {line.replies:,} replies could not be read; they count for nothing.")
    steady: Any = own["retest_agreement"].mean() if "retest_agreement" in own.columns else None
    if steady is None:
        found.append(f"{name}: it was never asked twice, so nobody knows how steady it is.")
    elif steady < UNSTEADY:
        found.append(f"{name}: asked again it gives the same score in {100 * steady:.0f} % of the cases alone.")
    return found


def _range(rows: pl.DataFrame, column: str) -> str:
    values = [value for value in rows[column] if value is not None] if column in rows.columns else []
    if not values:
        return "–"
    ends = list(dict.fromkeys(shown(float(end)) for end in (min(values), max(values))))
    return " to ".join(ends)
