"""The marts of a hand-made study."""

import polars as pl
import pytest
from hand_marts import COLUMNS, STUDENT, STUDY, mart, point, tested

from mbt_assets.tables.frames import Marts
from partitions.study_file import parse_study


@pytest.fixture
def study():
    return parse_study(STUDY)


@pytest.fixture
def marts():
    """Two datasets: on the second only the base was run."""
    first, second = "tr_ails", "wi&de"
    base = {"exact_match": (0.5, 0.25, 0.75), "f1": (0.5, 0.3, 0.8), "judge_accuracy": (0.5, 0.25, 0.75)}
    main = mart(
        "main_results",
        (first, STUDENT, "base", base | {"mean_tokens": (1000.0, 900.0, 1100.0)}),
        (
            first,
            STUDENT,
            "mbt-s",
            {
                "exact_match": (0.75, 0.5, 1.0),
                "f1": (0.8, 0.7, 0.9),
                "judge_accuracy": (0.625, 0.5, 0.8),
                "mean_tokens": (600.0, 550.0, 640.0),
                "n_verdicts": 7,
            },
        ),
        (
            first,
            STUDENT,
            "mbt-r",
            {
                "exact_match": (0.7499, 0.5, 0.9),
                "f1": (0.7, 0.6, 0.8),
                "mean_tokens": (800.0, 780.0, 820.0),
                "n_verdicts": 0,
            },
        ),
        (first, "teacher", "base", {name: point(1.0) for name in base} | {"mean_tokens": point(50.0)}),
        (second, STUDENT, "base", {name: point(0.0) for name in base} | {"mean_tokens": point(70.0)}),
    )
    zero = dict.fromkeys(COLUMNS["aes"])
    aes = mart(
        "aes",
        (first, STUDENT, "base", {name: point(0.0) for name in zero}),
        (first, STUDENT, "mbt-s", {"delta_tokens": point(0.4), "delta_accuracy": point(0.5), "aes": point(1.9)}),
        (first, STUDENT, "mbt-r", {"delta_tokens": point(0.2), "delta_accuracy": point(0.4998), "aes": point(1.6994)}),
        (second, STUDENT, "base", {"delta_tokens": point(0.0), "reason": "the base variant has an exact match of 0"}),
    )
    judged = {"judge": "judge_%"}
    best = {"arrival": (0.25, 0.2, 0.3), "redundancy": (0.1, 0.05, 0.15), "regulation": (0.8, 0.7, 0.9)}
    rrp = mart(
        "rrp_profile",
        (first, STUDENT, "base", judged | {"arrival": point(0.5), "redundancy": point(0.4), "regulation": point(0.54)}),
        (first, STUDENT, "mbt-s", judged | best | {"n_scored": 6, "n_unparseable": 2}),
        (first, STUDENT, "mbt-s", {"judge": "another"} | {name: point(0.9) for name in best}),
    )
    phases = {f"phase_{i}": point(0.2 * i) for i in range(1, 6)}
    mqi = mart(
        "mqi",
        (first, STUDENT, "base", judged | {"tier": "all", "l_obs": point(1.0), "mqi": point(1.0)} | phases),
        (first, STUDENT, "mbt-s", judged | {"tier": "all", "l_obs": (4.0, 3.5, 4.5), "mqi": (6.667, 6, 7)} | phases),
        (first, STUDENT, "mbt-s", judged | {"tier": "hard", "l_obs": point(2.0), "mqi": point(2.0)}),
    )
    significance = tested(
        (first, "mbt-s", "exact_match", (0.25, 0.05, 0.45)),
        (first, "mbt-s", "mean_tokens", (-400.0, -500.0, -300.0)),
        (first, "mbt-r", "exact_match", (0.2499, -0.01, 0.5)),
        (first, "mbt-s", "aes", (1.9, 1.0, 2.6)),
    )
    lengths = pl.DataFrame(
        [(first, f"{STUDENT}__{mode}", 8, 50, 80, 100, 150, 400) for mode in ("base", "mbt-s")],
        schema=["dataset", "variant", "n", "p5", "p25", "p50", "p75", "p95"],
        orient="row",
    )
    frames = {"main_results": main, "aes": aes, "rrp_profile": rrp, "mqi": mqi, "significance": significance}
    return Marts(frames, lengths)
