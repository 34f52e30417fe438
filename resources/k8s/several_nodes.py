"""A vLLM server that is spread over the GPUs of several nodes: one pod per node, of which the first answers.

It uses vLLM's own multi-node start (`--nnodes`, `--node-rank`, `--master-addr`, `--headless`), without Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from partitions.study import Compute
from resources.gpus import gpus_of_server
from resources.k8s.cluster import ClusterError
from resources.k8s.pods import Manifest

INDEX_LABEL = "apps.kubernetes.io/pod-index"
"""Label that Kubernetes gives the pods of a StatefulSet (since 1.28)."""
FIRST = {INDEX_LABEL: "0"}
RANK: Manifest = {"name": "NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX_LABEL}']"}}}
NODE_ENV: list[Manifest] = [RANK, {"name": "VLLM_HOST_IP", "value": "$(POD_IP)"}]
START = '[ "$NODE_RANK" = 0 ] || set -- "$@" --headless; exec "$@" --node-rank "$NODE_RANK"'
"""All pods have the same command line; only the first one opens a port for requests."""
HEALTH = 'import os, urllib.request as r; r.urlopen("http://%s:{port}/health" % os.environ["POD_IP"], timeout=5)'


def nodes_of(name: str, needs: Compute, options: Mapping[str, object]) -> tuple[int, int]:
    """How many pods a vLLM server takes, and how many GPUs each.

    Args:
        name: the model's name, for messages.
        needs: its entry: `gpus` are those of one pod; 0 puts all into one.
        options: the server's options, by whose parallel sizes it is spread over GPUs.

    Raises:
        ClusterError: the GPUs do not divide among pods, or there should be several of such a server.
    """
    total = gpus_of_server(0, options)
    if needs.gpus in (0, total) or needs.gpus > total:
        return 1, needs.gpus or total
    if total % needs.gpus:
        raise ClusterError(
            f"models.{name}: its server's parallel sizes need {total} GPUs, which pods of {needs.gpus} do not make up: "
            "let compute.gpus divide it"
        )
    if needs.replicas > 1:
        raise ClusterError(
            f"models.{name}: compute.replicas is {needs.replicas}, and one server alone takes {total // needs.gpus} "
            "pods: set it to 1 and raise data_parallel_size in the server's options instead"
        )
    return total // needs.gpus, needs.gpus


def command_on_nodes(command: Sequence[str], name: str, nodes: int) -> list[str]:
    """The command line of each pod: the pods meet at the first one, whose name their Service makes known."""
    meeting = ["--nnodes", str(nodes), "--master-addr", f"{name}-0.{name}"]
    return ["/bin/sh", "-c", START, "vllm", *command, *meeting]


def health_on_nodes(port: int) -> Manifest:
    """A probe that asks the first pod's server for its health, and passes in all others: they open no port."""
    command = f"[ \"$NODE_RANK\" != 0 ] || exec python3 -c '{HEALTH.format(port=port)}'"
    return {"exec": {"command": ["/bin/sh", "-c", command]}, "timeoutSeconds": 10}


def stateful_spec(name: str, nodes: int) -> Manifest:
    """What a StatefulSet has beside selector and template: the pods start together, since they wait for each other."""
    return {"serviceName": name, "replicas": nodes, "podManagementPolicy": "Parallel"}
