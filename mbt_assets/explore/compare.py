"""The page of two variants: on which questions they differ, and both on one question side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mbt_assets.explore import NotFound
from mbt_assets.explore import differences as found
from mbt_assets.explore.differences import PER_PAGE, Choice
from mbt_assets.explore.links import can_be_compared
from mbt_assets.explore.rollout import read_question, read_rollout
from mbt_assets.explore.source import Asked, Source
from mbt_assets.explore.trace import documents_of, flags_of, trace_parts
from mbt_assets.explore.view import View
from partitions.study import base_of

QUESTION = "SELECT rollout_id FROM {} WHERE question_id = ? ORDER BY rollout_id"


def routes(source: Source, view: View) -> list[Route]:
    """The page's routes."""

    def show(request: Request) -> Response:
        query = request.query_params
        scored = scored_variants(source)
        choice = _chosen(source, scored, query)
        question_id = query.get("question")
        with source.asking() as asked:
            if question_id:
                sides = _sides(asked, choice, question_id, query)
                return view.page(request, "compare_question.html", choice=choice, **sides)
            summary = found.summary_of(asked, choice)
            rows, listed = found.questions_of(asked, choice)
            stale = found.stale_sides(asked, choice)
            has_questions = asked.partition_if_stored("validation_questions", choice.dataset) is not None
        pages = max(1, -(-listed // PER_PAGE))
        return view.page(
            request,
            "compare.html",
            choices=found.KNOWN,
            choice=replace(choice, page=min(choice.page, pages)),
            datasets=[(name, name) for name in scored],
            variants=[(name, name) for name in scored[choice.dataset]],
            summary=summary,
            rows=rows,
            listed=listed,
            pages=pages,
            stale=stale,
            has_questions=has_questions,
            shown=[(name, text, summary[f"show_{name}"]) for name, (text, _) in found.SHOWN.items()],
            judge=source.study.judges[0],
        )

    return [Route("/compare", show)]


def scored_variants(source: Source) -> dict[str, list[str]]:
    """For each dataset the variants whose answers have scores."""
    grid = source.grid
    return {dataset: [v for v in grid.variants if can_be_compared(source, dataset, v)] for dataset in grid.datasets}


def _chosen(source: Source, scored: dict[str, list[str]], query: Any) -> Choice:
    """What is to be compared; what the address leaves open is the first that can be, and the base beside it.

    Raises:
        NotFound: what it names is not of the study, or nothing has scores yet.
    """
    usual = next((name for name, variants in scored.items() if len(variants) > 1), next(iter(scored), ""))
    dataset = query.get("dataset") or usual
    if dataset not in scored:
        raise NotFound(f"the study has no dataset {dataset!r}: choose one of {', '.join(scored)}")
    there = scored[dataset]
    if not there:
        raise NotFound(f"no answers on {dataset} have scores yet: materialize answer_scores, or choose another dataset")
    b = query.get("b") or next((v for v in there if base_of(v) != v and base_of(v) in there), there[-1])
    a = query.get("a") or (base_of(b) if base_of(b) in there else there[0])
    for variant in (a, b):
        if variant not in source.grid.variants:
            raise NotFound(f"the study has no variant {variant!r}: choose two at /compare")
        if variant not in there:
            raise NotFound(f"{variant} has no answer_scores on {dataset} yet: materialize them, or choose another")
    return found.choice_of(query, dataset, a, b)


def _sides(asked: Asked, choice: Choice, question_id: str, query: Any) -> dict[str, Any]:
    """Both variants' rollouts of one question, and where the question stands in the list."""
    question = read_question(asked, choice.dataset, question_id)
    sides = [
        _side(asked, choice.dataset, variant, question_id, query, name)
        for name, variant in (("a", choice.a), ("b", choice.b))
    ]
    if not any(side["rollout"] for side in sides):
        raise NotFound(f"neither {choice.a} nor {choice.b} has answered a question {question_id!r} of {choice.dataset}")
    gold = [question["answer"], *question["aliases"]] if question else []
    return {
        "question_id": question_id,
        "question": question,
        "sides": sides,
        "documents": documents_of(question, gold),
        "around": found.around(asked, choice, question_id),
        "whole": query.get("whole") == "1",
    }


def _side(asked: Asked, dataset: str, variant: str, question_id: str, query: Any, name: str) -> dict[str, Any]:
    rollouts = asked.partition("validation_rollouts", dataset, variant)
    ids = asked.rows(QUESTION.format(rollouts), [question_id], ("validation_rollouts",))["rollout_id"].to_list()
    side: dict[str, Any] = {"name": name, "variant": variant, "ids": ids, "rollout": None}
    if not ids:
        return side
    wanted = query.get(f"rollout_{name}", "")
    number = next((n for n in ids if str(n) == wanted), ids[0])
    rollout = read_rollout(asked, dataset, variant, question_id, number)
    parts = trace_parts(rollout, query.get("judge"), query.get("whole") == "1")
    return side | {"rollout": rollout, "number": number, "flags": flags_of(rollout)} | parts
