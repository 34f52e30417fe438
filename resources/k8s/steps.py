"""Step pods that cannot go on: Dagster's executor says of them that a job failed, or waits for an image for ever."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandler, StepHandlerContext
from dagster_k8s import k8s_job_executor
from dagster_k8s.executor import K8sStepHandler

from resources.k8s.endings import explain
from resources.k8s.patience import Patience


class TellingSteps(StepHandler):
    """Launches and ends steps as Dagster's handler does, and says of a lost one why.

    Args:
        steps: Dagster's handler.
        patience_s: seconds of trouble with its start after which a step's pod is given up.
    """

    def __init__(self, steps: K8sStepHandler, patience_s: float):
        super().__init__()
        self._steps = steps
        self._patience = Patience(patience_s)

    @property
    def name(self) -> str:
        """What the event log calls it."""
        return self._steps.name

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        """Make the step's job."""
        return self._steps.launch_step(step_handler_context)

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        """Delete the step's job and its pod."""
        return self._steps.terminate_step(step_handler_context)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Whether a step can still come to an end."""
        found = self._steps.check_step_health(step_handler_context)
        job = self._steps._get_k8s_step_job_name(step_handler_context)
        namespace = self._steps._get_container_context(step_handler_context).namespace
        pods = self._steps._api_client.get_pods_in_job(job, namespace)
        if found.is_healthy and not any(map(self._never_starts, pods)):
            return found
        if found.is_healthy:
            # It would start one day, when nobody waits for it any more.
            self._steps._api_client.delete_job(job, namespace)
        why = next(filter(None, map(_trouble, pods)), "its pod is gone: its node was lost, or somebody deleted it")
        return CheckStepHealthResult.unhealthy(why)

    def _never_starts(self, pod: Any) -> bool:
        waiting = self._patience.waiting_for(pod)
        return waiting is not None and waiting.hopeless


def _trouble(pod: Any) -> str:
    told, _ = explain(pod, memory="steps.memory in the cluster file")
    return told and f"pod {pod.metadata.name} on node {pod.spec.node_name or '(none)'} {told}"


def telling_executor(check_s: float, patience_s: float) -> dg.ExecutorDefinition:
    """Dagster's `k8s_job_executor` with steps that say why they are lost.

    Args:
        check_s: seconds between two looks at the pods of running steps, in whole ones.
        patience_s: seconds of trouble with its start after which a step's pod is given up.
    """
    schema: Any = k8s_job_executor.config_schema

    @dg.executor(
        name="k8s",
        config_schema=schema,
        requirements=multiple_process_executor_requirements(),
    )
    def in_pods(init_context: dg.InitExecutorContext) -> Any:
        made: Any = k8s_job_executor.executor_creation_fn(init_context)  # type: ignore[misc]
        # It takes neither as a setting; a look each 20 s is long beside a step.
        made._step_handler = TellingSteps(made._step_handler, patience_s)
        made._check_step_health_interval_seconds = max(1, round(check_s))
        return made

    return in_pods
