"""What each judged table asks about a rollout, what a reply to it looks like, and what is made of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mbt_assets.recipes import JUDGE_TASKS
from mbt_assets.scoring import answer_hits, answers, mqi, rrp, verdicts
from mbt_assets.scoring.forms import Form
from mbt_assets.scoring.traces import mark, paragraphs

Row = Mapping[str, Any]
"""A rollout joined with its question; `numbers` holds the markers' numbers where they are not 1, 2, …"""


@dataclass(frozen=True)
class JudgeTask:
    """What one judged table asks about a rollout and makes of the reply.

    Attributes:
        template: the prompt template.
        version: of the parser and score.
        fields: fills the prompt template from a rollout joined with its question.
        form: what a reply looks like.
        read: turns the judge's reply on that rollout into score columns; raises JudgeReplyError.
        label: what two judgments of the same rollout are compared by, from the score columns.
        given: columns that need no judge.
        settled: score columns where there is nothing to ask; None where the judge has to be asked.
    """

    template: str
    version: str
    fields: Callable[[Row], dict[str, Any]]
    form: Callable[[Row], Form]
    read: Callable[[str, Row], dict[str, Any]]
    label: Callable[[Row], str]
    given: Callable[[Row], dict[str, Any]] = lambda row: {}
    settled: Callable[[Row], dict[str, Any] | None] = lambda row: None


def _gold(row: Row) -> dict[str, Any]:
    return {"question": row["question"], "answer": row["answer"], "aliases": row["aliases"]}


def _prediction(row: Row) -> dict[str, Any]:
    return {"prediction": answers.extract_answer(row["content"])[0]}


def _substring_hit(row: Row) -> dict[str, Any]:
    return {"substring_hit": answer_hits.substring_hit(row["reasoning"], [row["answer"], *row["aliases"]])}


def _marked(row: Row) -> dict[str, Any]:
    numbers = row.get("numbers")
    return {"marked_trace": mark(row["reasoning"], numbers), "renumbered": numbers is not None}


def _rrp_form(row: Row) -> Form:
    return rrp.reply_form(len(paragraphs(row["reasoning"])), row.get("numbers"))


def _read_rrp(reply: str, row: Row) -> dict[str, Any]:
    score, confidence = rrp.score_rrp(row["reasoning"], reply, row.get("numbers"))
    return {**asdict(score), "confidence": confidence}


def _empty_profile(row: Row) -> dict[str, Any] | None:
    """The profile of an empty trace, which follows from its definition: there is no paragraph to ask about."""
    return None if paragraphs(row["reasoning"]) else {**asdict(rrp.profile(0, [], [])), "confidence": None}


TASKS: dict[str, JudgeTask] = {
    "judge_verdicts": JudgeTask(
        *JUDGE_TASKS["judge_verdicts"],
        fields=lambda row: _gold(row) | _prediction(row),
        form=lambda row: verdicts.FORM,
        read=lambda reply, row: asdict(verdicts.parse_verdict(reply)),
        label=lambda scores: scores["verdict"],
    ),
    "answer_hits": JudgeTask(
        *JUDGE_TASKS["answer_hits"],
        fields=lambda row: {**_gold(row), "trace": row["reasoning"]},
        form=lambda row: answer_hits.FORM,
        read=lambda reply, row: asdict(answer_hits.parse_answer_hit(reply)),
        label=lambda scores: "YES" if scores["answer_hit"] else "NO",
        given=_substring_hit,
    ),
    "rrp_scores": JudgeTask(
        *JUDGE_TASKS["rrp_scores"],
        fields=lambda row: _gold(row) | _marked(row),
        form=_rrp_form,
        read=_read_rrp,
        label=lambda scores: str(scores["answer_paragraph"]),
        settled=_empty_profile,
    ),
    "mqi_scores": JudgeTask(
        *JUDGE_TASKS["mqi_scores"],
        fields=lambda row: (
            {"question": row["question"], "tier": row["tier"], "trace": row["reasoning"]} | _prediction(row)
        ),
        form=lambda row: mqi.FORM,
        read=lambda reply, row: asdict(mqi.parse_mqi(reply)),
        label=lambda scores: str(scores["l_obs"]),
        given=lambda row: {"tier": row["tier"]},
    ),
}
