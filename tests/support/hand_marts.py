"""Hand-made marts of a small study whose names hold what LaTeX, Markdown and HTML take for something else."""

import polars as pl

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
