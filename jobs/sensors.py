"""The re-scoring sensor: reads the lake and the run history, and asks for what `jobs.rescore` decides."""

from collections.abc import Callable

import dagster as dg

from jobs.rescore import CellState, History, decide
from mbt_assets.identities import digest_of
from mbt_assets.recipes import JUDGE_TASKS, scorer_version
from partitions.grid import Grid, Node, split_key
from partitions.study import Study
from resources.artifacts import Artifacts

TARGET_TAG = "mbt/rescore"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def scorer_versions() -> str:
    """All scorer versions as one short digest."""
    return digest_of({asset: scorer_version(asset) for asset in ("answer_scores", *JUDGE_TASKS)})[:12]


def cell_states(study: Study, artifacts: Artifacts) -> list[CellState]:
    """What every cell was scored from, next to what it would be scored from now."""
    grid = Grid(study)
    registered = {slug: _registered_digest(artifacts, slug) for slug in grid.variants}
    now = scorer_versions()
    states = []
    for key in grid.keys("cell_metrics"):
        digest, version = _scored(artifacts, key)
        states.append(CellState(key, registered[split_key(key)[1]], digest, now, version))
    return states


def _registered_digest(artifacts: Artifacts, slug: str) -> str | None:
    node = Node("checkpoints", slug)
    return str(artifacts.lake.read(node)["digest"][0]) if artifacts.lake.exists(node) else None


def _scored(artifacts: Artifacts, key: str) -> tuple[str | None, str | None]:
    """Checkpoint digest of the stored answer scores, and the scorer versions of all stored scores."""
    made_with = {}
    for asset in ("answer_scores", *JUDGE_TASKS):
        stored = artifacts.stored(Node(asset, key))
        if stored is None:
            return None, None
        made_with[asset] = stored.provenance.recipe.get("scorer")
    scores = artifacts.lake.read(Node("answer_scores", key))
    digest = str(scores["checkpoint_digest"][0]) if scores.height else None
    return digest, digest_of(made_with)[:12]


def _history(instance: dg.DagsterInstance, target: str) -> History:
    runs = instance.get_runs(filters=dg.RunsFilter(tags={TARGET_TAG: target}))
    return History(len(runs), any(run.status in UNFINISHED for run in runs))


def rescore_sensor(study: Study, artifacts: Callable[[], Artifacts], job: str) -> dg.SensorDefinition:
    """The sensor that requests stale cells.

    Args:
        study: limits of attempts and of requests per tick.
        artifacts: gives the stored partitions; called at each tick.
        job: the job that scores one cell.
    """

    @dg.sensor(
        name="rescore_stale_cells",
        job_name=job,
        minimum_interval_seconds=60,
        description="Requests every scored cell whose checkpoint or scorer has changed since.",
    )
    def rescore(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        cells = [cell for cell in cell_states(study, artifacts()) if cell.stale]
        history = {cell.target: _history(context.instance, cell.target) for cell in cells}
        limits = study.limits
        requests, given_up = decide(
            cells, history, max_attempts=limits.rescore_attempts, max_requests=limits.rescore_per_tick
        )
        if given_up:
            context.log.warning("given up after %d attempts: %s", limits.rescore_attempts, ", ".join(given_up))
        if not requests:
            return dg.SkipReason(f"{len(cells)} stale cells, none to request now" if cells else "no cell is stale")
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key=r.run_key, partition_key=r.key, tags={TARGET_TAG: r.target}) for r in requests
            ]
        )

    return rescore
