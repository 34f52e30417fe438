"""A stand-in for a Kubernetes cluster: a real API over HTTP on loopback, whose pods are processes of this machine.

It is no cluster: there is one node, no cluster DNS, no load balancer behind a service, no isolation, and nothing holds
a pod to its limits. Volumes are not mounted, since all pods see this machine's files; only a pod's first container
runs; liveness probes are not asked. What it does as a cluster does: objects with versions, watches and owners, jobs
(indexed ones too), deployments and stateful sets, an address for each pod, environment from fields, secrets and config
maps, readiness, graceful ends, restarts, and the ways in which pods fail.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import os
import signal
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import web
from cluster_api import Api, Request
from cluster_controllers import Controllers
from cluster_objects import KINDS, PODS, Kind, Object, Objects
from cluster_pods import Node, PodProcess
from cluster_selectors import Selector
from processes import marked, until
from threaded_server import ThreadedServer

REPO = Path(__file__).parents[2]


class StandIn(ThreadedServer):
    """A cluster of one node; use it as a context, whose end kills every process that it started.

    Args:
        folder: for the kubeconfig file and the working directories of the pods.
        namespace: of its kubeconfig's context.
        env: what every pod finds set, beside what it sets itself.
        gpus: how many there are to ask for; None is any number.

    Attributes:
        missing_images: images that no node can pull; change it at any time.
        denied: pairs of verb and resource that clients have no right to, such as `("create", "pods")`.
        requests: what was asked of the API, in order.
    """

    def __init__(
        self, folder: Path, namespace: str = "mbt", env: dict[str, str] | None = None, gpus: int | None = None
    ) -> None:
        super().__init__(port=0)
        self.folder, self.namespace = folder, namespace
        self.missing_images: set[str] = set()
        self._mark = f"stand-in-{uuid.uuid4().hex}"
        self._objects = Objects()
        self._processes: dict[str, PodProcess] = {}
        self._api = Api(self._objects, self._processes)
        self._hooks: list[tuple[Callable[[Object], bool], Callable[[Object], object]]] = []
        base = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPO)}
        base |= {"OMP_NUM_THREADS": "1", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        self._node = Node(folder / "pods", {**base, **(env or {})}, self._mark, self.missing_images, gpus)

    def __enter__(self) -> Self:
        self.start()
        self.kubeconfig.write_text(yaml.safe_dump(self._access()))
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.stop()
        finally:
            self._kill_all()

    def application(self) -> web.Application:
        app = self._api.application()
        app.cleanup_ctx.append(self._work)
        return app

    async def _work(self, _: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(one) for one in (Controllers(self._objects).run(), self._kubelet())]
        yield
        for task in tasks:
            task.cancel()
        self._kill_all()

    async def _kubelet(self) -> None:
        while True:
            version = self._objects.version
            for pod in self._objects.list(PODS):
                uid = pod["metadata"]["uid"]
                if uid not in self._processes:
                    self._processes[uid] = PodProcess(pod, self._objects, self._node, self._is_running)
                if "deletionTimestamp" in pod["metadata"] and not self._processes[uid].lost:
                    self._processes[uid].end(pod["metadata"]["deletionGracePeriodSeconds"])
            await self._objects.after(version)

    def _kill_all(self) -> None:
        for _ in range(20):
            left = marked(self._mark)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return

    # How clients reach it.

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig file, for `load_incluster_config: false`."""
        return self.folder / "kubeconfig.yaml"

    def _access(self) -> dict[str, Any]:
        context = {"cluster": "stand-in", "user": "stand-in", "namespace": self.namespace}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stand-in", "cluster": {"server": self.url}}],
            "users": [{"name": "stand-in", "user": {}}],
            "contexts": [{"name": "stand-in", "context": context}],
            "current-context": "stand-in",
        }

    def client(self) -> Any:
        """A `kubernetes.client.ApiClient` for it, which leaves the client's global settings alone."""
        from kubernetes import config

        return config.new_client_from_config(str(self.kubeconfig))

    # What a test does to it.

    def evict(self, pod: str) -> None:
        """Kill a pod as a node that is short of memory does: it fails, and its object stays."""
        self._do(lambda: self._process(pod).strike("Evicted"))

    def oom(self, pod: str) -> None:
        """Kill a pod's container as the kernel does when it takes more memory than its limit."""
        self._do(lambda: self._process(pod).strike("OOMKilled"))

    def lose_node(self, pod: str, seconds: float = 0.5) -> None:
        """Take a pod's node away: it is dead at once, said to run for a while yet, and gone then."""

        def gone() -> None:
            self._objects.remove(PODS, self.namespace, pod)

        def lose() -> None:
            self._process(pod).lose()
            asyncio.get_running_loop().call_later(seconds, gone)

        self._do(lose)

    def unavailable(self, times: int, what: str = "") -> None:
        """Answer the next requests with 503: all, or those whose `METHOD /path` this expression finds."""
        self._api.refuse, self._api.refuse_what = times, what

    def lose_answer(self, resource: str) -> None:
        """Make the next object of a resource, such as `pods`, and answer 503 as if nothing had been made."""
        self._api.unheard = resource

    def once(self, predicate: Callable[[Object], bool], action: Callable[[Object], object]) -> None:
        """Call an action with the first pod that starts to run from now on and that the predicate is true of.

        It is called in a thread of its own, so that it may wait.
        """
        self._hooks.append((predicate, action))

    def _is_running(self, pod: Object) -> None:
        for hook in list(self._hooks):
            if hook[0](pod):
                self._hooks.remove(hook)
                threading.Thread(target=hook[1], args=(pod,), daemon=True).start()

    def _process(self, pod: str) -> PodProcess:
        return self._processes[self._objects.get(PODS, self.namespace, pod)["metadata"]["uid"]]

    def _do(self, act: Callable[[], Any]) -> Any:
        """Call something in the server's thread, which alone touches the objects."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def call() -> None:
            try:
                done.set_result(act())
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return done.result(30)

    # What a test asks of it.

    @property
    def denied(self) -> set[tuple[str, str]]:
        return self._api.denied

    @property
    def requests(self) -> list[Request]:
        return list(self._api.requests)

    @property
    def created(self) -> list[Object]:
        """Every object ever created, as it was submitted, those that the cluster itself makes included."""
        return copy.deepcopy(self._objects.created)

    @property
    def logs(self) -> str:
        """Everything that pods ever printed."""
        return "\n".join(self._printed(one) for one in list(self._processes.values()))

    def log(self, pod: str) -> str:
        """What all pods of this name printed."""
        return "\n".join(self._printed(one) for one in list(self._processes.values()) if one.name == pod)

    @staticmethod
    def _printed(process: PodProcess) -> str:
        return "\n".join(line.text.decode(errors="replace") for line in list(process.lines))

    def objects(self, kind: str, selector: str = "") -> list[Object]:
        """Those there are of a kind, by its plural name such as `jobs`, in all namespaces."""
        return self._do(lambda: self._objects.list(_kind(kind), None, Selector(selector)))

    def pods(self, selector: str = "", **labels: str) -> list[Object]:
        """Those there are, by a selector such as `app=x,tier in (a,b)`, or by their labels."""
        terms = [selector, *(f"{key}={value}" for key, value in labels.items())]
        return self.objects("pods", ",".join(term for term in terms if term))

    def pod(self, name: str) -> Object | None:
        """The one of a name."""
        return next((pod for pod in self.pods() if pod["metadata"]["name"] == name), None)

    def processes(self) -> dict[int, str]:
        """What pods have running at this moment, by process id."""
        return marked(self._mark)

    def all_processes_gone(self, seconds: float = 60.0) -> bool:
        """Whether no pod has a process any more, or has none soon."""
        return until(lambda: not self.processes(), seconds)


def _kind(plural: str) -> Kind:
    return next(kind for (_, name), kind in KINDS.items() if name == plural)
