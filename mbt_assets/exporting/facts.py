"""What an export says of itself: of what it was made, and how each cell stood."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import dataframely as dy
import polars as pl
import yaml

import mbt_assets
from mbt_assets.exporting.choice import Choice
from mbt_assets.exporting.redaction import without_secrets
from mbt_assets.registry import mixed_cells
from mbt_assets.staleness import Standing, assess
from mbt_assets.training_notes import git_commit
from partitions.grid import CELL_ASSETS, Grid, Node, split_key
from partitions.study import Study
from resources.artifacts import Artifacts
from resources.lake import Lake
from resources.study_frames import frame_of
from resources.tables import LAKE_TABLES

COMPLETE, RESCORING = "complete", "being re-scored"


class ExportInfo(dy.Schema):
    """What this file is: an export of a study, by which versions, when and of what; one row."""

    study = dy.String(primary_key=True, description="the study's name")
    note = dy.String(description="what whoever reads the figures has to know of the cells")
    study_yaml = dy.String(description="the whole study as YAML; what looks like a secret in it is ***")
    seed = dy.Int64(description="the study's seed")
    created_at = dy.Datetime(description="when the export was made; UTC")
    project_version = dy.String(description="version of mbt-assets that made it")
    git_commit = dy.String(nullable=True, description="commit of the checkout that it ran from; NULL: from none")
    is_git_dirty = dy.Bool(nullable=True, description="that checkout had been edited")
    python_version = dy.String(description="version of Python")
    duckdb_version = dy.String(description="version of duckdb that wrote the file")
    polars_version = dy.String(description="version of polars")
    dagster_version = dy.String(description="version of dagster")
    has_texts = dy.Bool(description="prompts, responses, traces and replies are in it")
    tables_left_out = dy.List(dy.String(), description="tables of the lake that are not in it")
    datasets = dy.List(dy.String(), nullable=True, description="datasets of the cells, if a slice; NULL: all")
    variants = dy.List(dy.String(), nullable=True, description="variants of the cells, if a slice; NULL: all")


class Cells(dy.Schema):
    """How each cell of the export stood when it was made: whether its figures can be relied upon."""

    dataset = dy.String(primary_key=True, description="dataset of the cell")
    variant = dy.String(primary_key=True, description="model__mode")
    status = dy.String(
        description=f"{COMPLETE}; {RESCORING} (its tables are of several checkpoints, and marts leave it out); stale "
        "(something that it is made from has changed since); missing (something was never made)"
    )
    reason = dy.String(nullable=True, description="why it is not complete")
    is_in_marts = dy.Bool(description="the marts were made from this cell's figures as they are here")
    rollout_source = dy.String(nullable=True, description="file that its rollouts were imported from")


def info_frame(study: Study, choice: Choice, cells: pl.DataFrame) -> pl.DataFrame:
    """The one row of `export_info`."""
    commit = git_commit()
    datasets, variants = zip(*map(split_key, sorted(choice.cells)), strict=True) if choice.cells else (None, None)
    row = (
        study.name,
        _note(cells),
        yaml.safe_dump(without_secrets(study.model_dump(mode="json")), sort_keys=False, allow_unicode=True),
        study.seed,
        datetime.now(UTC).replace(tzinfo=None),
        mbt_assets.__version__,
        commit.removesuffix("-dirty") if commit else None,
        commit.endswith("-dirty") if commit else None,
        platform.python_version(),
        *(version(package) for package in ("duckdb", "polars", "dagster")),
        choice.texts,
        [table for table in LAKE_TABLES if table not in choice.tables],
        sorted(set(datasets)) if datasets else None,
        sorted(set(variants)) if variants else None,
    )
    return frame_of(ExportInfo, [row])


def _note(cells: pl.DataFrame) -> str:
    counts = Counter(cells["status"])
    others = ", ".join(f"{count} {status}" for status, count in counts.items() if status != COMPLETE)
    text = f"{counts[COMPLETE]} of {cells.height} cells are complete"
    text += f" ({others}: see the table cells)" if others else ""
    old = cells.filter((pl.col("status") == COMPLETE) & ~pl.col("is_in_marts")).height
    return text + (f"; of these, {old} have other figures than the marts show" if old else "")


def cells_frame(study: Study, lake: Lake, artifacts: Artifacts, choice: Choice) -> pl.DataFrame:
    """The rows of `cells`: one per cell of the study, or of the slice.

    Args:
        study: the study.
        lake: as it was copied.
        artifacts: finds what is stored in that lake.
        choice: which cells.
    """
    grid = Grid(study, artifacts.imported_cells())
    keys = [key for key in grid.keys("cell_metrics") if not choice.cells or key in choice.cells]
    return frame_of(Cells, _cell_rows(grid, lake, keys, assess(grid, artifacts)))


def _cell_rows(
    grid: Grid, lake: Lake, keys: Sequence[str], standings: dict[Node, Standing]
) -> Iterator[tuple[Any, ...]]:
    mixed = set(mixed_cells(lake, keys))
    marts = lake.stored(Node("main_results"))
    shown = marts.provenance.inputs if marts else {}
    for key in keys:
        own = [standings[node] for node in (Node(table, key) for table in CELL_ASSETS) if node in standings]
        worst = next((s for state in ("missing", "stale") for s in own if s.state == state), None)
        status, reason = (worst.state, worst.reason) if worst else (COMPLETE, None)
        if key in mixed:
            status, reason = RESCORING, "its scores and figures are of several checkpoints"
        figures, rollouts = (lake.stored(Node(table, key)) for table in ("cell_metrics", "validation_rollouts"))
        current = figures is not None and shown.get(f"cell_metrics[{key}]") == figures.data_version
        source = (rollouts.provenance.source or None) if rollouts else None
        yield (*split_key(key), status, reason, current and key not in mixed, source)
