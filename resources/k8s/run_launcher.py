"""Dagster's run launcher, which also knows of runs that have no pod of their own.

The jobs of a whole variant or dataset make their parts as runs in the pod of one of their steps. Dagster's launcher
looks for a Job of each run under way, finds none for those, and has them reported as failed while they are at work.
"""

from __future__ import annotations

from typing import Any

from dagster._core.launcher import CheckRunHealthResult, ResumeRunContext, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster_k8s import K8sRunLauncher

from resources.run_tags import MADE_BY_TAG

GONE = "the run that made this one has ended, and this one with it"


class RunLauncher(K8sRunLauncher):
    """Launches runs as `K8sRunLauncher` does, by the same settings; for `run_launcher` of dagster.yaml."""

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether somebody still works on a run: of one without a pod, whether the run that makes it goes on."""
        if MADE_BY_TAG not in run.tags:
            return super().check_run_worker_health(run)
        maker = self._instance.get_run_by_id(run.tags[MADE_BY_TAG])
        if maker is None or maker.is_finished:
            return CheckRunHealthResult(WorkerStatus.FAILED, GONE)
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def resume_run(self, context: ResumeRunContext) -> None:
        """Go on with a run in a new pod; one that had none of its own has failed: its maker's retry makes it anew."""
        if MADE_BY_TAG not in context.dagster_run.tags:
            super().resume_run(context)
        else:
            self._instance.report_run_failed(context.dagster_run, GONE)

    def terminate(self, run_id: str) -> bool:
        """End a run's pod; of a run that has none, the run that makes it has to be ended."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or MADE_BY_TAG not in run.tags:
            return super().terminate(run_id)
        maker = run.tags[MADE_BY_TAG]
        self._instance.report_engine_event(f"not ended: it has no pod of its own; end run {maker}, which makes it", run)
        return False

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> Any:
        """What the cluster says of a run's pod; nothing of one that has none."""
        if MADE_BY_TAG in run.tags:
            return None
        return super().get_run_worker_debug_info(run, include_container_logs)
