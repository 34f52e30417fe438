"""Payloads in pods of their own: the program that `resources.compute` runs here, on the nodes that have the GPUs.

Spec and folder lie on the volume that all pods share. What the payload reports comes back through its log, by Dagster
Pipes. A payload whose node was taken away is started again, and goes on from its last checkpoint.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes
from dagster_k8s import PipesK8sClient

from partitions.study import Compute
from resources.accelerate_configs import config_file
from resources.k8s.client import connect
from resources.k8s.cluster import Cluster
from resources.k8s.endings import Ending, ending_of
from resources.k8s.multi_node import run_job
from resources.k8s.orphans import remove, remove_job, remove_rivals
from resources.k8s.payload_pods import PayloadCall, payload_objects
from resources.k8s.pods import selector
from resources.k8s.starting import wait_until_started
from resources.launching import PAYLOADS, PayloadError, end_of, refuse_one_process, result_of, write_spec

MOST_STARTS = 4
"""Starts of a payload whose node is taken away again and again."""

GONE_WITHIN_S = 300.0
"""For a pod that goes just when Dagster begins to wait for it; longer than the API may take to answer."""


class K8sCompute:
    """Runs payloads as pods; see `resources.launching.PayloadRunner`.

    Args:
        cluster: where.
        study: name of the study, for labels.
    """

    def __init__(self, cluster: Cluster, study: str):
        self.cluster = cluster
        self.study = study

    def run(
        self,
        context: dg.AssetExecutionContext,
        payload: str,
        spec: dict[str, Any],
        *,
        accelerate: str | None = None,
        needs: Compute = Compute(),  # noqa: B008  it never changes
    ) -> dict[str, Any]:
        """Run a payload in a pod, or on several nodes in the pods of a Job, and wait for it.

        Raises:
            PayloadError: it ended with another exit status than 0, took too long, or could not be started; the
                message names the pod, its node and why.
            ComputeError: there is no such accelerate config, or it does not fit the GPUs.
            ClusterError: there is no way to the cluster.
        """
        config = _shared_config(accelerate, spec, needs)
        connect(self.cluster)
        spec_file = write_spec(spec)
        core = kubernetes.client.CoreV1Api()
        remove_rivals(core, self.cluster, spec["out_dir"], context.log.info)
        for start in range(1, MOST_STARTS + 1):
            if start > 1 and needs.nodes > 1:
                # One pod waits for the other's lock; those of a Job have none.
                remove_rivals(core, self.cluster, spec["out_dir"], context.log.info)
            call = PayloadCall(self.study, payload, spec, spec_file, config, needs, uuid.uuid4().hex[:10])
            ending = self._start(context, core, call)
            if ending is None:
                return result_of(spec)
            if not ending.by_the_cluster or start == MOST_STARTS:
                raise PayloadError(f"payload {payload} failed: {ending.told}\n{end_of(ending.log)}") from ending.error
            context.log.warning(f"{ending.told}: {payload} is started again ({start + 1} of {MOST_STARTS})")
        raise AssertionError("unreachable")

    def _start(self, context: dg.AssetExecutionContext, core: Any, call: PayloadCall) -> Ending | None:
        """Start a payload once; how it ended if it was not well."""
        chosen = selector(mbt__call=call.call)
        objects = payload_objects(self.cluster, call, PAYLOADS)
        with _removed_after(context, core, self.cluster.namespace, call):
            try:
                if call.needs.nodes > 1:
                    run_job(context, self.cluster, call.name, *objects)
                else:
                    _PipesClient(self.cluster).run(
                        context=context,
                        namespace=self.cluster.namespace,
                        base_pod_meta=objects[0]["metadata"],
                        base_pod_spec=objects[0]["spec"],
                        delete_pod_on_completion=False,
                    )
            except dg.DagsterExecutionInterruptedError:
                raise
            except Exception as error:
                return ending_of(core, self.cluster.namespace, chosen, error)
        return None


class _PipesClient(PipesK8sClient):
    """Dagster's client, over the connection of the cluster file."""

    def __init__(self, cluster: Cluster):
        super().__init__(poll_interval=cluster.poll_s)
        self._cluster = cluster

    def _load_k8s_config(self) -> None:
        connect(self._cluster)

    @contextmanager
    def consume_pod_logs(  # type: ignore[override]
        self, context: dg.AssetExecutionContext, client: Any, namespace: str, pod_name: str, **options: Any
    ) -> Iterator[None]:
        """As Dagster's, once the pod runs: Dagster's own wait is silent, and endless where a node refused the pod."""
        wait_until_started(client.core_api, self._cluster, pod_name, context.log.info)
        wait_for_pod = client.wait_for_pod

        def wait_while_there(name: str, *args: Any, **options: Any) -> None:
            # Where the pod is gone by the time that its log has ended, Dagster would wait a day for it to come.
            client.core_api.read_namespaced_pod(name, namespace)
            wait_for_pod(name, *args, pod_launch_timeout=GONE_WITHIN_S, **options)

        client.wait_for_pod = wait_while_there
        with super().consume_pod_logs(
            context=context, client=client, namespace=namespace, pod_name=pod_name, **options
        ):
            yield


def _shared_config(accelerate: str | None, spec: dict[str, Any], needs: Compute) -> Path | None:
    """A copy of the accelerate config beside the payload's folder: its own place may not be there in the pod."""
    if accelerate is None:
        return None
    config = config_file(accelerate)
    refuse_one_process(config, needs.training_gpus)
    out_dir = Path(spec["out_dir"])
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(config, out_dir.with_name(out_dir.name + ".accelerate.yaml")))


@contextmanager
def _removed_after(context: dg.AssetExecutionContext, core: Any, namespace: str, call: PayloadCall) -> Iterator[None]:
    """Remove what was made, however this ends."""
    try:
        yield
    finally:
        try:
            if call.needs.nodes > 1:
                remove_job(core, call.name, namespace)
            for pod in core.list_namespaced_pod(namespace, label_selector=selector(mbt__call=call.call)).items:
                remove(core, pod)
        except Exception as error:  # it must not cost what the payload has made: a sensor removes it later
            context.log.warning(f"what {call.name} made on the cluster stays for now: {error}")
