"""The connection to a cluster's API."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes
import orjson
from urllib3.connection import HTTPConnection
from urllib3.util import Retry

from resources.k8s.cluster import Cluster, ClusterError

TRIES = 9
FEW_TRIES = 2
"""For a person who waits for the answer."""
LONGEST_PAUSE_S = 30
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod is told the namespace that it is in."""
BUSY = (429, 500, 502, 503, 504)
BACKOFF_S = 0.5
NOT_FOUND, CONFLICT = 404, 409
ALIVE = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), 30)
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL")
        if hasattr(socket, name)
    ),
]
"""Options of every socket: the client sets no time-outs, and would wait for ever where a node or a balancer on the way
forgot the connection."""


def connect(cluster: Cluster, tries: int = TRIES) -> None:
    """Make every client of this process that is created from now on speak to the cluster.

    A request that the API server cannot serve at the moment is repeated, with growing pauses. A create that did
    reach it the first time answers 409 to the second: see `create`.

    Args:
        cluster: the cluster.
        tries: of a request: nine take two minutes, in which a control plane may be replaced.

    Raises:
        ClusterError: there is no kubeconfig, this process does not run in a cluster, or runs in another namespace.
    """
    try:
        if cluster.kubeconfig:
            kubernetes.config.load_kube_config(config_file=cluster.kubeconfig)
        else:
            kubernetes.config.load_incluster_config()
    except kubernetes.config.ConfigException as error:
        where = cluster.kubeconfig or "this process does not run in a cluster"
        raise ClusterError(f"no way to the cluster ({where}: {error}): set `kubeconfig` in the cluster file") from error
    _refuse_other_namespace(cluster)
    settings = kubernetes.client.Configuration.get_default_copy()
    settings.retries = Retry(
        total=tries,
        backoff_factor=BACKOFF_S,
        backoff_max=LONGEST_PAUSE_S,
        status_forcelist=BUSY,
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=True,
    )
    settings.socket_options = ALIVE
    kubernetes.client.Configuration.set_default(settings)


def _refuse_other_namespace(cluster: Cluster) -> None:
    # What a pod makes is owned by it, and an owner in another namespace is none: it would be collected at once.
    own = OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.is_file() else cluster.namespace
    if own != cluster.namespace:
        raise ClusterError(
            f"the cluster file says namespace {cluster.namespace}, and this pod is in {own}: make them one"
        )


def create(call: Callable[[str, Any], Any], namespace: str, body: Any) -> None:
    """Make an object by one of the client's `create_namespaced_…`, unless it is there already.

    Raises:
        ApiException: the API refuses.
    """
    try:
        call(namespace, body)
    except kubernetes.client.ApiException as error:
        # Somebody else made it, or this did, and the answer was lost.
        if not already_there(error):
            raise


def already_there(error: Exception | None) -> bool:
    """Whether the API refused to create what there is already."""
    return (
        isinstance(error, kubernetes.client.ApiException)
        and error.status == CONFLICT
        and _status(error).get("reason") == "AlreadyExists"
    )


@contextmanager
def may_be_gone() -> Iterator[None]:
    """Let it pass that an object is not there."""
    try:
        yield
    except kubernetes.client.ApiException as error:
        if error.status != NOT_FOUND:
            raise


def told(error: kubernetes.client.ApiException) -> str:
    """What the API says of a refused request, in one line."""
    message = _status(error).get("message") or str(error.body or "")[:200]
    return f"{error.status} {error.reason}: {message}"


def _status(error: kubernetes.client.ApiException) -> dict[str, Any]:
    """The API's own words on a refused request; empty where something else answered."""
    try:
        found = orjson.loads(error.body or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
