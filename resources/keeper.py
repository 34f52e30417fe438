"""Keeps one model server for all processes that use it: `python -m resources.keeper NAME`, its spec as JSON on stdin.

It starts the server below a guard, waits until it answers, writes down where, and stops it when nobody has held a
lease for a while, when somebody waits for its GPUs and nobody holds a lease, or on SIGTERM. If this process is killed,
the guard ends the server. Nothing but the standard library is imported: it must start in no time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from resources.processes import adopt_orphans, signal_all
from resources.server_files import Record, ServerFiles

LOOPBACK = "127.0.0.1"
PORT = "{port}"
"""Stands for the port in a command line; the keeper picks a free one."""
READY = "READY "
"""Begins the line by which a server that picks its own port says its address."""
TICK_S = 0.1
HEALTH_TICK_S = 0.5
LOG_LINES = 15


@dataclass(frozen=True)
class KeeperSpec:
    """What a keeper is told.

    Attributes:
        name: what a person calls the server.
        folder: the study's `servers` folder.
        digest: of all that the server is.
        boot: tells this boot from the next.
        command: program and arguments, `PORT` where the port goes; without it, the server prints a READY line.
        log: file for what the server prints.
        startup_timeout_s: seconds it may take until it answers.
        idle_timeout_s: seconds without a lease after which it is stopped.
        grace_s: seconds between telling it to end and killing it.
        environment: variables that differ from the keeper's own.
        gpus: the GPUs that it has to itself.
        descriptors: locks to hold on to as long as the server runs: first that of the keeper, then those of the GPUs.
    """

    name: str
    folder: str
    digest: str
    boot: str
    command: Sequence[str]
    log: str
    startup_timeout_s: float
    idle_timeout_s: float
    grace_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: Sequence[str] = ()
    descriptors: Sequence[int] = ()


class StartError(RuntimeError):
    """A server that does not come up; the message ends with what it printed."""


class Keeper:
    """One server from its start to its end."""

    def __init__(self, spec: KeeperSpec):
        self._spec = spec
        self._files = ServerFiles(Path(spec.folder), spec.digest)
        self._log = Path(spec.log)
        self._printed_before = self._log.stat().st_size if self._log.exists() else 0
        self._told = False
        self._unused_since: float | None = None
        self._record = Record(
            name=spec.name,
            digest=spec.digest,
            boot=spec.boot,
            state="starting",
            keeper=os.getpid(),
            log=spec.log,
            gpus=tuple(spec.gpus),
            started_at=time.time(),
            idle_timeout_s=spec.idle_timeout_s,
        )

    def run(self) -> None:
        """Start the server and keep it until nobody needs it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        adopt_orphans()
        guard, url = self._start()
        try:
            if self._came_up(guard, url):
                self._watch(guard)
        except StartError as error:
            self._stop(guard)
            self._say(state="failed", error=str(error))
        else:
            self._stop(guard)
            if self._is_ours():
                self._files.forget()

    def _start(self) -> tuple[subprocess.Popen[bytes], str]:
        """The guard of the started server, and its address where that is known beforehand."""
        port = str(_free_port())
        command = [port if word == PORT else word for word in self._spec.command]
        reader, writer = os.pipe()
        arguments = ["--parent", str(os.getpid()), "--grace", str(self._spec.grace_s), "--report", str(writer), "--"]
        with self._log.open("ab") as log:
            guard = subprocess.Popen(
                [sys.executable, "-m", "resources.guard", *arguments, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self._spec.environment},
                # With the locks of the GPUs: they stay taken until the last process of the server is gone, even if
                # this one is killed.
                pass_fds=(writer, *self._spec.descriptors[1:]),
            )
        os.close(writer)
        with os.fdopen(reader) as report:
            pid = int(report.readline() or 0)
        self._say(pid=pid)
        self._files.log_boot(self._record)
        return guard, f"http://{LOOPBACK}:{port}" if PORT in self._spec.command else ""

    def _came_up(self, guard: subprocess.Popen[bytes], url: str) -> bool:
        """Wait until the server answers; False if nobody waits for that any more.

        Raises:
            StartError: it ended, or it takes too long.
        """
        deadline = time.monotonic() + self._spec.startup_timeout_s
        next_look = 0.0
        while not self._needless():
            if guard.poll() is not None:
                raise StartError(self._told_with_log(f"ended with exit status {guard.returncode} before it answered"))
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + (HEALTH_TICK_S if url else 0)
                where = url or self._announced()
                if where and healthy(where, timeout_s=2):
                    self._say(state="ready", url=where)
                    return True
            if time.monotonic() > deadline:
                late = f"did not answer within {self._spec.startup_timeout_s:g} s"
                raise StartError(self._told_with_log(late))
            time.sleep(TICK_S)
        return False

    def _watch(self, guard: subprocess.Popen[bytes]) -> None:
        """Return when the server has ended or is to be stopped."""
        while guard.poll() is None and not self._needless():
            time.sleep(TICK_S)
        if guard.returncode is not None:
            print(f"the model server {self._spec.name} ended by itself: status {guard.returncode}", flush=True)

    def _needless(self) -> bool:
        """Whether to stop: told to, or unused for long enough; then that is written down."""
        if not self._is_ours():
            return True
        if self._told:
            self._say(state="stopping")
            return True
        if self._files.leases():
            if self._unused_since is not None:
                self._unused_since = None
                self._say(idle_since=None)
            return False
        if self._unused_since is None:
            self._unused_since = time.monotonic()
            self._say(idle_since=time.time())
        unused = time.monotonic() - self._unused_since
        if unused < self._spec.idle_timeout_s and not self._files.wishes():
            return False
        with self._files.gate():
            if self._files.leases(remove_free=True):
                return False
            self._say(state="stopping")
            return True

    def _stop(self, guard: subprocess.Popen[bytes]) -> None:
        if guard.poll() is None:
            guard.terminate()
            # The guard kills after the grace by itself; this is for a guard that does not do its work.
            with contextlib.suppress(subprocess.TimeoutExpired):
                guard.wait(self._spec.grace_s + 10)
        signal_all(signal.SIGKILL, os.getpid(), self._record.pid or guard.pid)
        guard.wait()

    def _say(self, **changes: object) -> None:
        self._record = dataclasses.replace(self._record, **changes)  # type: ignore[arg-type]
        if self._is_ours():
            self._files.write(self._record)

    def _is_ours(self) -> bool:
        """Whether what is written down is still of this boot: somebody may have deleted the folder."""
        written = self._files.read()
        return written is not None and written.boot == self._spec.boot

    def _announced(self) -> str:
        for line in self._printed():
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
        return ""

    def _told_with_log(self, what: str) -> str:
        lines = self._printed()[-LOG_LINES:]
        shown = "\n".join(lines) if lines else "(it printed nothing)"
        return f"the model server {self._spec.name} {what}; {self._log} ends with:\n{shown}"

    def _printed(self) -> list[str]:
        """The complete lines of this boot."""
        with self._log.open("rb") as file:
            file.seek(self._printed_before)
            text = file.read().decode(errors="replace")
        return text[: text.rfind("\n") + 1].splitlines() or ([text] if text else [])

    def _received(self, number: int, frame: FrameType | None) -> None:
        self._told = True


def healthy(url: str, timeout_s: float) -> bool:
    """Whether a server answers its health check."""
    try:
        # Never through a proxy: it is a server of this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/health", timeout=timeout_s):
            return True
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Entry point."""
    spec = KeeperSpec(**json.load(sys.stdin))
    for descriptor in spec.descriptors:
        os.set_inheritable(descriptor, False)
    Keeper(spec).run()


if __name__ == "__main__":
    main()
