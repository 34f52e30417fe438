"""What a node does with a pod: its first container's command runs as a process of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster_containers import ConfigError, answers, command_of, environment_of
from cluster_objects import EVENTS, PODS, Object, Objects, now
from cluster_status import container_status, gpus, once_more, pod_status, terminated, unschedulable, waiting, warning
from processes import marked

MARK = "MBT_STAND_IN_POD"
PROBE_S = 0.1
BACKOFF_S = 1
"""Between a container's end and its next start; a real node begins with ten seconds."""
KILLED = 128 + signal.SIGKILL
_addresses = itertools.count(1)


@dataclass(frozen=True)
class Line:
    """One line that a container printed, as the API gives it out."""

    run: int
    stamp: str
    text: bytes


@dataclass(frozen=True)
class Node:
    """What all pods share.

    Attributes:
        folder: working directories of the pods are below it.
        env: what a pod's processes find set, beside what the pod sets.
        mark: by which processes of this cluster can be told from others'.
        missing_images: cannot be pulled.
        gpus: of the whole cluster; None is any number.
        gpu_resource: the name by which they are asked for.
    """

    folder: Path
    env: dict[str, str]
    mark: str
    missing_images: set[str]
    gpus: int | None
    gpu_resource: str = "nvidia.com/gpu"


