"""What SQL has to know of the study itself, as small tables: variants, models, settings, partitions, trainings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dataframely as dy
import polars as pl

from partitions.grid import WHOLE, Grid, split_key
from partitions.modes import MODES
from partitions.study import Study, split_variant, variant
from resources.tables import LAKE_TABLES, Table


class Variants(dy.Schema):
    """Every variant of the study: a model in a mode."""

    variant = dy.String(primary_key=True, description="model__mode")
    model = dy.String(description="model of the study")
    mode = dy.String(description="mode of the study")
    base_variant = dy.String(description="the variant of the same model that metrics are relative to")
    model_role = dy.String(description="student, teacher or judge")
    description = dy.String(description="what the mode is")


class Models(dy.Schema):
    """Every model of the study, and what a million of its tokens cost."""

    model = dy.String(primary_key=True, description="model of the study")
    role = dy.String(description="student, teacher or judge")
    price_input = dy.Float64(nullable=True, description="of a million tokens of the prompt; null: not known")
    price_output = dy.Float64(nullable=True, description="of a million tokens generated, reasoning included")
    price_cached_input = dy.Float64(nullable=True, description="of a million tokens that the server had in its cache")
    currency = dy.String(nullable=True, description="of all three prices")


class Settings(dy.Schema):
    """The constants that the marts use; one row."""

    study = dy.String(primary_key=True, description="the study's name")
    alpha = dy.Float64(description="weight of saved tokens in AES")
    beta = dy.Float64(description="weight of gained accuracy in AES")
    gamma = dy.Float64(description="weight of lost accuracy in AES")
    seed = dy.Int64(description="the study's seed")
    primary_judge = dy.String(description="the judge whose scores stand in the marts")
    teacher = dy.String(description="the model that writes traces")
    resamples = dy.Int64(description="resamples of the bootstrap")


class Partitions(dy.Schema):
    """Every partition that the study has in the lake, whether or not it was ever made."""

    table_name = dy.String(primary_key=True, description="table of the lake")
    partition = dy.String(primary_key=True, description="its key as `mbt status` writes it; empty for a mart")
    dataset = dy.String(nullable=True, description="dataset of the partition; NULL where it has none")
    variant = dy.String(nullable=True, description="variant of the partition; NULL where it has none")


class Trainings(dy.Schema):
    """Every variant that is trained: by which trainer, on which rows, from whose checkpoint."""

    variant = dy.String(primary_key=True, description="model__mode")
    trainer = dy.String(description="sft or grpo")
    source_table = dy.String(description="table that its rows come from")
    source_variant = dy.String(nullable=True, description="variant of that table's partitions; NULL for questions")
    parent_variant = dy.String(description="variant whose checkpoint the training starts from")
    question_limit = dy.Int64(nullable=True, description="GRPO: the first so many questions; NULL: all of them")
    drops_leaked = dy.Bool(description="GRPO: leaves out questions that stand in a validation split")
    datasets = dy.List(dy.String(), description="the training datasets, in the order of their rows")


STUDY_TABLES: dict[str, Table] = {
    "variants": Variants,
    "models": Models,
    "settings": Settings,
    "partitions": Partitions,
    "trainings": Trainings,
}


def study_frames(study: Study) -> dict[str, pl.DataFrame]:
    """The tables of STUDY_TABLES, by name."""
    return {
        "variants": variants_frame(study),
        "models": _models_frame(study),
        "settings": settings_frame(study),
        "partitions": _partitions_frame(study),
        "trainings": _trainings_frame(study),
    }


def variants_frame(study: Study) -> pl.DataFrame:
    """One row per variant of the study (see Variants)."""
    rows = []
    for slug in Grid(study).variants:
        model, mode = split_variant(slug)
        role = study.models[model].role
        rows.append((slug, model, mode, variant(model, "base"), role, MODES[mode].description))
    return frame_of(Variants, rows)


def settings_frame(study: Study) -> pl.DataFrame:
    """One row: the constants that the marts use (see Settings)."""
    weights = (study.aes.alpha, study.aes.beta, study.aes.gamma)
    row = (study.name, *weights, study.seed, study.judges[0], study.teacher, study.resamples)
    return frame_of(Settings, [row])


def frame_of(table: Table, rows: Iterable[tuple[Any, ...]]) -> pl.DataFrame:
    """Rows, whose values stand in the order of the schema's columns, as a frame of that schema."""
    return pl.DataFrame(list(rows), schema=table.create_empty().schema, orient="row")


def _models_frame(study: Study) -> pl.DataFrame:
    rows = [
        (name, model.role, *((p.input, p.output, p.cached_input, p.currency) if (p := model.price) else [None] * 4))
        for name, model in study.models.items()
    ]
    return frame_of(Models, rows)


def _partitions_frame(study: Study) -> pl.DataFrame:
    grid = Grid(study)
    rows = [(table, key, *axes_of(grid, table, key)) for table in LAKE_TABLES for key in grid.keys(table)]
    return frame_of(Partitions, rows)


def axes_of(grid: Grid, table: str, key: str) -> tuple[str | None, str | None]:
    """Dataset and variant of a partition; None where its table lacks that dimension."""
    datasets, variants = grid.axes_of(table)
    if key == WHOLE:
        return None, None
    if datasets is not None and variants is not None:
        return split_key(key)
    return (key, None) if variants is None else (None, key)


def _trainings_frame(study: Study) -> pl.DataFrame:
    grid = Grid(study)
    parents = {slug: base for base, slug in grid.base_pairs([*grid.trained, *grid.grpo])}
    parents |= {slug: parent for parent, slug in grid.grpo_parent_pairs()}
    rows: list[tuple[Any, ...]] = [
        (slug, "sft", table, rows_variant, parents[slug], None, False, study.training_datasets)
        for slug, (table, rows_variant) in grid.sources.items()
    ]
    for slug in grid.grpo:
        settings = study.training_of(slug, "grpo")
        source = ("train_questions", None, parents[slug])
        rows.append((slug, "grpo", *source, settings.limit, settings.drop_leaked, study.training_datasets))
    return frame_of(Trainings, rows)
