"""`mbt doctor`: looks at an installation, and says what to do about what it finds."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from mbt_assets.cli.common import FAILED, JsonOption, StudyOption, out, print_json, working

if TYPE_CHECKING:
    from mbt_assets.doctor import Finding

COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


def doctor(study: StudyOption = None, as_json: JsonOption = False) -> None:
    """Check the installation for a study: software, GPUs, disk, lake, records, secrets, endpoints, clock, cluster.

    Warnings do not make it fail; faults do (exit code 1).
    """
    from mbt_assets.doctor.examination import examine
    from partitions.study_file import load_study
    from resources.home import Home

    chosen = load_study(study)
    with working("looking at the installation"):
        findings = examine(chosen, Home.from_environment(chosen.name))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        out.print(_table(chosen.name, findings))
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(FAILED)


def _table(study: str, findings: list[Finding]) -> Table:
    table = Table(title=f"installation for study {escape(study)}")
    for column in ("what", "state", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        state = f"[{COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row(escape(finding.topic), state, escape(finding.found), escape(finding.advice))
    return table
