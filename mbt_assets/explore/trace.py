"""The page of one rollout: its trace as the judges saw it, its scores, and the way back to what it comes from."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mbt_assets.explore import NotFound
from mbt_assets.explore.links import can_be_compared, parents_of
from mbt_assets.explore.origins import checkpoint_of, prompt_of, training_of
from mbt_assets.explore.others import answers_to
from mbt_assets.explore.paragraphs import Trace, cut, gold_pattern, marked
from mbt_assets.explore.rollout import Rollout, Row, read_rollout
from mbt_assets.explore.rollouts import KNOWN, Chosen, choose
from mbt_assets.explore.source import Asked, Source
from mbt_assets.explore.view import View, figure
from mbt_assets.scoring.answers import normalize
from mbt_assets.scoring.mqi import PHASES
from partitions.grid import Node, cell_key
from partitions.study import base_of

FLAGS = ("degenerate", "looping", "truncated", "empty_reasoning", "unscorable_gold", "failed")
SCORE_NAMES = {"judge_verdicts": "verdict", "answer_hits": "answer hit", "rrp_scores": "RRP", "mqi_scores": "MQI"}
VERDICTS = {"A": "A: correct", "B": "B: incorrect", "C": "C: not attempted"}


def routes(source: Source, view: View) -> list[Route]:
    """The page's routes."""

    def show(request: Request) -> Response:
        named, query = request.path_params, request.query_params
        if not source.has_cell(named["dataset"], named["variant"]):
            raise NotFound(f"the study has no cell {named['dataset']}|{named['variant']}: the grid shows those it has")
        with source.asking() as asked:
            rollout = read_rollout(asked, named["dataset"], named["variant"], named["question_id"], named["n"])
            found = _all_of(asked, rollout)
        chosen = choose(source.cells, rollout.dataset, rollout.variant, query)
        whole = query.get("whole") == "1"
        return view.page(
            request,
            "trace.html",
            choices={**KNOWN, "judge": rollout.judges},
            r=rollout,
            **trace_parts(rollout, query.get("judge"), whole),
            flags=flags_of(rollout),
            judgments=judgments_of(rollout),
            documents=documents_of(rollout.question, rollout.gold),
            standing=source.cell_standing(rollout.dataset, rollout.variant),
            base=_compared_with(source, rollout),
            judges=[(judge, judge) for judge in rollout.judges],
            normalized=normalize,
            whole=whole,
            around=_around(chosen, rollout.row),
            kept=chosen.query | ({"judge": query["judge"]} if query.get("judge") in rollout.judges else {}),
            **found,
        )

    return [Route("/trace/{dataset}/{variant}/{question_id:path}/{n:int}", show)]


def _all_of(asked: Asked, rollout: Rollout) -> dict[str, Any]:
    node = Node("validation_rollouts", cell_key(rollout.dataset, rollout.variant))
    return {
        "prompt": prompt_of(rollout),
        "checkpoint": checkpoint_of(asked, rollout),
        "training": training_of(asked, rollout),
        "parents": parents_of(asked.source, node),
        "answers": answers_to(asked, rollout.dataset, rollout.row["question_id"]),
    }


def _compared_with(source: Source, rollout: Rollout) -> str | None:
    """The base variant, where the rollout's own is another and Compare can show both."""
    base = base_of(rollout.variant)
    can = base != rollout.variant and can_be_compared(source, rollout.dataset, base, rollout.variant)
    return base if can else None


def _around(chosen: Chosen, row: Row) -> dict[str, Any]:
    """Where a rollout stands in the list that it was opened from, and what stands before and after it."""
    key = (row["question_id"], row["rollout_id"])
    place = chosen.place(*key)
    before, after = chosen.neighbours(*key)
    return {
        "before": before,
        "after": after,
        "place": None if place is None else place + 1,
        "count": chosen.count,
        "is_filtered": not chosen.wanted.is_all,
    }


def trace_parts(rollout: Rollout, judge: str | None, whole: bool) -> dict[str, Any]:
    """The trace with the marks of one judge, the first where none is chosen, and that judge's phases.

    Returns:
        `trace`, `judge`, `profile` (the row of `rrp_scores`) and `phases`: pairs of a phase's name and whether it is
        there, none where no judge said so.
    """
    chosen = judge if judge in rollout.judges else next(iter(rollout.judges), None)
    profile = rollout.said("rrp_scores", chosen)
    level = rollout.said("mqi_scores", chosen)
    trace: Trace = marked(rollout.row["reasoning"], rollout.gold, profile, whole)
    there = (level["phases"] or []) if level else []
    phases = [(name, number in there) for number, name in enumerate(PHASES, 1)] if level else []
    return {"trace": trace, "judge": chosen, "profile": profile, "level": level, "phases": phases}


def flags_of(rollout: Rollout) -> list[str]:
    """What is wrong with a rollout, in words."""
    scores = rollout.scores or {}
    found = [flag.replace("_", " ") for flag in FLAGS if scores.get(flag)]
    if rollout.row["error"] and "failed" not in found:
        found.append("failed")
    if scores and not scores["answer_found"] and not scores["failed"]:
        found.append("no answer tags")
    return found


def judgments_of(rollout: Rollout) -> list[dict[str, Any]]:
    """Every judge's reply about every score: its name, its row, and what it says in some words."""
    return [
        {"score": SCORE_NAMES[table], "row": row, "says": _says(table, row) if row["status"] == "scored" else ""}
        for table, rows in rollout.judged.items()
        for row in rows
    ]


def _says(table: str, row: Row) -> str:
    if table == "judge_verdicts":
        return VERDICTS.get(row["verdict"], row["verdict"] or "")
    if table == "answer_hits":
        return "YES: the reasoning derives it" if row["answer_hit"] else "NO: the reasoning never derives it"
    if table == "mqi_scores":
        return f"level {row['l_obs']} of 5, confidence {figure(row['confidence'])}"
    where = f"derived in paragraph {row['answer_paragraph']}" if row["answer_paragraph"] else "never derived"
    return (
        f"{where}, {len(row['redundant_paragraphs'] or [])} redundant; arrival {figure(row['arrival'])}, "
        f"redundancy {figure(row['redundant_fraction'])}, regulation {figure(row['regulation'])}"
    )


def documents_of(question: Row | None, gold: list[str]) -> list[dict[str, Any]]:
    """A question's documents: title, whether it supports, and its sentences, each with pieces and whether it supports.

    Args:
        question: row of a table of questions, or None.
        gold: answers to mark in them.
    """
    if question is None:
        return []
    pattern = gold_pattern(gold)
    facts = {(fact["title"], fact["sentence"]) for fact in question["supporting_facts"]}
    return [
        {
            "title": document["title"],
            "supports": document["is_supporting"],
            "sentences": [
                {"pieces": cut(text, pattern), "supports": (document["title"], place) in facts}
                for place, text in enumerate(document["sentences"])
            ],
        }
        for document in question["documents"]
    ]
