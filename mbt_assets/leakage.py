"""Leakage: training questions that also stand in a validation split, by their id or by their text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from mbt_assets import benchmarks
from mbt_assets.scoring.answer_columns import normalize_series
from mbt_assets.stage import CheckOutcome, FrameCheck, Stage

FOUND: dict[str, Any] = dict.fromkeys(("dataset", "question_id", "validation", "validation_id", "by"), pl.String())
EXAMPLES = 5


def leaked(stage: Stage, datasets: Iterable[str]) -> pl.DataFrame:
    """The training questions of some datasets that stand in a validation split of the study.

    Ids are compared within one benchmark, normalised text between all. Where a benchmark states its facts anew in the
    documents of each question, the documents are part of that text: the same words then ask something else.

    Args:
        stage: reads the questions and knows the study.
        datasets: whose training questions.

    Returns:
        One row per pair: `dataset`, `question_id`, `validation` (dataset), `validation_id` and `by` (id or text).
    """
    validation = {name: _questions(stage, "validation_questions", name) for name in stage.grid.datasets}
    found = [pl.DataFrame(schema=FOUND)]
    for dataset in datasets:
        asked = _questions(stage, "train_questions", dataset)
        for name, held_out in validation.items():
            right = held_out.select(validation_id="question_id", key="question_id", text="text")
            if stage.study.datasets[dataset].benchmark == stage.study.datasets[name].benchmark:
                pairs = asked.join(right.select("key", "validation_id"), left_on="question_id", right_on="key")
                found.append(_pairs(pairs, dataset, name, "id"))
            pairs = asked.join(right.select("text", "validation_id"), on="text")
            found.append(_pairs(pairs, dataset, name, "text"))
    return pl.concat(found)


def _questions(stage: Stage, table: str, dataset: str) -> pl.DataFrame:
    rows = stage.read(table, dataset)
    text = rows["question"]
    known = benchmarks.BENCHMARKS.get(stage.study.datasets[dataset].benchmark)
    if known is not None and known.facts_in_documents:
        documents = [" ".join(s for document in row for s in document["sentences"]) for row in rows["documents"]]
        text = text + " " + pl.Series(documents, dtype=pl.String)
    # A question without words equals no other.
    return rows.select("question_id").with_columns(text=normalize_series(text).replace("", None))


def _pairs(rows: pl.DataFrame, dataset: str, validation: str, by: str) -> pl.DataFrame:
    texts = {"dataset": dataset, "validation": validation, "by": by}
    return rows.with_columns(**{name: pl.lit(text) for name, text in texts.items()}).select(list(FOUND))


def describe(pairs: pl.DataFrame) -> str:
    """The first pairs in words."""
    shown = [
        f"{row['question_id']} is {row['validation_id']} of {row['validation']} (by {row['by']})"
        for row in pairs.head(EXAMPLES).iter_rows(named=True)
    ]
    more = pairs.height - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _look(frame: pl.DataFrame, stage: Stage) -> CheckOutcome:
    pairs = leaked(stage, [stage.dataset]).join(frame.select("question_id").unique(), on="question_id", how="semi")
    count = pairs["question_id"].n_unique()
    advice = f"{count} training questions stand in a validation split: {describe(pairs)}. Take them out of the "
    advice += "training split, or set sft.drop_leaked: true, which leaves them out and counts them"
    return CheckOutcome(count == 0, {"leaked": count}, advice if count else "no training question is validated on")


LEAKAGE = FrameCheck(
    "leakage", "No training question stands in a validation split, by id or by normalised text.", _look
)