class PodProcess:
    """One pod from its creation to its end.

    Args:
        pod: as created.
        objects: where its status is written.
        node: what all pods share.
        running: called with the pod each time its container has started.
    """

    def __init__(self, pod: Object, objects: Objects, node: Node, running: Callable[[Object], None]):
        self.name, self.namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        self.uid = pod["metadata"]["uid"]
        self.lines: list[Line] = []
        self.restarts, self.over, self.lost = 0, False, False
        self._pod, self._objects, self._node, self._running = pod, objects, node, running
        self._fate: str | None = None
        self._last: Object = {}
        self._events: dict[str, str] = {}
        self._stamp, self._began = 0, now()
        self._process: asyncio.subprocess.Process | None = None
        self._printed = asyncio.Event()
        self._task = asyncio.create_task(self._live())
        self._task.add_done_callback(_loudly)
        self._ending: asyncio.Task[None] | None = None

    @property
    def _container(self) -> Object:
        return self._pod["spec"]["containers"][0]

    # What others do to it.

    def end(self, grace_s: float) -> None:
        """Begin to end it as its deletion asks for, and take the object away then."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(grace_s))
        elif grace_s <= 0:
            self.kill()

    async def _end(self, grace_s: float) -> None:
        if self._process is None or self.over:
            self._task.cancel()
        else:
            self._fate = "Deleted"
            if grace_s > 0:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(signal.SIGTERM)
                await asyncio.wait([self._task], timeout=grace_s)
            self.kill()
            await asyncio.wait([self._task])
        self.over = True
        self._printed.set()
        self._objects.remove(PODS, self.namespace, self.name)

    def strike(self, fate: str) -> None:
        """Kill it, and have its status say this reason."""
        self._fate = fate
        self.kill()

    def lose(self) -> None:
        """Kill it, and say nothing of it: the node that would is gone."""
        self.lost = self.over = True
        self._task.cancel()
        self.kill()
        self._printed.set()

    def kill(self) -> None:
        """Kill all its processes, those in sessions of their own too, as the end of a container does."""
        for _ in range(5):
            left = marked(f"{self._node.mark}/{self.uid}")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                return

    async def printed(self) -> None:
        """Wait for another line, or the end."""
        await self._printed.wait()

    # Its life.

    async def _live(self) -> None:
        await self._until_it_fits()
        self._pod["status"]["podIP"] = _address()
        await self._until_image_is_there()
        env = await self._until_configured()
        while True:
            code = await self._run_once(env)
            reason = self._fate or ("Completed" if code == 0 else "Error")
            said = [line.text for line in self.lines if line.run == self.restarts]
            state = terminated(self._container, code, reason, self._began, said)
            if not self._starts_again(code):
                break
            self._last, self.restarts, self._fate = state, self.restarts + 1, None
            message = f"back-off restarting failed container in pod {self.name}"
            self._report("Running", waiting("CrashLoopBackOff", message))
            await asyncio.sleep(BACKOFF_S * min(self.restarts, 10))
        self.over = True
        evicted = {"reason": "Evicted", "message": "The node was low on resource: memory."}
        about = evicted if reason == "Evicted" else {}
        if about:
            self._event("Evicted", about["message"])
        self._report("Succeeded" if code == 0 else "Failed", state, **about)
        self._ring()

    def _starts_again(self, code: int) -> bool:
        if self._fate in ("Evicted", "Deleted"):
            return False
        policy = self._pod["spec"].get("restartPolicy", "Always")
        return policy == "Always" or (policy == "OnFailure" and code != 0)

    async def _until_it_fits(self) -> None:
        wanted = gpus(self._pod, self._node.gpu_resource)
        while self._node.gpus is not None and wanted and wanted > self._node.gpus - self._gpus_taken():
            message = f"0/1 nodes are available: 1 Insufficient {self._node.gpu_resource}."
            status = unschedulable(message)
            if self._objects.get(PODS, self.namespace, self.name).get("status") != status:
                self._objects.set_status(PODS, self._pod, status)
                self._event("FailedScheduling", message)
            await self._objects.after(self._objects.version)

        def place(pod: Object) -> None:
            pod["spec"]["nodeName"] = "stand-in-node"

        placed = self._objects.change(PODS, self.namespace, self.name, place)
        self._pod = {**(placed or self._pod), "status": {"hostIP": "127.0.0.1", "startTime": now()}}
        self._report("Pending", waiting("ContainerCreating"))

    def _gpus_taken(self) -> int:
        others = [pod for pod in self._objects.list(PODS) if pod["spec"].get("nodeName")]
        living = [pod for pod in others if pod.get("status", {}).get("phase") in ("Pending", "Running")]
        return sum(gpus(pod, self._node.gpu_resource) for pod in living)

    async def _until_image_is_there(self) -> None:
        image = self._container.get("image")
        reason = "ErrImagePull"
        while image in self._node.missing_images:
            message = f'failed to pull image "{image}": not found'
            self._event("Failed", message)
            self._report("Pending", waiting(reason, message))
            await asyncio.sleep(0.3)
            reason = "ImagePullBackOff"

    async def _until_configured(self) -> dict[str, str]:
        while True:
            try:
                return environment_of(self._pod, self._objects)
            except ConfigError as error:
                self._report("Pending", waiting("CreateContainerConfigError", str(error)))
                await asyncio.sleep(0.2)

    async def _run_once(self, env: dict[str, str]) -> int:
        """Run the container's command, and give its exit code when all that it started is gone."""
        folder = self._node.folder / self.name
        folder.mkdir(parents=True, exist_ok=True)
        host = self._pod["spec"].get("hostname") or self.name
        own = {MARK: f"{self._node.mark}/{self.uid}", "HOSTNAME": host, "HOME": str(folder)}
        command = command_of(self._pod, env)
        self._began = now()
        # A pipe of our own: asyncio would wait for the end of one of its own as long as any child has it open.
        out, into = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env={**self._node.env, **own, **env},
                cwd=self._container.get("workingDir") or folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=into,
                stderr=into,
                start_new_session=True,
            )
        except (OSError, IndexError, ValueError) as error:
            os.close(out)
            self._print(f"exec: {error}".encode())
            return 128
        finally:
            os.close(into)
        reading = asyncio.create_task(self._read(out))
        probing = asyncio.create_task(self._probe())
        code = await self._process.wait()
        self.kill()
        probing.cancel()
        await asyncio.wait([reading], timeout=30)
        return code if code >= 0 else 128 - code

    async def _probe(self) -> None:
        probes = [self._container.get(name) for name in ("startupProbe", "readinessProbe")]
        state, was, told, missed = {"running": {"startedAt": self._began}}, None, False, 0
        most = (self._container.get("readinessProbe") or {}).get("failureThreshold", 3)
        while True:
            passed = all([await answers(probe, self._pod) for probe in probes])
            missed = 0 if passed else missed + 1
            # As there: a container that was ready is unready once it has missed some probes in a row.
            ready = passed or (was is True and missed < most)
            if ready != was:
                self._report("Running", state, ready=ready)
            if not told:
                self._running(self._objects.find(PODS, self.namespace, self.name) or self._pod)
            was, told = ready, True
            if not any(probes):
                return
            await asyncio.sleep(PROBE_S)

    async def _read(self, out: int) -> None:
        stream, rest = asyncio.StreamReader(), b""
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(out, "rb", 0)
        )
        try:
            while chunk := await stream.read(1 << 16):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    self._print(line)
            if rest:
                self._print(rest)
        finally:
            transport.close()

    def _print(self, text: bytes) -> None:
        # No two lines of a container carry the same time.
        self._stamp = max(self._stamp + 1, time.time_ns())
        second = datetime.datetime.fromtimestamp(self._stamp // 10**9, datetime.UTC)
        stamp = f"{second:%Y-%m-%dT%H:%M:%S}.{self._stamp % 10**9:09d}Z"
        self.lines.append(Line(self.restarts, stamp, text))
        self._ring()

    def _ring(self) -> None:
        self._printed.set()
        self._printed = asyncio.Event()

    # What is said of it.

    def _report(self, phase: str, state: Object, ready: bool = False, **about: str) -> None:
        if self.lost:
            return
        container = container_status(self._container, state, self._last, self.restarts, ready)
        self._objects.set_status(PODS, self._pod, pod_status(self._pod["status"], phase, container, **about))

    def _event(self, reason: str, message: str) -> None:
        if known := self._events.get(reason + message):
            self._objects.change(EVENTS, self.namespace, known, once_more)
            return
        about = {"kind": "Pod", "name": self.name, "namespace": self.namespace, "uid": self.uid}
        made = self._objects.create(EVENTS, self.namespace, warning(about, reason, message))
        self._events[reason + message] = made["metadata"]["name"]


def _loudly(task: asyncio.Task[None]) -> None:
    """A fault of the stand-in itself is not to look like a pod that never starts."""
    if not task.cancelled() and (error := task.exception()):
        traceback.print_exception(error)


def _address() -> str:
    # Loopback is a whole network; test processes side by side take different parts of it.
    number = next(_addresses)
    return f"127.{1 + os.getpid() % 250}.{number // 250 % 250}.{1 + number % 250}"
