"""The code location: every asset, job, sensor and resource of one study.

Nothing here touches torch, the network or the lake when it is imported.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import dagster as dg

from jobs.jobs import RESCORE_JOBS, asset_jobs, slice_jobs
from jobs.sensors import lost_runs_sensor, marts_sensor, rescore_sensor
from jobs.standings import Standings
from mbt_assets import marts, models, questions, report, retests, rollouts, scores, traces, training, training_sets
from mbt_assets.placement import placement
from mbt_assets.published import or_published
from mbt_assets.stage import lake_asset
from partitions.axes import Axes
from partitions.study import Study
from partitions.study_file import load_study
from resources.artifacts import Artifacts
from resources.home import Home
from resources.lake import Lake
from resources.lake_io import LakeIOManager

# Data versions, pools and Pipes internals are beta in the pinned Dagster; a warning per run helps nobody.
for category in (dg.BetaWarning, dg.PreviewWarning):
    warnings.filterwarnings("ignore", category=category)

STAGES = [
    *questions.STAGES,
    *models.STAGES,
    *rollouts.STAGES,
    *traces.STAGES,
    *training_sets.STAGES,
    *training.STAGES,
    *scores.STAGES,
    *retests.STAGES,
    *marts.STAGES,
]


@dataclass(frozen=True)
class Platform:
    """Everything that a study's graph consists of, for the code location and for the command line alike."""

    study: Study
    axes: Axes
    home: Home
    artifacts: Artifacts
    assets: list[dg.AssetsDefinition]
    resources: dict[str, Any]
    executor: dg.ExecutorDefinition

    def definitions(self) -> dg.Definitions:
        """The graph as Dagster loads it."""
        jobs = asset_jobs()
        rescoring = [job for job in jobs if job.name in RESCORE_JOBS]
        return dg.Definitions(
            assets=self.assets,
            jobs=[*jobs, *slice_jobs(self.axes, self.artifacts, self.home, build_platform)],
            sensors=[
                rescore_sensor(self.study, lambda: Standings(self.study, self.artifacts, self.home), rescoring),
                marts_sensor(),
                lost_runs_sensor(),
            ],
            resources=self.resources,
            executor=self.executor,
        )


def build_platform(study: Study | None = None, home: Home | None = None, **resources: Any) -> Platform:
    """The graph of a study.

    Args:
        study: the study; the one that `MBT_STUDY` names when None.
        home: where its files lie; from `MBT_HOME` when None.
        **resources: replace resources by key (`lake`, `artifacts`, `home`, `servers`, `compute`).
    """
    study = study or load_study()
    home = home or Home.from_environment(study.name)
    axes = Axes(study)
    lake = Lake(home.lake)
    artifacts = Artifacts(lake, home)
    where = placement(study, home)
    standard = {
        "lake": LakeIOManager(lake),
        "artifacts": artifacts,
        "home": home,
        "servers": where.servers,
        "compute": where.compute,
    }
    assets = [lake_asset(axes, or_published(stage), where.op_tags) for stage in STAGES]
    assets += [asset(axes, where.op_tags) for asset in (marts.warehouse_asset, report.report_asset)]
    return Platform(study, axes, home, artifacts, assets, {**standard, **resources}, where.executor)


def build_defs(study: Study | None = None, home: Home | None = None, **resources: Any) -> dg.Definitions:
    """The definitions of a study; the arguments are those of `build_platform`."""
    return build_platform(study, home, **resources).definitions()


defs = build_defs()
