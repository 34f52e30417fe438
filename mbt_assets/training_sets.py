"""Training sets: the rows that each mode trains on, and how many were left out at each step, and why."""

from __future__ import annotations

from typing import Any

import polars as pl

from mbt_assets import prompts
from mbt_assets.checks import NOT_EMPTY
from mbt_assets.leakage import LEAKAGE, leaked
from mbt_assets.scoring.answers import extract_answer, score
from mbt_assets.stage import Stage, StageSpec
from partitions.grid import cell_key
from partitions.modes import MODES
from partitions.study import Training
from resources.tables import TrainingSets

THINK_TAGS = r"</?think>"
QUESTION_COLUMNS = ("question_id", "sample_id", "question", "documents", "answer", "aliases")


class Sieve:
    """Rows from which one step after the other takes some away.

    Attributes:
        rows: what is left.
        counts: `rows_in`, and `dropped_…` for every step that was asked for, in their order.
    """

    def __init__(self, rows: pl.DataFrame):
        self.rows = rows
        self.counts = {"rows_in": rows.height}

    def drop(self, reason: str, condition: pl.Expr) -> None:
        """Take away the rows where the condition holds; where it is null, it does not."""
        kept = self.rows.filter(~condition.fill_null(False))
        self.counts[f"dropped_{reason}"] = self.rows.height - kept.height
        self.rows = kept


def completion_of(trace: str, answer: str) -> str:
    """The text a student is trained to write: the trace inside think tags, then the answer inside answer tags."""
    return f"<think>\n{trace}\n</think>\n\n<answer>{answer}</answer>"


def sifted(rows: pl.DataFrame, settings: Training, *, traces: bool, only_correct: bool) -> Sieve:
    """The rows to train on, with their `completion`.

    Args:
        rows: rollouts, or traces (`traces`), each joined with its question and its rendered `prompt`.
        settings: limits.
        traces: the completion is the column `trace` closed with the gold answer, rather than the response as it is.
        only_correct: keep rollouts whose answer is an exact match only.

    Returns:
        The rows, sorted by `sample_id`, `rollout_id` and `trace_id`, and what each step dropped.
    """
    sieve = Sieve(rows.sort("sample_id", "rollout_id", "trace_id"))
    sieve.drop("failed", pl.col("error").is_not_null())
    sieve.drop("truncated", pl.col("finish_reason") == "length")
    parts = ["trace"] if traces else ["reasoning", "content"]
    sieve.drop("empty", pl.any_horizontal(pl.col(name).fill_null("").str.strip_chars() == "" for name in parts))
    # A chat template takes think tags for the end of the reasoning: the student would learn another text.
    sieve.drop("think_tags", pl.any_horizontal(pl.col(name).str.contains(THINK_TAGS) for name in parts))
    if only_correct:
        sieve.drop("wrong", ~pl.lit(_correct(sieve.rows)))
    completions = [_completion(row, traces) for row in sieve.rows.iter_rows(named=True)]
    sieve.rows = sieve.rows.with_columns(pl.Series("completion", completions, dtype=pl.String))
    if settings.max_chars:
        asked = pl.col("prompt").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
        sieve.drop("too_long", asked + pl.col("completion").str.len_chars() > settings.max_chars)
    # The same prompt under another id; several rollouts or traces of one question are no duplicates.
    text = pl.col("prompt").list.eval(pl.element().struct.field("content")).list.join("\n")
    sieve.drop("duplicate_prompt", pl.col("question_id") != pl.col("question_id").first().over(text))
    if settings.num_rollouts:
        sieve.drop("over_num_rollouts", pl.col("rollout_id") > settings.num_rollouts)
    if settings.num_traces:
        sieve.drop("over_num_traces", pl.col("trace_id") > settings.num_traces)
    if settings.limit:
        sieve.drop("over_limit", pl.int_range(pl.len()) >= settings.limit)
    return sieve


def _correct(rows: pl.DataFrame) -> pl.Series:
    right = [
        score(extract_answer(row["content"])[0], [row["answer"], *row["aliases"]]).exact_match == 1
        for row in rows.select("content", "answer", "aliases").iter_rows(named=True)
    ]
    return pl.Series(right, dtype=pl.Boolean)


def _completion(row: dict[str, Any], traces: bool) -> str:
    if traces:
        return completion_of(row["trace"].strip(), row["answer"])
    return f"<think>\n{row['reasoning'].strip()}\n</think>\n\n{row['content'].strip()}"


def _training_sets(stage: Stage) -> pl.DataFrame:
    settings = stage.study.training_of(stage.variant, "sft")
    rows, traces = _source_rows(stage)
    given = rows.height
    if settings.drop_leaked:
        rows = rows.join(leaked(stage, [stage.dataset]), on="question_id", how="anti", maintain_order="left")
    sieve = sifted(rows, settings, traces=traces, only_correct=MODES[stage.mode].only_correct)
    if settings.drop_leaked:
        sieve.counts = {"rows_in": given, "dropped_leaked": given - rows.height} | {
            name: count for name, count in sieve.counts.items() if name != "rows_in"
        }
    counts = {**sieve.counts, "rows_out": sieve.rows.height}
    stage.note(**counts)
    stage.context.log.info("%s: %s", stage.node, ", ".join(f"{name} {count}" for name, count in counts.items()))
    return sieve.rows.with_columns(dataset=pl.lit(stage.dataset), variant=pl.lit(stage.variant)).select(
        TrainingSets.column_names()
    )


def _source_rows(stage: Stage) -> tuple[pl.DataFrame, bool]:
    """The rows that the mode trains on, joined with their questions and prompts; and whether they are traces."""
    table, rows_variant = stage.grid.sources[stage.variant]
    rows = stage.read(table, cell_key(stage.dataset, rows_variant))
    numbers = [pl.lit(0, pl.Int64).alias(name) for name in ("rollout_id", "trace_id") if name not in rows.columns]
    joined = rows.with_columns(numbers).join(_questions(stage), on="question_id", how="inner", validate="m:1")
    if joined.height != rows.height:
        raise ValueError(f"{stage.node}: {rows.height - joined.height} rows of {table} answer no training question")
    return joined, table != "train_rollouts"


def _questions(stage: Stage) -> pl.DataFrame:
    questions = stage.read("train_questions", stage.dataset).select(QUESTION_COLUMNS)
    return with_prompts(questions).drop("documents", "question")


def with_prompts(questions: pl.DataFrame) -> pl.DataFrame:
    """Questions with the messages that ask each of them, in `prompt`."""
    messages = [
        prompts.render("answer", documents=row["documents"], question=row["question"])
        for row in questions.iter_rows(named=True)
    ]
    return questions.with_columns(pl.Series("prompt", messages, dtype=TrainingSets.columns()["prompt"].dtype))


def _figures(frame: pl.DataFrame) -> dict[str, float | int | None]:
    return {
        "questions": frame["question_id"].n_unique(),
        "mean_completion_chars": frame.select(pl.col("completion").str.len_chars().mean()).item(),
    }


STAGES = [StageSpec("training_sets", "training", _training_sets, checks=(NOT_EMPTY, LEAKAGE), figures=_figures)]
