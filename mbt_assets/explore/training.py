"""The pages of what students were trained on: all training sets, the rows of one, and one row beside its draft."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mbt_assets import prompts
from mbt_assets.explore import training_lists as lists
from mbt_assets.explore.source import Source
from mbt_assets.explore.trace import documents_of
from mbt_assets.explore.training_lists import PER_PAGE
from mbt_assets.explore.training_rows import TrainingRow, training_row
from mbt_assets.explore.view import View
from mbt_assets.explore.wordings import reworded
from mbt_assets.scoring.answers import extract_answer, score

TEACHER_FIELDS = ("documents", "question", "answer", "aliases")


def routes(source: Source, view: View) -> list[Route]:
    """The pages' routes."""

    def every(request: Request) -> Response:
        with source.asking() as asked:
            sets = lists.training_sets(asked)
        return view.page(request, "training_sets.html", sets=sets)

    def one(request: Request) -> Response:
        dataset, slug = request.path_params["dataset"], request.path_params["variant"]
        wanted = lists.rows_of(request.query_params)
        with source.asking() as asked:
            about = lists.training_set(asked, dataset, slug)
            rows, listed = lists.listed(asked, dataset, slug, wanted)
            types = lists.types_of(asked, dataset)
            has_questions = asked.partition_if_stored("train_questions", dataset) is not None
        pages = max(1, -(-listed // PER_PAGE))
        return view.page(
            request,
            "training_set.html",
            choices=lists.KNOWN,
            set=about,
            wanted=replace(wanted, page=min(wanted.page, pages)),
            rows=rows,
            listed=listed,
            pages=pages,
            types=types,
            has_questions=has_questions,
        )

    def row(request: Request) -> Response:
        dataset, slug = request.path_params["dataset"], request.path_params["variant"]
        key = (request.path_params["question_id"], request.path_params["n"], request.path_params["trace"])
        wanted = lists.rows_of(request.query_params)
        with source.asking() as asked:
            about = lists.training_set(asked, dataset, slug)
            shown = training_row(asked, dataset, slug, key)
            around = lists.around(asked, dataset, slug, wanted, key)
        return view.page(
            request,
            "training_row.html",
            choices={**lists.KNOWN, "view": ("inline",)},
            set=about,
            t=shown,
            wanted=wanted,
            around=around,
            wording=_wording(shown),
            is_inline=request.query_params.get("view") == "inline",
            is_draft_right=_is_right(shown),
            asked=_teacher_prompt(source, slug, shown),
            documents=documents_of(shown.question, _gold(shown)),
            whole=request.query_params.get("whole") == "1",
        )

    return [
        Route("/training", every),
        Route("/training/{dataset}/{variant}", one),
        Route("/training/{dataset}/{variant}/{question_id:path}/{n:int}/{trace:int}", row),
    ]


def _gold(shown: TrainingRow) -> list[str]:
    return [shown.question["answer"], *shown.question["aliases"]] if shown.question else []


def _wording(shown: TrainingRow) -> Any:
    """How the draft was reworded; None where there is no draft, or it is too long to compare."""
    if shown.draft is None or shown.made is None or not shown.made.get("trace"):
        return None
    return reworded(shown.draft["reasoning"], shown.made["trace"])


def _is_right(shown: TrainingRow) -> bool | None:
    """Whether the draft's own answer is an exact match; None where there is no draft or no question."""
    draft = shown.draft
    if draft is None or shown.question is None:
        return None
    return score(extract_answer(draft["content"])[0], _gold(shown)).exact_match == 1


def _teacher_prompt(source: Source, slug: str, shown: TrainingRow) -> dict[str, Any] | None:
    """What the teacher was asked for a trace, rendered anew; None where it was not asked here."""
    made, question = shown.made, shown.question
    table, rows_variant = source.grid.sources[slug]
    if made is None or question is None or shown.published or table == "train_rollouts":
        return None
    fields = {name: question[name] for name in TEACHER_FIELDS}
    name = "mbt_s"
    if table == "rewritten_traces":
        if shown.draft is None or shown.solution is None or shown.solution["solution"] is None:
            return None
        name = source.grid.rewrite_template(rows_variant)
        fields |= {"solution": shown.solution["solution"], "trace": shown.draft["reasoning"]}
    is_same = prompts.digest(name) == made["prompt_digest"] and not shown.changed
    return {"template": name, "messages": prompts.render(name, **fields), "is_same": is_same}
