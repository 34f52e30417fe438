"""How pages are shown: templates, in which every text is escaped, and how figures are written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from mbt_assets.explore.texts import shortened, visible

if TYPE_CHECKING:
    from mbt_assets.explore.source import Source

HERE = Path(__file__).parent


class View:
    """Fills templates.

    Args:
        source: whose study every page names.
    """

    def __init__(self, source: Source):
        self.source = source
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= {"figure": figure, "percent": percent, "words": words, "count": count}
        self.environment.filters |= {"visible": visible, "shortened": shortened}
        self.environment.globals |= {"at": at, "study": source.study}

    def page(
        self,
        request: Request,
        template: str,
        status: int = 200,
        choices: Mapping[str, Collection[str]] | None = None,
        **found: Any,
    ) -> HTMLResponse:
        """A page, or a part of one, as a response.

        Args:
            request: that it answers.
            template: file in `templates/`.
            status: of the response.
            choices: names in the address's query and the values they can have; the page tells of every other value.
            **found: what the template shows.
        """
        # Where one is, so that the navigation can say so and links can keep what was chosen.
        here = {"path": request.url.path, "query": dict(request.query_params)}
        strange = _strange(request, choices or {})
        text = self.environment.get_template(template).render(here=here, strange=strange, **found)
        # Texts of a data set may hold half a surrogate pair, which no encoding has.
        return HTMLResponse(text.encode("utf-8", "replace"), status)


def _strange(request: Request, choices: Mapping[str, Collection[str]]) -> list[tuple[str, str]]:
    """What the address asks for that there is none of: a link mistyped, or older than the study."""
    query = request.query_params
    return [(name, query[name]) for name, known in choices.items() if query.get(name) and query[name] not in known]


def at(*parts: Any, **query: Any) -> str:
    """An address within the explorer: path segments and query are quoted, a query value of None or "" is left out."""
    path = "/" + "/".join(quote(str(part), safe="") for part in parts)
    kept = {key: value for key, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(kept, doseq=True)}" if kept else path


def number_of(query: Mapping[str, str], name: str, otherwise: int) -> int:
    """The whole number that an address gives, 0 or more; another where it gives none."""
    text = query.get(name, "")
    # More digits than any list has rows are no number that is meant.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else otherwise


def figure(value: float | int | None, signed: bool = False) -> str:
    """A figure as tables show it: three decimals below 10, one below 1 000, otherwise whole; "–" for none."""
    if value is None:
        return "–"
    is_whole = isinstance(value, int) or (float(value).is_integer() and abs(value) >= 10)
    digits = 0 if is_whole else 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    written = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    return written.replace("-", "−")


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal; "–" for none."""
    return "–" if value is None else f"{value:.1%}"


def count(value: int | None) -> str:
    """A whole number with separators; "–" for none."""
    return "–" if value is None else f"{value:,}"


def words(name: str) -> str:
    """A column's name as words."""
    return name.replace("_", " ")
