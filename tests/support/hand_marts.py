"""Hand-made marts of a small study whose names hold what LaTeX, Markdown and HTML take for something else."""

import polars as pl

from mbt_assets.tables.frames import Marts

STUDY = """
name: by_hand
datasets:
  tr_ails: {benchmark: trails}
  wi&de: {benchmark: trails}
training_datasets: [tr_ails]
models:
  stu#dent-1b:
    role: student
    source: {kind: hub, repo: a/b}
    server: {kind: vllm}
    modes: [base, mbt-s, mbt-r]
  teacher:
    role: teacher
    source: {kind: hub, repo: a/c}
    server: {kind: vllm}
    modes: [base]
  judge_%:
    role: judge
    source: {kind: hub, repo: a/d}
    server: {kind: vllm}
teacher: teacher
judges: [judge_%]
resamples: 200
"""
STUDENT = "stu#dent-1b"
COLUMNS = {
    "main_results": ["exact_match", "f1", "judge_accuracy", "mean_tokens"],
    "aes": ["delta_tokens", "delta_accuracy", "aes", "aes_judge"],
    "rrp_profile": ["arrival", "redundancy", "regulation", "regulation_la", "never_reached_rate"],
    "mqi": ["l_obs", "mqi", *(f"phase_{i}" for i in range(1, 6))],
}
COUNTS = {
    "main_results": {"n_questions": 8, "n_rollouts": 8, "n_failed": 0, "n_tokens": 8, "n_verdicts": 8},
    "aes": {},
    "rrp_profile": {"n_scored": 8, "n_unparseable": 0, "n_failed": 0},
    "mqi": {"n_scored": 8, "n_unparseable": 0, "n_failed": 0},
}
WORDS = {"aes": ["reason", "reason_judge"], "rrp_profile": ["judge"], "mqi": ["judge", "tier"]}


def mart(name, *rows):
    """A mart's frame: each row gives dataset, model, mode and what the test is about; an interval is (x, lo, hi)."""
    made = []
    for dataset, model, mode, values in rows:
        row = {"dataset": dataset, "model": model, "mode": mode, "variant": f"{model}__{mode}"}
        for column in COLUMNS[name]:
            value = values.get(column)
            row |= dict(zip([column, f"{column}_lo", f"{column}_hi"], value, strict=True)) if value else {}
        made.append(row | COUNTS[name] | {k: v for k, v in values.items() if k not in row})
    floats = [f"{column}{end}" for column in COLUMNS[name] for end in ("", "_lo", "_hi")]
    texts = ["dataset", "model", "mode", "variant", *WORDS.get(name, [])]
    types = dict.fromkeys(texts, pl.String) | dict.fromkeys(COUNTS[name], pl.Int64)
    frame = pl.DataFrame(made, schema=types | dict.fromkeys(floats, pl.Float64))
    # AES has no intervals of its own.
    return frame.drop(column for column in floats if name == "aes" and column.endswith(("_lo", "_hi")))


def tested(*rows):
    """The mart `significance`: dataset, mode, metric, and (difference, lo, hi)."""
    names = ["difference", "difference_lo", "difference_hi"]
    return pl.DataFrame(
        [
            {"dataset": dataset, "variant": f"{STUDENT}__{mode}", "metric": metric, "n_questions": 8, "mcnemar_p": 0.5}
            | dict(zip(names, value, strict=True))
            for dataset, mode, metric, value in rows
        ]
    )


def point(value):
    """A figure whose interval is of no matter."""
    return (value, value, value)


def hand_marts():
    """Marts and lengths over two datasets: on the second only the base was run."""
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
