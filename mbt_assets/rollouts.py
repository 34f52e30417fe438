"""Rollouts: base models answer the training questions, every variant answers the validation questions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from mbt_assets.checks import FAILED_REQUESTS, TRUNCATED_ROLLOUTS
from mbt_assets.generation import Ask, ask_model, forget_replies
from mbt_assets.identities import digest_of, request_identity
from mbt_assets.importing.kept import or_imported
from mbt_assets.models import base_of, checkpoint_of
from mbt_assets.registry import check_landing, verified
from mbt_assets.scoring.answers import split_reasoning
from mbt_assets.stage import Stage, StageSpec
from partitions.grid import Node
from partitions.modes import MODES
from partitions.study import variant
from resources.checkpoints import folder_state

ROLLOUT_KEYS = ("question_id", "rollout_id")


def _asks(questions: pl.DataFrame, rollouts: int) -> Iterator[Ask]:
    for row in questions.iter_rows(named=True):
        fields = {"documents": row["documents"], "question": row["question"]}
        for rollout_id in range(1, rollouts + 1):
            yield Ask({"question_id": row["question_id"], "rollout_id": rollout_id}, fields, rollout_id)


def _answered(
    stage: Stage, questions: pl.DataFrame, weights: dict[str, Any], prompt: str, count: int, registered: Node
) -> pl.DataFrame:
    model = stage.study.models[stage.model]
    sampling = stage.study.sampling_of(stage.model)
    identity = request_identity(stage.study, stage.model, weights["digest"])
    with (
        unchanged(stage, weights, registered),
        stage.servers.serving(stage.model, model, weights["uri"], identity) as endpoints,
    ):
        asks, expected = _asks(questions, count), questions.height * count
        frame = ask_model(stage, endpoints, prompt, asks, sampling, ROLLOUT_KEYS, expected=expected)
    # A rollout that never closes its reasoning is all reasoning, whether or not it opened it.
    split = [split_reasoning(text) for text in frame["response"]]
    return frame.with_columns(
        pl.Series("reasoning", [reasoning for reasoning, _ in split], dtype=pl.String),
        pl.Series("content", [content for _, content in split], dtype=pl.String),
        dataset=pl.lit(stage.dataset),
        variant=pl.lit(stage.variant),
        checkpoint_digest=pl.lit(weights["digest"]),
    )


@contextmanager
def unchanged(stage: Stage, weights: dict[str, Any], registered: Node) -> Iterator[None]:
    """See that all replies that the engine keeps of a partition are of the weights that they say.

    Should the files change while they are asked, nobody can tell which of the two answered. A note beside the journal
    says what the files were like; whoever finds another state there later, after a crash too, throws the replies away.

    Raises:
        CheckpointError: the weights have changed by the end.
    """
    folder = Path(weights["uri"])
    if not folder.is_dir():
        yield
        return
    note = stage.home.folder / "asking" / digest_of(str(stage.node))
    state = folder_state(folder)
    if note.is_file() and note.read_text() != state:
        forget_replies(stage)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(state)
    yield
    verified(stage, weights, registered)
    note.unlink(missing_ok=True)


def _train_rollouts(stage: Stage) -> pl.DataFrame:
    questions = stage.read("train_questions", stage.dataset)
    registered = Node("base_models", variant(stage.model, "base"))
    weights = base_of(stage, stage.model)
    return _answered(stage, questions, weights, "answer", stage.study.rollouts.train, registered)


def _validation_rollouts(stage: Stage) -> pl.DataFrame:
    questions = stage.read("validation_questions", stage.dataset)
    weights = checkpoint_of(stage, stage.variant)
    registered = Node("checkpoints", stage.variant)
    return _answered(stage, questions, weights, MODES[stage.mode].prompt, stage.study.rollouts.validation, registered)


def response_figures(frame: pl.DataFrame) -> dict[str, float | int | None]:
    """Headline numbers of generated rows: mean response tokens, truncated and failed rows."""
    return {
        "mean_response_tokens": frame.select(pl.col("completion_tokens").mean()).item(),
        "truncated": frame.filter(pl.col("finish_reason") == "length").height,
        "failed": int(frame["error"].is_not_null().sum()),
    }


_rolled_out = partial(
    StageSpec,
    kinds=("vllm", "openai"),
    pool="gpu",
    figures=response_figures,
    checks=(FAILED_REQUESTS, TRUNCATED_ROLLOUTS),
)
STAGES = [
    # What the teacher works on stands with its traces: a group of both sides would make the picture a circle.
    _rolled_out("train_rollouts", "traces", _train_rollouts),
    or_imported(_rolled_out("validation_rollouts", "rollouts", _validation_rollouts, landing=check_landing)),
]
