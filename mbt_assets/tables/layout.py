"""What each of the paper's tables shows: its mart, and its columns with how they are read, written and judged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Interval(StrEnum):
    """How an interval is written beside its estimate."""

    half = "half"
    ends = "ends"
    none = "none"


@dataclass(frozen=True)
class Column:
    """One figure of a table, in the column group of every dataset.

    Attributes:
        name: the column of the mart.
        head: what stands above it.
        latex: the same in LaTeX, where it takes more than escaping.
        decimals: digits after the point.
        scale: what the mart's value is multiplied by: 100 for a share that is shown in percent.
        better: whether more or less of it is better; without it none is the best.
        counts: the columns that say how many scores stand behind it; the first is printed where it is missing.
        relative: whether it is measured against the base variant's figures.
        tested: its metric in the mart `significance`, where it is tested against the base variant.
        interval: what its interval's columns are called, without `_lo` and `_hi`; empty where it shows none.
    """

    name: str
    head: str
    latex: str = ""
    decimals: int = 1
    scale: float = 1.0
    better: Literal["more", "less", ""] = ""
    counts: tuple[str, ...] = ("n_answers",)
    relative: bool = False
    tested: str = ""
    interval: str | None = None

    @property
    def ends(self) -> tuple[str, str] | None:
        """The columns of the lower and the upper end of its interval, if it shows one."""
        stem = self.name if self.interval is None else self.interval
        return (f"{stem}_lo", f"{stem}_hi") if stem else None


@dataclass(frozen=True)
class Layout:
    """One table of the paper.

    Attributes:
        name: of the table and of its files.
        mart: that it shows.
        title: the caption's first words.
        legend: what the column heads mean.
        columns: of each dataset's group.
        judged: whether a judge stands behind some of its figures.
    """

    name: str
    mart: str
    title: str
    legend: str
    columns: tuple[Column, ...]
    judged: bool = True

    @property
    def tests(self) -> list[str]:
        """The metrics of the mart `significance` that its columns show."""
        return [column.tested for column in self.columns if column.tested]


TOKENS = "n_tokens"
"""Counts the responses whose tokens are known: an imported response may come without them."""
PHASES = ("understanding and filtering", "planning", "execution and monitoring", "self-correction", "verification")

LAYOUTS = {
    layout.name: layout
    for layout in [
        Layout(
            "main",
            "main_results",
            "Accuracy and response length",
            "EM: exact match, F1: token F1, Judge: judged accuracy, all three in percent. Tokens: mean response "
            "tokens, reasoning included.",
            (
                Column("exact_match", "EM", scale=100, better="more", tested="exact_match"),
                Column("f1", "F1", scale=100, better="more"),
                Column(
                    "judge_accuracy",
                    "Judge",
                    scale=100,
                    better="more",
                    counts=("n_verdicts",),
                    tested="judge_accuracy",
                ),
                Column("mean_tokens", "Tokens", better="less", counts=(TOKENS,), tested="mean_tokens"),
            ),
        ),
        Layout(
            "aes",
            "aes",
            "Accuracy-Efficiency Score",
            "ΔL: tokens saved and ΔA: exact match gained, in percent of the base variant's. AES: Accuracy-Efficiency "
            "Score, AES (judge): the same with judged accuracy.",
            (
                Column("delta_tokens", "ΔL", "", 1, 100, "more", (TOKENS,), relative=True, interval=""),
                Column("delta_accuracy", "ΔA", "", 1, 100, "more", relative=True, interval=""),
                Column(
                    "aes",
                    "AES",
                    decimals=2,
                    better="more",
                    counts=("n_answers", TOKENS),
                    relative=True,
                    tested="aes",
                    interval="aes_difference",
                ),
                Column(
                    "aes_judge",
                    "AES (judge)",
                    decimals=2,
                    better="more",
                    counts=("n_verdicts", TOKENS),
                    relative=True,
                    interval="",
                ),
            ),
        ),
        Layout(
            "rrp",
            "rrp_profile",
            "Reach-Redundancy Profile",
            "ρ: arrival, the share of a trace until the gold answer is derived. δ: share of redundant sentences. "
            "R: regulation, the harmonic mean of 1 − ρ and 1 − δ. R′: R with lengths measured against the base "
            "variant's. NR: traces that never derive the answer, in percent.",
            (
                Column("arrival", "ρ", decimals=3, better="less", counts=("n_scored",)),
                Column("redundancy", "δ", decimals=3, better="less", counts=("n_scored",)),
                Column("regulation", "R", "$R$", 3, better="more", counts=("n_scored",), tested="regulation"),
                Column("regulation_la", "R′", "$R'$", 3, better="more", counts=("n_scored",), relative=True),
                Column("never_reached_rate", "NR", scale=100, better="less", counts=("n_scored",)),
            ),
        ),
        Layout(
            "mqi",
            "mqi",
            "Metacognitive Quality Index",
            "L_obs: mean observed level, 0 to 5. MQI: L_obs × base tokens / tokens. P1 to P5: percent of the traces "
            f"that show a phase: {', '.join(f'{i} {phase}' for i, phase in enumerate(PHASES, 1))}.",
            (
                Column("l_obs", "L_obs", r"$L_{\mathrm{obs}}$", 2, better="more", counts=("n_scored",), tested="l_obs"),
                Column(
                    "mqi",
                    "MQI",
                    decimals=2,
                    better="more",
                    counts=("n_scored", TOKENS),
                    relative=True,
                    tested="mqi",
                ),
                *(
                    Column(f"phase_{i}", f"P{i}", decimals=0, scale=100, counts=("n_scored",), interval="")
                    for i in range(1, 6)
                ),
            ),
        ),
    ]
}
