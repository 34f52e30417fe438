"""Model servers as objects of Kubernetes: a Deployment and a Service for each. Pure functions.

A server is made once and never changed: what it is, its flags and its image too, is part of its name, so that a study
that was edited gets another server and the old one goes when it is idle.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from partitions.model_sources import RulesServer, StudentServer, VllmServer
from partitions.study import Model
from resources.home import Home
from resources.k8s.cluster import Cluster
from resources.k8s.pods import PART_OF, PROJECT, Manifest, labels, pod_spec, together
from resources.k8s.several_nodes import FIRST, NODE_ENV, command_on_nodes, health_on_nodes, nodes_of, stateful_spec
from resources.servers import VLLM_GRACE_S, name_below, student_arguments, vllm_command

SERVER = "mbt/server"
"""Label of all that belongs to one server: its name."""
MODEL = "mbt/model"
"""Label: the model's name in the study, or the embedded server's."""
DIGEST = "mbt/digest"
"""Annotation: digest of the checkpoint that it serves."""
IDLE_TIMEOUT = "mbt/idle-timeout-s"
"""Annotation: seconds without a user after which it is scaled to zero."""
USED_AT = "mbt/used-at"
"""Annotation: when it was known to be in use."""
STOPPED_AT = "mbt/stopped-at"
"""Annotation: when it was scaled to zero."""
EMBEDDED_STARTUP_S, EMBEDDED_IDLE_S = 120, 300.0
EMBEDDED_GRACE_S = 5.0
PROBE_S = 10
LONGEST_STEM = 38
"""Of a name: pods and leases of a server add to it, and all that must fit into 63 characters."""
HOST = "$(POD_IP)"
POD_IP = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


@dataclass(frozen=True)
class Server:
    """One model server.

    Attributes:
        name: of its objects.
        answers_as: the model's name in requests.
        workload: its Deployment, or the StatefulSet of one that is spread over several nodes.
        service: its Service, for people and monitoring; the engine asks the pods.
        pods: labels of all its pods.
        answering: labels of those pods that take requests.
        replicas: how many pods it has while it is used.
        copies: how many of them take requests.
        startup_timeout_s: seconds that a pod may take from its start until it answers.
        port: where its pods answer.
    """

    name: str
    answers_as: str
    workload: Manifest
    service: Manifest
    pods: dict[str, str]
    answering: dict[str, str]
    replicas: int
    copies: int
    startup_timeout_s: float
    port: int

    @property
    def kind(self) -> str:
        """`Deployment` or `StatefulSet`."""
        return str(self.workload["kind"])


@dataclass(frozen=True)
class _Program:
    """What runs in a server's pods, whatever it is called."""

    label: str
    answers_as: str
    digest: str
    image: str
    command: tuple[str, ...]
    gpus: int
    nodes: int
    startup_timeout_s: int
    idle_timeout_s: float
    grace_s: float
    env: tuple[Manifest, ...] = ()


def server_of(cluster: Cluster, home: Home, name: str, model: Model, uri: str, digest: str) -> Server:
    """The server of one checkpoint of a model that this project serves itself.

    Args:
        cluster: where.
        home: the study's folders as pods see them.
        name: the model's name in the study.
        model: its entry.
        uri: where the checkpoint's weights lie, as pods see it.
        digest: the checkpoint's digest.

    Raises:
        ServerError: the embedded server cannot see the checkpoint.
        CheckpointError: an adapter that vLLM cannot serve.
        ClusterError: GPUs that do not divide among pods, or copies of a server that is spread over several.
    """
    server = model.server
    if isinstance(server, RulesServer):
        program = _embedded(cluster, "serve_rules", [], server.name)
    elif isinstance(server, StudentServer):
        served_as = name_below(Path(uri), home.checkpoints)
        program = _embedded(cluster, "serve_student", student_arguments(server, home), served_as)
    elif isinstance(server, VllmServer):
        program = _vllm(cluster, name, model, server, uri, digest)
    else:
        raise TypeError(f"{name} is not served here: {server.kind}")
    return _server(cluster, home.study, model, program)


def _embedded(cluster: Cluster, payload: str, arguments: list[str], answers_as: str) -> _Program:
    where = ["--host", HOST, "--port", str(cluster.server_port)]
    return _Program(
        label=payload,
        answers_as=answers_as,
        # It answers for every checkpoint.
        digest="",
        image=cluster.images.train,
        command=("python", "-m", f"mbt_assets.payloads.{payload}", *where, *arguments),
        gpus=0,
        nodes=1,
        startup_timeout_s=EMBEDDED_STARTUP_S,
        idle_timeout_s=EMBEDDED_IDLE_S,
        grace_s=EMBEDDED_GRACE_S,
    )


