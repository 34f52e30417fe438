"""Who uses a model server: a Lease of Kubernetes for each user, renewed as long as the user lives.

Whoever is killed renews no more, and counts as gone after `Cluster.lease_s`. Where the killed pod is deleted,
Kubernetes deletes its leases with it.
"""

from __future__ import annotations

import datetime
import logging
import os
import platform
import secrets
import threading
from typing import Any

import kubernetes

from resources.k8s.client import NOT_FOUND, create, may_be_gone
from resources.k8s.cluster import Cluster
from resources.k8s.pods import POD_NAME, Manifest, labels, owner, selector
from resources.k8s.server_objects import SERVER

LOGGER = logging.getLogger(__name__)
RENEWALS = 4
"""Signs of life within the time after which a user counts as gone."""
JOIN_S = 5.0


class UserLease:
    """The use of a server: from `take` until `release`, or until this process dies.

    Args:
        cluster: where.
        study: the study's name.
        server: the server's name.
    """

    def __init__(self, cluster: Cluster, study: str, server: str):
        self._cluster = cluster
        self._study = study
        self._server = server
        self.name = f"{server}-{secrets.token_hex(4)}"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._stay, daemon=True, name=f"lease {self.name}")

    def take(self) -> None:
        """Say that this process uses the server.

        Raises:
            ApiException: the API refuses.
        """
        self._create()
        self._thread.start()

    def release(self) -> None:
        """Say that it does so no more; where the API cannot be reached, the lease runs out by itself."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        try:
            with may_be_gone():
                _api().delete_namespaced_lease(self.name, self._cluster.namespace)
        except Exception as error:
            LOGGER.warning("lease %s could not be given back, and runs out by itself: %s", self.name, error)

    def _create(self) -> None:
        marks = labels(self._cluster, self._study, "server", mbt__server=self._server)
        meta = {"name": self.name, "labels": marks, "ownerReferences": owner()}
        now = stamp(utc_now())
        # The holder is for people alone.
        holder = f"{os.environ.get(POD_NAME) or platform.node()}/{os.getpid()}"
        times = {"acquireTime": now, "renewTime": now, "leaseDurationSeconds": round(self._cluster.lease_s)}
        body: Manifest = {"metadata": meta, "spec": {"holderIdentity": holder, **times}}
        create(_api().create_namespaced_lease, self._cluster.namespace, body)

    def _stay(self) -> None:
        while not self._done.wait(self._cluster.lease_s / RENEWALS):
            try:
                self._renew()
            except Exception as error:
                # Nothing that the work should end for: the next sign of life may get through.
                LOGGER.warning("lease %s could not be renewed, and will be tried again: %s", self.name, error)

    def _renew(self) -> None:
        try:
            change = {"spec": {"renewTime": stamp(utc_now())}}
            _api().patch_namespaced_lease(self.name, self._cluster.namespace, change)
        except kubernetes.client.ApiException as error:
            if error.status != NOT_FOUND:
                raise
            # Taken for dead, after a pause of this machine or a clock that was set; or released in this moment.
            if not self._done.is_set():
                self._create()


def leases_of(cluster: Cluster, **chosen: str) -> list[Any]:
    """The leases (`V1Lease`) of model servers, expired ones too.

    Args:
        cluster: where.
        **chosen: labels that they must have; `study`, or `mbt__server`.
    """
    return _api().list_namespaced_lease(cluster.namespace, label_selector=selector(component="server", **chosen)).items


def server_of_lease(lease: Any) -> str:
    """Name of the server that a lease (`V1Lease`) is for."""
    return str((lease.metadata.labels or {}).get(SERVER, ""))


def has_expired(lease: Any, now: datetime.datetime) -> bool:
    """Whether the user of a lease (`V1Lease`) counts as gone."""
    lasts = datetime.timedelta(seconds=lease.spec.lease_duration_seconds or 0)
    return lease.spec.renew_time is None or lease.spec.renew_time + lasts < now


def utc_now() -> datetime.datetime:
    """This moment."""
    return datetime.datetime.now(datetime.UTC)


def stamp(moment: datetime.datetime) -> str:
    """A moment as Kubernetes writes it, with microseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _api() -> kubernetes.client.CoordinationV1Api:
    return kubernetes.client.CoordinationV1Api()
