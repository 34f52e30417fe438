"""Asking one judge about many rollouts, again where a reply does not parse, and what became of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mbt_assets import prompts
from mbt_assets.generation import Ask, ask_model
from mbt_assets.judge_tasks import JudgeTask, Row
from mbt_assets.scoring.forms import JSON_SCHEMA
from mbt_assets.scoring.replies import JudgeReplyError
from mbt_assets.stage import Stage
from mbt_assets.traces import teacher_weights as model_weights
from partitions.study import Sampling
from resources import engine
from resources.tables import TABLES

Key = tuple[Any, ...]
Outcome = dict[str, Any]
KEYS = ("question_id", "rollout_id")
QUESTION_COLUMNS = ("question_id", "question", "answer", "aliases", "tier")
JUDGE_USAGE = (
    "finish_reason",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "length_retries",
    "discarded_tokens",
    "queue_ms",
    "latency_ms",
    "request_digest",
)
"""What is kept of the judge's request, as `judge_…`: a judge costs as much as a student may."""

SEEDS_APART = 1_000_000
"""Between the seeds of one request's draws: more than a question has rollouts."""
SCORED, UNPARSEABLE, FAILED = "scored", "unparseable", "failed"
TOO_LONG = "too_long"
CONTEXT_TOO_LONG = "context_too_long: "
"""How the engine's words for a refused prompt begin; the servers' own words are known to it alone."""


@dataclass(frozen=True)
class Judge:
    """One judge of the study, ready to be asked.

    Attributes:
        digest: of what answers.
        endpoints: where it is asked.
        structured: how its server holds a reply to its form; None where it does not.
        context: most tokens of a prompt and its reply together; None where the study does not say.
    """

    name: str
    digest: str
    endpoints: Sequence[engine.Endpoint]
    sampling: Sampling
    structured: str | None
    context: int | None


@contextlib.contextmanager
def judge_at_work(stage: Stage, name: str) -> Iterator[Judge]:
    """A judge of the study, with its server while it is needed."""
    model = stage.study.models[name]
    uri, digest = model_weights(stage, name)
    sampling = stage.study.sampling_of(name, stage.study.judge_sampling)
    with stage.servers.serving(name, model, uri, digest) as endpoints:
        yield Judge(name, digest, endpoints, sampling, model.structured, model.context)


def rollouts_with_questions(stage: Stage) -> pl.DataFrame:
    """The rollouts of the stage's cell, each with its question.

    Raises:
        ValueError: a rollout answers no question of the dataset.
    """
    questions = stage.read("validation_questions", stage.dataset).select(QUESTION_COLUMNS)
    rollouts = stage.read("validation_rollouts", stage.node.key)
    rows = rollouts.join(questions, on="question_id", how="inner", validate="m:1", maintain_order="left")
    if rows.height != rollouts.height:
        raise ValueError(f"{stage.node}: {rollouts.height - rows.height} rollouts answer no validation question")
    return rows


def key_of(row: Row) -> Key:
    """What a rollout is found by in its cell."""
    return tuple(row[name] for name in KEYS)


def judgments(
    stage: Stage, judge: Judge, task: JudgeTask, rows: Iterable[Row], part: str, draw: int = 0
) -> dict[Key, Outcome]:
    """Ask a judge about rollouts, up to `limits.judge_reasks` times again where its reply does not parse.

    Every round has a journal of its own, so that a run that was cut off sends nothing of an earlier round again.

    Args:
        stage: the partition that the judgments are for.
        judge: who is asked.
        task: what is asked.
        rows: rollouts joined with their questions, none of them failed.
        part: tells apart what is asked for one partition.
        draw: tells apart the seeds of the same question asked again on purpose; some tens apart.

    Returns:
        By rollout: `status`, `failure`, `reply`, `reasks`, `attempts`, the `judge_…` columns, and the score columns
        where there is a score.
    """
    left = {key_of(row): row for row in rows}
    found: dict[Key, Outcome] = {}
    for again in range(stage.study.limits.judge_reasks + 1):
        if not left:
            break
        round_part = f"{part}__reask-{again}" if again else part
        replies = _replies(stage, judge, task, left.values(), round_part, draw + again)
        for key, row in left.items():
            found[key] = _outcome(judge, task, row, replies[key], found.get(key))
        # What failed is not asked again here: the engine has seen to that.
        unread = [key for key in left if found[key]["status"] == UNPARSEABLE and replies[key]["error"] is None]
        left = {key: left[key] for key in unread}
    return found


