"""Jobs for the usual slices of the grid: a cell, its scores alone, the marts, a whole variant, a whole dataset."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from jobs.plan import FINAL_ASSETS, final_nodes, slice_of, units
from jobs.runner import Build, Report, Runner
from mbt_assets.stage import FORCE_TAG, note_process
from partitions.axes import Axes
from partitions.grid import CELL_ASSETS, Grid
from resources.artifacts import Artifacts
from resources.home import Home

SCORE_CELL = "score_cell"
REGISTER_BASE = "register_base"
REGISTER_CHECKPOINT = "register_checkpoint"
RESCORE_JOBS = (REGISTER_BASE, REGISTER_CHECKPOINT, SCORE_CELL)


def asset_jobs() -> list[Any]:
    """Jobs whose assets share one partition axis: pick partitions, launch, or backfill."""
    job = dg.define_asset_job
    return [
        job("load_train_questions", ["train_questions"], description="Training questions of a dataset."),
        job("load_validation_questions", ["validation_questions"], description="Validation questions of a dataset."),
        job("teach", ["gold_solutions"], description="The teacher's gold solutions for a dataset."),
        job("train", ["sft_checkpoints"], description="Fine-tune a variant on its training sets."),
        job("train_grpo", ["grpo_checkpoints"], description="Reinforce a variant from its base or SFT checkpoint."),
        job(REGISTER_BASE, ["base_models"], description="Look again at what a base model is."),
        job(REGISTER_CHECKPOINT, ["checkpoints"], description="Look again at what a variant's weights are."),
        job(SCORE_CELL, list(CELL_ASSETS), description="Roll out and score a cell with its registered checkpoint."),
        job("scores_only", list(CELL_ASSETS[1:]), description="Score a cell's rollouts again; sends no rollout."),
        job("marts_only", list(FINAL_ASSETS), description="All marts, the warehouse and the report, from the lake."),
    ]


def slice_jobs(axes: Axes, artifacts: Artifacts, home: Home, build: Build) -> list[dg.JobDefinition]:
    """Jobs that bring a whole variant or a whole dataset up to date, from the questions to the marts.

    Their assets lie on different axes, which one Dagster run cannot hold: the job's one step plans the slice and
    makes each part as a run of its own, tagged with the unit's name.
    """
    study = axes.grid.study

    def made(context: dg.OpExecutionContext, **chosen: set[str]) -> None:
        note_process(context.instance, context.run.run_id)
        grid = Grid(study, artifacts.imported_cells())
        runner = Runner(grid, artifacts, home, build, made_by=context.run_id, on_report=_logged(context))
        force = context.run.tags.get(FORCE_TAG) == "true"
        reports = runner.run(units(grid, slice_of(grid, **chosen) | final_nodes()), force=force)
        failed = [report for report in reports if report.outcome == "failed"]
        if failed:
            raise dg.Failure(f"{len(failed)} parts failed; first: {failed[0].unit.name}: {failed[0].why}")

    @dg.op(description="Plans the variant's slice and makes what is missing or stale.")
    def make_variant(context: dg.OpExecutionContext) -> None:
        made(context, variants={context.partition_key})

    @dg.op(description="Plans the dataset's slice and makes what is missing or stale.")
    def make_dataset(context: dg.OpExecutionContext) -> None:
        made(context, datasets={context.partition_key})

    @dg.job(partitions_def=dg.StaticPartitionsDefinition(axes.grid.variants), description="Everything of one variant.")
    def whole_variant() -> None:
        make_variant()

    @dg.job(partitions_def=dg.StaticPartitionsDefinition(axes.grid.datasets), description="Everything of one dataset.")
    def whole_dataset() -> None:
        make_dataset()

    return [whole_variant, whole_dataset]


def _logged(context: dg.OpExecutionContext) -> Callable[[Report], None]:
    def report(done: Report) -> None:
        context.log.info("%s: %s (%.1f s) %s %s", done.unit.name, done.outcome, done.seconds, done.why, done.run_id)

    return report
