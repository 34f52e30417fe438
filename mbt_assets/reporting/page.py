"""The report as HTML: one file that loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from mbt_assets.reporting.contents import Contents, Made
from mbt_assets.reporting.judging import AGREEMENT

FOLDER = Path(__file__).parent
GENERATOR = '<meta name="generator" content="mbt-assets report">'
"""By which a file is known as a report."""


def render(contents: Contents, made: Made | None = None) -> str:
    """The report as HTML; every text that comes from data is escaped.

    Args:
        contents: what stands in it.
        made: when and by what; without it the same contents always give the same text.
    """
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    return _template().render(
        contents=contents,
        made=made,
        judge_ranges=list(AGREEMENT.values()),
        generator=Markup(GENERATOR),
        policy=policy(script),
        script=Markup(script),
        style=Markup((FOLDER / "report.css").read_text(encoding="utf-8")),
    )


def is_report(file: Path) -> bool:
    """Whether a file begins as a report does."""
    with file.open("rb") as opened:
        return GENERATOR.encode() in opened.read(1024)


def policy(script: str) -> str:
    """The page's Content-Security-Policy: nothing is loaded, and no script runs but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # The figures' own styles stand in attributes, which no digest covers.
    allowed = {"default-src": "'none'", "style-src": "'unsafe-inline'", "script-src": f"'sha256-{digest}'"}
    allowed |= {"img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    return "; ".join(f"{kind} {source}" for kind, source in allowed.items())


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
