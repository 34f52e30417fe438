"""Imported rollouts stay: no run makes them again, and none puts its own in their place."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from mbt_assets.importing import ImportingError
from mbt_assets.stage import CheckOutcome, FrameCheck, Stage, StageSpec
from mbt_assets.staleness import assess
from resources.artifacts import Artifacts
from resources.lake import rows_digest

NOTE = "imported"
"""Note of a partition whose rows were imported: where from."""


def or_imported(spec: StageSpec) -> StageSpec:
    """The stage, with imported rows where there are some: a run gives those again, and sends no request."""

    def make(stage: Stage) -> pl.DataFrame:
        stored = stage.lake.imported(stage.node)
        if stored is not None:
            stage.note(**{NOTE: stored.provenance.source})
            return _imported_rows(stage)
        if stage.grid.awaits_import(stage.node.key):
            raise ImportingError(
                f"{stage.node}: {stage.model} has no weights here (source: imported), and its rollouts were not "
                "imported yet: do so with mbt import rollouts"
            )
        return spec.make(stage)

    def landing(stage: Stage, frame: pl.DataFrame) -> None:
        stored = stage.lake.imported(stage.node)
        if stored is None and NOTE not in stage.notes:
            spec.landing(stage, frame)
        elif stored is None or stored.data_version != rows_digest(frame):
            raise ImportingError(
                f"{stage.node}: rollouts were imported or forgotten while this ran: nothing of it is kept, run it again"
            )

    return replace(spec, make=make, landing=landing, checks=[_lenient(check) for check in spec.checks])


def _imported_rows(stage: Stage) -> pl.DataFrame:
    """The rows as they lie in the lake.

    Raises:
        ImportingError: they do not fit the questions any more.
    """
    standing = assess(stage.grid, Artifacts(stage.lake, stage.home), [stage.node])[stage.node]
    if standing.state != "fresh":
        raise ImportingError(f"{stage.node} is not made again: {standing.reason}")
    stage.context.log.info("%s: imported rows, used as they are; no request is sent", stage.node)
    return stage.read(stage.node.asset, stage.node.key)


def _lenient(check: FrameCheck) -> FrameCheck:
    """The check, which holds back no imported rows: nothing that runs here could give better ones."""

    def look(frame: pl.DataFrame, stage: Stage) -> CheckOutcome:
        outcome = check.look(frame, stage)
        if outcome.passed or NOTE not in stage.notes or not check.blocks(stage.study):
            return outcome
        return replace(outcome, passed=True, description=f"{outcome.description}; imported rows are taken as they are")

    return replace(check, look=look)
