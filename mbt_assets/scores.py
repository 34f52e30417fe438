"""Scores of each cell's rollouts: answers by rule, and what the study's judges say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from mbt_assets import prompts
from mbt_assets.checks import FAILED_JUDGMENTS, PARSE_FAILURES
from mbt_assets.generation import Ask, ask_model
from mbt_assets.recipes import JUDGE_TASKS, scorer_version
from mbt_assets.registry import check_landing
from mbt_assets.scoring import answers, degeneration, mqi, rrp, verdicts
from mbt_assets.scoring.answer_hits import parse_answer_hit, substring_hit
from mbt_assets.scoring.replies import JudgeReplyError
from mbt_assets.scoring.traces import mark, paragraphs
from mbt_assets.stage import Stage, StageSpec
from mbt_assets.traces import teacher_weights as model_weights
from resources.tables import TABLES

Row = Mapping[str, Any]
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
)
"""What a judged table keeps of the judge's request, as `judge_…`: a judge costs as much as a student may."""


@dataclass(frozen=True)
class JudgeTask:
    """What one judged table asks about a rollout and makes of the reply.

    Attributes:
        fields: fills the prompt template from a rollout joined with its question.
        read: turns the judge's reply on that rollout into score columns; raises JudgeReplyError.
        given: columns that need no judge.
        settled: score columns where there is nothing to ask; None where the judge has to be asked.
    """

    fields: Callable[[Row], dict[str, Any]]
    read: Callable[[str, Row], dict[str, Any]]
    given: Callable[[Row], dict[str, Any]] = lambda row: {}
    settled: Callable[[Row], dict[str, Any] | None] = lambda row: None


def _answer_scores(stage: Stage) -> pl.DataFrame:
    rows = _rollouts_with_questions(stage)
    extracted = [answers.extract_answer(text) for text in rows["content"]]
    frame = rows.with_columns(
        pl.Series("prediction", [answer for answer, _ in extracted], dtype=pl.String),
        pl.Series("answer_found", [found for _, found in extracted], dtype=pl.Boolean),
        pl.concat_list(pl.concat_list("answer"), "aliases").alias("references"),
        pl.Series("looping", [degeneration.looping(text) for text in rows["response"]], dtype=pl.Boolean),
        truncated=(pl.col("finish_reason") == "length").fill_null(False),
    )
    scores = answers.score_frame(frame.select("prediction", "references"))
    return frame.with_columns(
        *(scores[name].cast(pl.Float64) for name in answers.SCORE_COLUMNS),
        scores["unscorable_gold"],
        scores["normalized_prediction"],
        pl.col("prediction").alias("predicted_answer"),
        degenerate=pl.col("truncated") | pl.col("looping"),
        failed=pl.col("error").is_not_null(),
        empty_reasoning=pl.col("error").is_null() & (pl.col("reasoning") == ""),
        scorer_version=pl.lit(scorer_version("answer_scores")),
    ).select(TABLES["answer_scores"].column_names())


def _rollouts_with_questions(stage: Stage) -> pl.DataFrame:
    questions = stage.read("validation_questions", stage.dataset).select(QUESTION_COLUMNS)
    rollouts = stage.read("validation_rollouts", stage.node.key)
    rows = rollouts.join(questions, on="question_id", how="inner", validate="m:1", maintain_order="left")
    if rows.height != rollouts.height:
        raise ValueError(f"{stage.node}: {rollouts.height - rows.height} rollouts answer no validation question")
    return rows


def _verdict_fields(row: Row) -> dict[str, Any]:
    prediction = answers.extract_answer(row["content"])[0]
    return {**_gold(row), "prediction": prediction}


def _gold(row: Row) -> dict[str, Any]:
    return {"question": row["question"], "answer": row["answer"], "aliases": row["aliases"]}


def _read_rrp(reply: str, row: Row) -> dict[str, Any]:
    score, confidence = rrp.score_rrp(row["reasoning"], reply)
    return {**asdict(score), "confidence": confidence}


def _empty_profile(row: Row) -> dict[str, Any] | None:
    """The profile of an empty trace, which follows from its definition: there is no paragraph to ask about."""
    return None if paragraphs(row["reasoning"]) else {**asdict(rrp.profile(0, [], [])), "confidence": None}


