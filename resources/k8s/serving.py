"""Model servers on Kubernetes: the same as `resources.servers`, with pods for processes and leases for locks.

One server serves all steps of a study that ask for the same, whatever pods those run in. It is scaled to zero some
time after its last user has gone; see `resources.k8s.reaper`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from partitions.model_sources import NoServer, RemoteServer
from partitions.study import Model
from resources.engine import Endpoint
from resources.home import Home
from resources.k8s.client import connect
from resources.k8s.cluster import Cluster
from resources.k8s.leases import UserLease
from resources.k8s.reaper import stop_unused
from resources.k8s.server_objects import Server, server_of
from resources.k8s.server_pods import Awaited
from resources.k8s.workloads import Workloads, api_errors
from resources.leases import ServerError
from resources.servers import NOT_SERVED, notice, remote_endpoints


class K8sServers:
    """Endpoints for the models of a study; the twin of `resources.servers.ModelServers`.

    Args:
        cluster: where servers run.
        home: the study's folders, on the volume that all pods share.
    """

    def __init__(self, cluster: Cluster, home: Home):
        self.cluster = cluster
        self.home = home

    @contextmanager
    def serving(self, name: str, model: Model, uri: str, digest: str) -> Iterator[tuple[Endpoint, ...]]:
        """The endpoints that answer as one checkpoint of a model: one for each pod of its server.

        Args:
            name: the model's name in the study.
            model: its entry.
            uri: where the checkpoint's weights lie (a registry uri).
            digest: the checkpoint's digest: part of every request's identity.

        Raises:
            ServerError: the server does not come up, or the cluster does not let it; the message says why.
            ClusterError: there is no way to the cluster, or the GPUs of the entry do not fit together.
        """
        if isinstance(model.server, RemoteServer):
            yield remote_endpoints(model, model.server, digest)
        elif isinstance(model.server, NoServer):
            raise ServerError(NOT_SERVED.format(name=name))
        else:
            server = server_of(self.cluster, self.home, name, model, uri, digest)
            with self._used(server) as addresses:
                yield tuple(
                    Endpoint(_url(address, server.port), server.answers_as, digest, reasons=model.reasons)
                    for address in addresses
                )

    def stop(self) -> None:
        """Nothing is kept between two uses; servers go by themselves when nobody uses them."""

    @contextmanager
    def _used(self, server: Server) -> Iterator[list[str]]:
        connect(self.cluster)
        lease = UserLease(self.cluster, self.home.study, server.name)
        with api_errors(f"taking a lease on the model server {server.name}"):
            lease.take()
        try:
            with api_errors(f"starting the model server {server.name}"):
                addresses = self._started(server, lease)
            yield addresses
        finally:
            lease.release()

    def _started(self, server: Server, lease: UserLease) -> list[str]:
        workloads = Workloads(self.cluster)
        running = workloads.use(server)
        if running < server.replicas:
            workloads.scale(server.kind, server.name, server.replicas)
        if running == 0:
            # The pods of before may answer for a moment yet, until the cluster has come round to ending them.
            time.sleep(self.cluster.poll_s)
        try:
            return Awaited(self.cluster, workloads, server, notice).addresses()
        except ServerError:
            # The next try is to begin with new pods, and its GPUs may be of use to others until then.
            lease.release()
            stop_unused(self.cluster, server.name)
            raise


def _url(address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/v1"
