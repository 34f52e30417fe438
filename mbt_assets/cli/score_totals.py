"""The totals of `mbt score`: means over rows, or over questions with their intervals.

What belongs here: adding up. It holds numbers and keys of rollouts, never their texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import orjson
import polars as pl

from mbt_assets.cli.score_rows import Chunk, ScoreInputError
from mbt_assets.scoring.answers import SCORE_COLUMNS
from mbt_assets.scoring.repeated import AT_K, repeated_frame
from mbt_assets.scoring.stats import Bootstrap, Estimate, Statistic, itself


@dataclass
class Totals:
    """What the scored rows add up to.

    Attributes:
        rows: rows so far.
        unscorable_gold: of them, those whose references are all empty after normalisation.
        no_answer: of them, responses without a pair of answer tags; None where predictions are given.
    """

    rows: int = 0
    unscorable_gold: int = 0
    no_answer: int | None = None
    _sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SCORE_COLUMNS, 0.0))
    _rollouts: list[pl.DataFrame] = field(default_factory=list)

    @property
    def has_questions(self) -> bool:
        """Whether rows say which question they answer."""
        return bool(self._rollouts)

    def add(self, chunk: Chunk, scored: pl.DataFrame) -> None:
        """Count in a chunk of scored rows."""
        self.rows += scored.height
        self.unscorable_gold += int(scored["unscorable_gold"].sum())
        for name in SCORE_COLUMNS:
            self._sums[name] += float(scored[name].sum())
        if "answer_found" in chunk.given:
            self.no_answer = (self.no_answer or 0) + chunk.given["answer_found"].count(False)
        if "question_id" in chunk.given:
            self._rollouts.append(_rollouts(chunk, scored))

    def means(self) -> dict[str, float | None]:
        """The mean of each score over rows; None without rows."""
        return {name: total / self.rows if self.rows else None for name, total in self._sums.items()}

    def check_rollouts(self, where: str) -> None:
        """See that no rollout of a question comes twice.

        Args:
            where: File and word for a row, such as `answers.jsonl, line`, for the message.

        Raises:
            ScoreInputError: One does.
        """
        if not self._rollouts:
            return
        keys = pl.concat(self._rollouts).select("question_id", "rollout_id", "place")
        twice = keys.filter(pl.struct("question_id", "rollout_id").is_duplicated()).sort("place")
        if twice.is_empty():
            return
        question, rollout, first = twice.row(0)
        again = twice.filter(question_id=question, rollout_id=rollout)["place"][1]
        raise ScoreInputError(
            f"{where} {again}: rollout {rollout} of question {question} stands in {first} already; leave out "
            "rollout_id where the order of the rows is that of the rollouts"
        )

    def estimates(self, resamples: int) -> dict[str, Estimate]:
        """Each score, and avg@k, maj@k and pass@k of exact match, as means over questions.

        Args:
            resamples: Of the bootstrap over questions; 0 for no intervals.

        Returns:
            By name: the four scores, then `avg_k`, `maj_k` and `pass_k` for k = 1, 2, 4, … of the questions that have
            k rollouts. A question's own score is the mean over its rollouts.
        """
        rollouts = pl.concat(self._rollouts)
        questions = rollouts.group_by("question_id").agg(pl.col(SCORE_COLUMNS).mean()).sort("question_id")
        at_k = repeated_frame(rollouts.rename({"exact_match": "score"})).pivot("k", index="question_id", values=AT_K)
        table = questions.join(at_k, on="question_id", how="left", maintain_order="left").drop("question_id")
        columns = {name.replace("_at_k", ""): table[name].to_numpy() for name in table.columns}
        if not resamples:
            return {name: _mean(values) for name, values in columns.items()}
        found = Bootstrap(resamples).estimates([Statistic([values], itself) for values in columns.values()])
        return dict(zip(columns, found, strict=True))


def _rollouts(chunk: Chunk, scored: pl.DataFrame) -> pl.DataFrame:
    """What the totals keep of rows with questions: keys, scores and a digest that tells predictions apart."""
    given = chunk.given
    return scored.select(SCORE_COLUMNS).with_columns(
        # As JSON, so that 1 and "1" stay two questions.
        question_id=pl.Series([orjson.dumps(item).decode() for item in given["question_id"]], dtype=pl.String),
        # Without numbers, the order of the rows is that of the rollouts.
        rollout_id=pl.Series(given.get("rollout_id", chunk.places), dtype=pl.Int64),
        place=pl.Series(chunk.places, dtype=pl.Int64),
        prediction=scored["normalized_prediction"].hash(),
    )


def _mean(values: np.ndarray) -> Estimate:
    there = values[~np.isnan(values)]
    return Estimate(len(there), float(there.mean()) if len(there) else None, None)
