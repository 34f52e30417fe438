"""The reference of the command line, made by typer from the commands themselves."""

from __future__ import annotations

import re

import typer
from markdown_text import prose, table
from typer.cli import get_docs_for_click
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from mbt_assets.cli.main import app

LISTS = re.compile(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+\n")
"""Typer's lists of commands, which it cuts off in mid-sentence."""


def page() -> str:
    """The page as Markdown."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group, info_name="mbt")
    rows = [[f"[`{name}`](#{_anchor(name)})", prose(_summary(command))] for name, command in all_commands(group)]
    sections = [
        get_docs_for_click(obj=group.commands[name], ctx=context, indent=1, call_prefix="mbt")
        for name in group.list_commands(context)
    ]
    return "\n\n".join([table(["command", "what it does"], rows), *map(_tidy, sections)])


def all_commands(group: TyperGroup, prefix: str = "mbt") -> list[tuple[str, TyperCommand]]:
    """Every command that can be run, with its full name."""
    found: list[tuple[str, TyperCommand]] = []
    for name, command in group.commands.items():
        full = f"{prefix} {name}"
        found += all_commands(command, full) if isinstance(command, TyperGroup) else [(full, command)]
    return found


def _summary(command: TyperCommand) -> str:
    """The first paragraph of a command's help."""
    return " ".join((command.help or "").split("\n\n")[0].split())


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _tidy(section: str) -> str:
    return LISTS.sub("", section).replace("```console\n$ ", "```sh\n").strip()