def _replies(
    stage: Stage, judge: Judge, task: JudgeTask, rows: Iterable[Row], part: str, draw: int
) -> dict[Key, dict[str, Any]]:
    json_reply = judge.structured == JSON_SCHEMA
    asks = [
        Ask(
            {key: row[key] for key in KEYS},
            {**task.fields(row), "json_reply": json_reply},
            row["rollout_id"] + SEEDS_APART * draw,
            task.form(row).request(judge.structured),
        )
        for row in rows
    ]
    frame = ask_model(stage, judge.endpoints, task.template, asks, judge.sampling, KEYS, part=part, expected=len(asks))
    return {key_of(reply): reply for reply in frame.iter_rows(named=True)}


def _outcome(judge: Judge, task: JudgeTask, row: Row, reply: Row, earlier: Outcome | None) -> Outcome:
    """What is known of a rollout after a reply about it; `earlier` was known before, where it was asked again."""
    if earlier is not None and reply["error"] is not None:
        # What the judge did say stays; the request that failed said nothing.
        return earlier | {"attempts": earlier["attempts"] + reply["attempts"]}
    known = _spent(reply, earlier) | {"status": FAILED, "failure": None, "reply": None}
    if reply["error"] is not None:
        return known | {"failure": _failure(reply["error"])}
    known["reply"] = reply["content"]
    if judge.context is not None and (reply["prompt_tokens"] or 0) >= judge.context:
        return known | {"failure": f"{TOO_LONG}: {_counted(reply, judge.context)}: the server has cut the prompt"}
    try:
        text = task.form(row).text(reply["content"], judge.structured)
        return known | {"status": SCORED, **task.read(text, row)}
    except JudgeReplyError as error:
        if _context_ended(reply, judge.context):
            return known | {"failure": f"{TOO_LONG}: {_counted(reply, judge.context)}: the reply broke off"}
        return known | {"status": UNPARSEABLE, "failure": str(error)}


def _spent(reply: Row, earlier: Outcome | None) -> Outcome:
    """The reply's request, and all that was spent until there was this reply."""
    spent = {f"judge_{name}": reply[name] for name in JUDGE_USAGE} | {"attempts": reply["attempts"], "reasks": 0}
    if earlier is not None:
        for name in ("attempts", "judge_length_retries", "judge_discarded_tokens"):
            spent[name] += earlier[name]
        spent["judge_discarded_tokens"] += earlier["judge_completion_tokens"] or 0
        spent["reasks"] = earlier["reasks"] + 1
    return spent


def _failure(error: str) -> str:
    refused = error.startswith(CONTEXT_TOO_LONG)
    return f"{TOO_LONG}: {error.removeprefix(CONTEXT_TOO_LONG)}" if refused else error


def _context_ended(reply: Row, context: int | None) -> bool:
    tokens = (reply["prompt_tokens"] or 0) + (reply["completion_tokens"] or 0)
    return context is not None and reply["finish_reason"] == "length" and tokens >= context


def _counted(reply: Row, context: int | None) -> str:
    return f"{reply['prompt_tokens']} tokens of prompt in a context of {context}"


def table_frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a judged table's frame; what a row does not say is null."""
    schema = {name: column.dtype for name, column in TABLES[table].columns().items()}
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def stamp(judge: Judge, task: JudgeTask, row: Row) -> dict[str, Any]:
    """What tells which rollout was judged, by whom and how."""
    return {
        **{name: row[name] for name in ("dataset", "variant", *KEYS, "checkpoint_digest")},
        "judge": judge.name,
        "judge_digest": judge.digest,
        "scorer_version": task.version,
        "prompt_digest": prompts.digest(task.template),
    }
