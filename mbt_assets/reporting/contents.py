"""What stands in the report, worked out from the marts and from what is noted beside the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
import yaml
from markupsafe import Markup

from mbt_assets.exporting.redaction import without_folders, without_secrets
from mbt_assets.reporting.headline import Headline, headlines
from mbt_assets.reporting.heat import Heat, heats_of
from mbt_assets.reporting.judging import JudgeLine, judge_lines
from mbt_assets.reporting.listing import Listing, csv_address, listing_of
from mbt_assets.reporting.origins import Origins, origins_of
from mbt_assets.reporting.pictures import Picture, pictures_of
from mbt_assets.staleness import Standing, cell_standing
from mbt_assets.tables.entries import table_of
from mbt_assets.tables.frames import Marts, rows_of
from mbt_assets.tables.layout import LAYOUTS
from mbt_assets.tables.notes import caveat_of
from mbt_assets.tables.render import html
from partitions.grid import Grid, Node
from partitions.study import Study


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables: its name and title, itself as HTML, and the address of its CSV."""

    name: str
    title: str
    html: Markup
    csv: str


@dataclass(frozen=True)
class Contents:
    """What stands in the report and depends on the marts and their origins alone."""

    study: Study
    caveat: str
    settings: str
    headlines: list[Headline]
    heats: list[Heat]
    paper: list[PaperTable]
    pictures: list[Picture]
    judges: list[JudgeLine]
    judge_caveats: list[str]
    listings: list[Listing]
    origins: Origins


@dataclass(frozen=True)
class Made:
    """When and by what the report was made, and how the study stood then: no part of its data version.

    Attributes:
        at: UTC, ISO 8601.
        run_id: of the Dagster run.
        software: name and version.
        cells: the standing of each cell by its key.
        outdated: what has to be said of marts that are not up to date; empty where all are.
    """

    at: str
    run_id: str
    software: list[tuple[str, str]]
    cells: Mapping[str, Standing] = field(default_factory=dict)
    outdated: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many cells are fresh, stale and missing."""
        found = Counter(standing.state for standing in self.cells.values())
        return {state: found[state] for state in ("fresh", "stale", "missing")}

    @property
    def not_fresh(self) -> list[tuple[str, str, str]]:
        """Key, state and reason of each cell that is not fresh."""
        return [(key, one.state, one.reason) for key, one in self.cells.items() if one.state != "fresh"]


def contents_of(
    study: Study,
    marts: Marts,
    standings: Mapping[Node, Standing] | None = None,
    checkpoints: pl.DataFrame | None = None,
) -> Contents:
    """Work out what stands in the report.

    Args:
        study: the study.
        marts: all marts, and the lengths of responses.
        standings: of the study's partitions, for what the numbers were made from.
        checkpoints: the registry, by `reporting.origins.CHECKPOINTS`.
    """
    judges, judge_caveats = judge_lines(marts.frames.get("judge_quality"))
    return Contents(
        study,
        caveat_of(study),
        _settings(study),
        headlines(rows_of(LAYOUTS["main"], marts, study), study),
        heats_of(marts, study),
        [_paper_table(name, marts, study) for name in LAYOUTS],
        pictures_of(marts, study),
        judges,
        judge_caveats,
        [listing_of(name, frame) for name, frame in marts.frames.items()],
        origins_of(study, standings or {}, pl.DataFrame() if checkpoints is None else checkpoints),
    )


def states_of(grid: Grid, standings: Mapping[Node, Standing]) -> dict[str, Standing]:
    """The standing of each cell of a study, by its key."""
    return {key: cell_standing(standings, key) for key in grid.keys("cell_metrics")}


def _paper_table(name: str, marts: Marts, study: Study) -> PaperTable:
    layout = LAYOUTS[name]
    table = html(table_of(layout, marts, study))
    return PaperTable(name, layout.title, table, csv_address(rows_of(layout, marts, study)))


def _settings(study: Study) -> str:
    """The study as YAML, without what looks like a secret and without folders: the report is made to be handed on."""
    chosen = without_folders(without_secrets(study.model_dump(mode="json", exclude_defaults=True)))
    return yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True, width=100)
