"""The page for SQL: what can be asked, the answer as a table or a chart, and all of its rows as a file."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mbt_assets.explore import NotFound, drawing
from mbt_assets.explore.awaited import Wanted, while_awaited
from mbt_assets.explore.columns import CUT, Column, Form
from mbt_assets.explore.drawing import Choice, Drawn
from mbt_assets.explore.links import stored
from mbt_assets.explore.schema import EXAMPLES, Table, tables_of
from mbt_assets.explore.source import Source
from mbt_assets.explore.statement import PAGE, Statement
from mbt_assets.explore.texts import visible
from mbt_assets.explore.view import View, at, number_of
from partitions.grid import Node, cell_key
from resources.lake import LakeError
from resources.provenance import quoted
from resources.warehouse import QueryError

SECONDS = 60.0
"""For which the SQL of a page may run."""
FILE_SECONDS = 600.0
"""For which it may run where all its rows are written."""
AT_ONCE = 4
"""Statements that run at the same time."""
PATIENCE_S = 5.0
MEMORY = "25%"
"""Of this machine's memory for all statements together; what needs more is put on the disk meanwhile."""
DISK = "16GiB"
IN_ADDRESS = 12_000
"""Characters of an address at most: a longer one goes wrong in some browser or server."""
SHORT = 10
"""Characters up to which a number is shown as it is."""
KEPT = ("sql", "sort", "page", "chart", "x", "y", "of", "by", "spreadsheet")
"""What an address, or the form in its place, says."""
FORMS: dict[str, Form] = {"csv": "csv", "parquet": "parquet"}
MEDIA = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}

_running = threading.BoundedSemaphore(AT_ONCE)


class Busy(QueryError):
    """Too many statements run already."""


@dataclass
class Answer:
    """What a statement gives.

    Attributes:
        columns: of its result.
        rows: those of the page, as they are shown.
        total: rows of the whole result.
        number: of the page, from 1.
        sort: column that it is sorted by.
        descending: the greatest comes first.
        choice: what is drawn.
        drawn: the chart.
        plan: what an EXPLAIN says.
        seconds: that all of it took.
        error: why there is none.
        status: of the response.
    """

    columns: list[Column] = field(default_factory=list)
    rows: list[tuple[str | None, list[Any]]] = field(default_factory=list)
    total: int = 0
    number: int = 1
    sort: Column | None = None
    descending: bool = False
    choice: Choice | None = None
    drawn: Drawn | None = None
    plan: str = ""
    seconds: float = 0.0
    error: str = ""
    status: int = 200

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // PAGE))


def routes(source: Source, view: View) -> list[Route]:
    """The page's routes."""
    view.environment.filters |= {"short_number": short_number, "choices": choices}

    def shown(request: Request, wanted: Wanted, gone: threading.Event) -> Response:
        with source.asking() as asked:
            tables = tables_of(asked)
        answer = answer_of(source, wanted, gone) if wanted.get("sql", "").strip() else None
        return view.page(
            request,
            "query.html",
            answer.status if answer else 200,
            choices={"chart": drawing.KINDS, "of": drawing.SUMMARIES},
            **_page(wanted, tables, answer),
        )

    def written(request: Request, wanted: Wanted, gone: threading.Event) -> Response:
        form = FORMS.get(request.path_params["form"])
        if form is None:
            raise NotFound(f"rows are written as {' or '.join(FORMS)}")
        # A file without a name: it is gone when nobody has it open.
        file = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            with _statement(source, wanted.get("sql", ""), FILE_SECONDS, gone) as statement:
                statement.write(file, form, wanted.get("spreadsheet") == "1")
        except BaseException as error:
            file.close()
            if not isinstance(error, QueryError | LakeError):
                raise
            with source.asking() as asked:
                found = _page(wanted, tables_of(asked), Answer(error=str(error)))
            return view.page(request, "query.html", _status(error), **found)
        length = str(file.tell())
        file.seek(0)
        headers = {"Content-Disposition": f'attachment; filename="rows.{form}"', "Content-Length": length}
        return StreamingResponse(iter(lambda: file.read(1 << 18), b""), media_type=MEDIA[form], headers=headers)

    return [
        Route("/query", while_awaited(shown, KEPT), methods=["GET", "POST"]),
        Route("/query/rows.{form:str}", while_awaited(written, KEPT), methods=["GET", "POST"]),
    ]


def answer_of(source: Source, wanted: Wanted, gone: threading.Event) -> Answer:
    """What the SQL of an address gives; an error is part of it, so that the SQL stays on the page."""
    answer = Answer()
    start = time.perf_counter()
    try:
        with _statement(source, wanted["sql"], SECONDS, gone) as statement:
            if statement.is_explain:
                answer.plan = statement.explained()
            else:
                _fill(answer, statement, source, wanted)
    except (QueryError, LakeError) as error:
        answer.error, answer.status = str(error), _status(error)
    answer.seconds = time.perf_counter() - start
    return answer