TASKS: dict[str, JudgeTask] = {
    "judge_verdicts": JudgeTask(_verdict_fields, lambda reply, row: asdict(verdicts.parse_verdict(reply))),
    "answer_hits": JudgeTask(
        lambda row: {**_gold(row), "trace": row["reasoning"]},
        lambda reply, row: asdict(parse_answer_hit(reply)),
        given=lambda row: {"substring_hit": substring_hit(row["reasoning"], [row["answer"], *row["aliases"]])},
    ),
    "rrp_scores": JudgeTask(
        lambda row: {**_gold(row), "marked_trace": mark(row["reasoning"])}, _read_rrp, settled=_empty_profile
    ),
    "mqi_scores": JudgeTask(
        lambda row: {
            "question": row["question"],
            "tier": row["tier"],
            "trace": row["reasoning"],
            "prediction": answers.extract_answer(row["content"])[0],
        },
        lambda reply, row: asdict(mqi.parse_mqi(reply)),
        given=lambda row: {"tier": row["tier"]},
    ),
}


def _judged(stage: Stage) -> pl.DataFrame:
    rows = _rollouts_with_questions(stage)
    return pl.concat([_judged_by(stage, judge, rows) for judge in stage.study.judges])


def _judged_by(stage: Stage, judge: str, rows: pl.DataFrame) -> pl.DataFrame:
    table = stage.node.asset
    template, version = JUDGE_TASKS[table]
    task = TASKS[table]
    model = stage.study.models[judge]
    uri, digest = model_weights(stage, judge)
    sampling = stage.study.sampling_of(judge, stage.study.judge_sampling)

    asks = [
        Ask({key: row[key] for key in KEYS}, task.fields(row), row["rollout_id"])
        for row in rows.iter_rows(named=True)
        if row["error"] is None and task.settled(row) is None
    ]
    with stage.servers.serving(judge, model, uri, digest) as endpoints:
        replies = ask_model(stage, endpoints, template, asks, sampling, KEYS, part=judge, expected=len(asks))
    by_key = {tuple(reply[key] for key in KEYS): reply for reply in replies.iter_rows(named=True)}
    common = {"judge": judge, "judge_digest": digest, "scorer_version": version}
    judged = [
        {**_judgment(task, row, by_key.get(tuple(row[key] for key in KEYS))), **common}
        for row in rows.iter_rows(named=True)
    ]
    return _table_frame(table, judged, prompts.digest(template))


def _judgment(task: JudgeTask, row: Row, reply: Row | None) -> dict[str, Any]:
    """The judged columns of one rollout, whatever became of its reply."""
    fixed = {key: row[key] for key in ("dataset", "variant", *KEYS, "checkpoint_digest")}
    fixed |= task.given(row) | {"reply": None, "attempts": 0, "failure": None}
    if row["error"] is not None:
        return fixed | {"status": "failed", "parse_ok": False, "failure": "rollout_failed"}
    if reply is None:
        return fixed | {"status": "scored", "parse_ok": True, **(task.settled(row) or {})}
    fixed |= {"attempts": reply["attempts"]} | {f"judge_{name}": reply[name] for name in JUDGE_USAGE}
    if reply["error"] is not None:
        return fixed | {"status": "failed", "parse_ok": False, "failure": reply["error"]}
    fixed["reply"] = reply["content"]
    try:
        return fixed | {"status": "scored", "parse_ok": True, **task.read(reply["content"], row)}
    except JudgeReplyError as error:
        return fixed | {"status": "unparseable", "parse_ok": False, "failure": str(error)}


def _table_frame(table: str, rows: list[dict[str, Any]], prompt_digest: str) -> pl.DataFrame:
    schema = {name: column.dtype for name, column in TABLES[table].columns().items()}
    stamped = [{**row, "prompt_digest": prompt_digest} for row in rows]
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in stamped], schema=schema)


def _mean_of(*columns: str) -> Callable[[pl.DataFrame], dict[str, Any]]:
    def figures(frame: pl.DataFrame) -> dict[str, Any]:
        return {f"mean_{name}": frame[name].mean() for name in columns}

    return figures


def _answer_figures(frame: pl.DataFrame) -> dict[str, Any]:
    shown = ("exact_match", "f1", "substring_match", "completion_tokens")
    return _mean_of(*shown)(frame) | {"degenerate": int(frame["degenerate"].sum())}


def _judged_stage(name: str, *figures: str) -> StageSpec:
    checks = (FAILED_JUDGMENTS, PARSE_FAILURES)
    kinds = ("vllm", "openai")
    return StageSpec(name, "scores", _judged, kinds, "judge", _mean_of(*figures), checks, landing=check_landing)


STAGES = [
    StageSpec("answer_scores", "scores", _answer_scores, ("polars",), figures=_answer_figures, landing=check_landing),
    _judged_stage("judge_verdicts", "judge_correct"),
    _judged_stage("answer_hits", "answer_hit", "substring_hit"),
    _judged_stage("rrp_scores", "arrival", "redundant_fraction", "regulation"),
    _judged_stage("mqi_scores", "l_obs", "confidence"),
]
