"""Tables as text: Markdown, LaTeX (booktabs), HTML and CSV. What comes from data or a study is escaped in each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path

import jinja2
import polars as pl
from markupsafe import Markup

from mbt_assets.tables.entries import Entry, Table

TEMPLATES = Path(__file__).parent
MINUS = "\u2212"
LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "–": "--",
    MINUS: "$-$",
    "′": r"$'$",
    "Δ": r"$\Delta$",
    **{letter: f"$\\{name}$" for letter, name in zip("αβγδρ", ("alpha", "beta", "gamma", "delta", "rho"), strict=True)},
}
"""Characters that LaTeX takes for something else, or that its fonts may lack."""
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#~&$])")


class Format(StrEnum):
    """A format that a table is written in."""

    md = "md"
    latex = "latex"
    csv = "csv"

    @property
    def ending(self) -> str:
        """Of its files' names."""
        return "tex" if self is Format.latex else self.value


def latex_text(text: str) -> str:
    """Plain text as LaTeX source that prints it."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def markdown_text(text: str) -> str:
    """Plain text as Markdown that shows it, also inside a cell of a table."""
    return MARKDOWN.sub(r"\\\1", text)


def markdown(table: Table, narrow: bool = False) -> str:
    """The table as GitHub-flavoured Markdown: one row per variant, a column per dataset and figure.

    Args:
        table: the table.
        narrow: datasets below each other, for places that cannot be scrolled sideways.
    """
    title, notes = markdown_text(table.layout.title), markdown_text(" ".join(table.notes))
    if narrow:
        names = [(dataset, markdown_text(dataset)) for dataset in table.datasets]
        parts = [f"### {name}\n\n{_markdown_rows(table, [dataset], [''])}" for dataset, name in names]
    else:
        parts = [_markdown_rows(table, table.datasets, [f"{dataset} " for dataset in table.datasets])]
    return "\n\n".join([f"## {title}", *parts, notes]) + "\n"


def _markdown_rows(table: Table, datasets: Sequence[str], prefixes: Sequence[str]) -> str:
    """Heads and rows of datasets that stand side by side in the table; a prefix goes before each one's heads."""
    columns = table.layout.columns
    heads = [f"{prefix}{column.head}" for prefix in prefixes for column in columns]
    lines = [["model", "mode", *map(markdown_text, heads)], ["---", "---", *["---:"] * len(heads)]]
    start = table.datasets.index(datasets[0]) * len(columns)
    for block in table.blocks:
        for row in block.rows:
            entries = row.entries[start : start + len(heads)]
            names = [markdown_text(block.model), markdown_text(row.mode)]
            lines.append([*names, *map(_markdown_entry, entries)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_entry(entry: Entry) -> str:
    estimate = f"**{entry.text}**" if entry.best else entry.text
    parts = [estimate + markdown_text(entry.marks), markdown_text(entry.spread), _count(entry)]
    return " ".join(filter(None, parts))


def _count(entry: Entry) -> str:
    """What is missing says how many scores there are."""
    return f"(n={entry.count})" if entry.missing and entry.count is not None else ""


def latex(table: Table) -> str:
    """The table as a LaTeX float, for a document that uses the packages booktabs and adjustbox."""
    return _environment().get_template("table.tex.j2").render(table=table, span=len(table.layout.columns))


def _latex_entry(entry: Entry) -> str:
    number = _latex_number(entry.text)
    marks = entry.marks.replace("†", r"\dagger").replace("‡", r"\ddagger")
    spread = rf"\,{{\scriptsize {_latex_number(entry.spread)}}}" if entry.spread else ""
    count = rf"\,{{\scriptsize {_count(entry)}}}" if _count(entry) else ""
    return (rf"\textbf{{{number}}}" if entry.best else number) + (f"$^{{{marks}}}$" if marks else "") + spread + count


def _latex_number(text: str) -> str:
    """A hyphen is no minus."""
    return latex_text(text.replace("-", MINUS))


def html(table: Table) -> Markup:
    """The table as an HTML `figure`, escaped."""
    text = _environment().get_template("table.html.j2").render(table=table, span=len(table.layout.columns))
    return Markup(text)


def csv(frame: pl.DataFrame) -> str:
    """Every column of a table's rows, in full precision; what is missing is empty."""
    return frame.write_csv()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Braces and percent signs are LaTeX's own.
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters.update(tex=latex_text, tex_entry=_latex_entry, count=_count)
    return environment