def _status(error: Exception) -> int:
    return 503 if isinstance(error, Busy | LakeError) else 400


def _fill(answer: Answer, statement: Statement, source: Source, wanted: Wanted) -> None:
    answer.columns = statement.columns
    sort = wanted.get("sort", "")
    answer.sort = next((c for c in answer.columns if str(c.number) == sort.removeprefix("-")), None)
    answer.descending = sort.startswith("-")
    number = max(1, number_of(wanted, "page", 1))
    frame = statement.page(number, answer.sort, answer.descending)
    if number > 1 or frame.height > PAGE:
        answer.total = statement.count()
        last = max(1, -(-answer.total // PAGE))
        if number > last:
            frame = statement.page(number := last, answer.sort, answer.descending)
    else:
        answer.total = frame.height
    answer.number = number
    rows = frame.head(PAGE)
    links = links_of(source, statement, answer.columns, rows.rows())
    answer.rows = [(link, list(row)) for link, row in zip(links, rows.iter_rows(), strict=True)]
    answer.choice = drawing.choice_of(answer.columns, wanted)
    if answer.choice:
        answer.drawn = drawing.draw(statement, answer.choice)


def links_of(
    source: Source, statement: Statement, columns: list[Column], rows: list[tuple[Any, ...]]
) -> list[str | None]:
    """The page of what each row is about, where its columns say so and there is such a page."""
    told = [dict(zip((column.name for column in columns), row, strict=True)) for row in rows]
    asked = {(row.get("dataset"), row.get("question_id")) for row in told}
    validated: set[Any] = set()
    if asked and "dataset" in told[0] and "question_id" in told[0]:
        # Rollouts of training questions look the same, but have no page.
        wanted = ", ".join(f"({quoted(str(dataset))}, {quoted(str(question))})" for dataset, question in asked)
        sql = f"SELECT dataset, question_id FROM validation_questions WHERE (dataset, question_id) IN ({wanted})"
        validated = set(statement.rows(sql).rows())
    return [_link(source, row, validated) for row in told]


def _link(source: Source, row: dict[str, Any], validated: set[Any]) -> str | None:
    dataset, variant = row.get("dataset"), row.get("variant")
    if not isinstance(dataset, str) or not isinstance(variant, str):
        return None
    cell = (dataset, variant)
    keys = [row.get(name) for name in ("question_id", "rollout_id")]
    trace = row.get("trace_id")
    if None not in keys and trace is not None:
        is_there = stored(source, Node("training_sets", cell_key(dataset, variant))) is not None
        return at("training", *cell, *keys, trace) if is_there else None
    if not source.has_cell(dataset, variant):
        return None
    if None in keys:
        return at("cell", *cell)
    return at("trace", *cell, *keys) if (dataset, keys[0]) in validated else None


def short_number(value: float | int) -> str:
    """A number as it is, or with six digits that count where it has many; whole numbers in full."""
    written = str(value)
    return written if isinstance(value, int) or len(written) <= SHORT else f"{value:.6g}"


def choices(columns: list[Column], kinds: list[str]) -> list[tuple[str, str]]:
    """The columns of some kinds, for a menu."""
    return [(str(column.number), visible(column.name)) for column in columns if column.kind in kinds]


@contextlib.contextmanager
def _statement(source: Source, sql: str, seconds: float, gone: threading.Event) -> Iterator[Statement]:
    """A statement, ready to run, of which only some run at once."""
    if not _running.acquire(timeout=PATIENCE_S):
        raise Busy(f"{AT_ONCE} other statements are running: wait until one has ended, or cancel one")
    try:
        with source.asking() as asked:
            asked.connection.execute(f"SET memory_limit = '{MEMORY}'")
            asked.connection.execute(f"SET max_temp_directory_size = '{DISK}'")
            yield Statement(asked, sql, seconds, gone)
    finally:
        _running.release()


def _page(wanted: Wanted, tables: dict[str, list[Table]], answer: Answer | None) -> dict[str, Any]:
    """What the template shows."""
    stays = {name: value for name, value in wanted.items() if value}
    return {
        "wanted": stays,
        "sql": wanted.get("sql", ""),
        "in_address": len(at("query", **stays)) <= IN_ADDRESS,
        "groups": tables,
        "examples": [(title, at("query", sql=text.strip())) for title, text in EXAMPLES.items()],
        "answer": answer,
        "kinds": drawing.KINDS,
        "summaries": drawing.SUMMARIES,
        "page_rows": PAGE,
        "cut": CUT,
        "seconds": SECONDS,
    }