def _vllm(cluster: Cluster, name: str, model: Model, server: VllmServer, uri: str, digest: str) -> _Program:
    nodes, gpus = nodes_of(name, model.compute, server.options)
    command = vllm_command(name, uri, server, cluster.server_port, host=HOST, trust_remote_code=model.trust_remote_code)
    return _Program(
        label=name,
        answers_as=name,
        digest=digest,
        image=server.image or cluster.images.serve,
        command=tuple(command),
        gpus=gpus,
        nodes=nodes,
        startup_timeout_s=server.startup_timeout_s,
        idle_timeout_s=server.idle_timeout_s,
        grace_s=VLLM_GRACE_S,
        # It reports what it runs to its makers otherwise.
        env=({"name": "VLLM_NO_USAGE_STATS", "value": "1"},),
    )


def _server(cluster: Cluster, study: str, model: Model, program: _Program) -> Server:
    # Its own name is part of what a spread server runs: it is told apart by what it runs under no name.
    made_of = [study, program.label, program.digest, _pod(cluster, model, program, "", {})]
    name = _name(study, program.label, hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:8])
    chosen = {PART_OF: PROJECT, SERVER: name}
    marks = labels(cluster, study, "server", mbt__server=name, mbt__model=program.label)
    meta: Manifest = {"name": name, "namespace": cluster.namespace, "labels": marks}
    template = {"metadata": {"labels": marks}, "spec": _pod(cluster, model, program, name, chosen)}
    notes = {DIGEST: program.digest, IDLE_TIMEOUT: f"{program.idle_timeout_s:g}"}
    spec: Manifest = {"selector": {"matchLabels": chosen}, "template": template}
    if program.nodes > 1:
        kind, spec = "StatefulSet", stateful_spec(name, program.nodes) | spec
    else:
        # It is never changed; should somebody do so by hand, there are no GPUs for the old and the new at once.
        kind, spec = "Deployment", {"replicas": model.compute.replicas, "strategy": {"type": "Recreate"}} | spec
    workload = {"apiVersion": "apps/v1", "kind": kind, "metadata": {**meta, "annotations": notes}, "spec": spec}
    return Server(
        name=name,
        answers_as=program.answers_as,
        workload=workload,
        service=_service(cluster, meta, chosen, headless=program.nodes > 1),
        pods=chosen,
        answering=chosen | (FIRST if program.nodes > 1 else {}),
        replicas=program.nodes if program.nodes > 1 else model.compute.replicas,
        copies=1 if program.nodes > 1 else model.compute.replicas,
        startup_timeout_s=program.startup_timeout_s,
        port=cluster.server_port,
    )


def _pod(cluster: Cluster, model: Model, program: _Program, name: str, chosen: dict[str, str]) -> Manifest:
    # The entry's image is that of its payloads: training and serving need different versions of torch.
    needs = model.compute.model_copy(update={"image": None})
    health: Manifest = {"httpGet": {"path": "/health", "port": cluster.server_port}, "timeoutSeconds": 5}
    command = list(program.command)
    env: list[Manifest] = [POD_IP, *program.env]
    if program.nodes > 1:
        command = command_on_nodes(command, name, program.nodes)
        env += NODE_ENV
        health = health_on_nodes(cluster.server_port)
    period = min(PROBE_S, program.startup_timeout_s)
    probes = {
        "startupProbe": health
        | {"periodSeconds": period, "failureThreshold": math.ceil(program.startup_timeout_s / period)},
        "readinessProbe": health | {"periodSeconds": 5, "failureThreshold": 3},
        # Long: a busy server may be slow to say that it is well, and to start one anew takes minutes.
        "livenessProbe": health | {"periodSeconds": 30, "timeoutSeconds": 30, "failureThreshold": 5},
    }
    pod = pod_spec(
        cluster,
        needs,
        image=program.image,
        command=command,
        gpus=program.gpus,
        env=env,
        ports=[cluster.server_port],
        writes_home=False,
        more=probes,
    )
    if program.nodes > 1 and (affinity := together(needs, chosen)):
        pod["affinity"] = affinity
    pod["terminationGracePeriodSeconds"] = math.ceil(program.grace_s) + 5
    return pod


def _service(cluster: Cluster, meta: Manifest, chosen: dict[str, str], *, headless: bool) -> Manifest:
    spec: Manifest = {
        "selector": chosen,
        "ports": [{"name": "http", "port": cluster.server_port, "targetPort": "http"}],
    }
    if headless:
        # The pods of one server look for the first before it answers.
        spec |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


def _name(study: str, label: str, digest: str) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", f"{study}-{label}".lower()).strip("-")
    return f"mbt-{stem[:LONGEST_STEM].rstrip('-')}-{digest}"
