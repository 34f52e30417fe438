"""Using a model server that others may use too: finds the one that runs, or starts it, exactly once.

Processes need not know of each other. What they agree by lies in the study's `servers` folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from resources.gpus import Gpus, Holder, Notice
from resources.keeper import KeeperSpec, healthy
from resources.locks import Held, try_take
from resources.server_files import Record, ServerFiles, kept_servers

POLL_S = 0.1
HEALTH_TIMEOUT_S = 5.0
SILENT_S = 30.0
"""A server that should answer and does not for so long is replaced."""
MOST_BOOTS = 3


class ServerError(RuntimeError):
    """A model server that does not come up; the message names its log and how it ends."""


@dataclass(frozen=True)
class ServerSpec:
    """What a server is and how it is kept.

    Attributes:
        name: what a person calls it.
        command: program and arguments, with `keeper.PORT` for the port.
        identity: what else makes it another server: a checkpoint's digest, the code it runs.
        log: file for what it prints.
        startup_timeout_s: seconds it may take until it answers.
        idle_timeout_s: seconds without a lease after which it is stopped.
        grace_s: seconds between telling it to end and killing it.
        gpus: how many it has to itself.
        environment: variables that differ from those of this process.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    identity: tuple[str, ...] = ()
    startup_timeout_s: float = 120.0
    idle_timeout_s: float = 30.0
    grace_s: float = 5.0
    gpus: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of all that makes it this server; of the machine too, since others reach the folder but not the port."""
        made_of = [self.command, self.identity, self.gpus, sorted(self.environment.items()), platform.node()]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]


class Lease:
    """The use of a server: it stays until `release`, or until this process dies.

    Args:
        folder: the study's `servers` folder.
        spec: the server.
    """

    def __init__(self, folder: Path, spec: ServerSpec):
        self._spec = spec
        self._files = ServerFiles(folder, spec.digest)
        self._held: Held = self._files.lease()

    def release(self) -> None:
        """End the use."""
        self._held.close(remove=True)

    def url(self, notice: Notice) -> str:
        """Where the server answers, started first where need be. It has just answered there.

        Args:
            notice: told what this waits for, where that takes long.

        Raises:
            ServerError: it does not come up.
            GpuError: it needs more GPUs than the machine has.
        """
        boot, boots, silent_since = "", 0, None
        while True:
            with self._files.gate():
                right = try_take(self._files.alive)
                try:
                    record = self._files.read()
                    if record and record.boot == boot and record.state == "failed":
                        raise ServerError(record.error)
                    if right:
                        boot = secrets.token_hex(8)
                        self._files.write(
                            Record(self._spec.name, self._spec.digest, boot, "waiting", started_at=time.time())
                        )
                except BaseException:
                    if right:
                        right.close()
                    raise
            if right:
                boots += 1
                with right:
                    self._boot(boot, boots, right, notice)
            elif record and record.state == "ready":
                boot = record.boot
                if healthy(record.url, HEALTH_TIMEOUT_S):
                    return record.url
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > SILENT_S:
                    notice(f"the model server {record.name} does not answer {record.url}/health: it is replaced")
                    silent_since = None
                    stop(self._files, record)
            elif record and record.state in ("waiting", "starting"):
                boot = record.boot
            time.sleep(POLL_S)

    def _boot(self, boot: str, number: int, right: Held, notice: Notice) -> None:
        """Start a keeper and hand it the right to be one."""
        spec = self._spec
        if number > MOST_BOOTS:
            raise ServerError(f"the keeper of the model server {spec.name} ended {MOST_BOOTS} times; see {spec.log}")
        holder = Holder(f"the model server {spec.name}", str(self._files.folder), spec.digest)
        taken = Gpus.of_machine().take(spec.gpus, holder, notice)
        try:
            descriptors = [right.fd, *(lock.fd for lock in taken.locks)]
            told = KeeperSpec(
                name=spec.name,
                folder=str(self._files.folder),
                digest=spec.digest,
                boot=boot,
                command=spec.command,
                log=str(spec.log),
                startup_timeout_s=spec.startup_timeout_s,
                idle_timeout_s=spec.idle_timeout_s,
                grace_s=spec.grace_s,
                environment={**spec.environment, **taken.environment},
                gpus=taken.ids,
                descriptors=descriptors,
            )
            _start_keeper(told)
        finally:
            taken.close()


def stop(files: ServerFiles, record: Record) -> None:
    """Have a server stopped, used or not; returns at once."""
    # The lock says that the id is still that keeper's.
    if record.keeper and files.is_kept():
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.keeper, signal.SIGTERM)


def stop_idle(folder: Path, *, timeout_s: float = 15.0) -> None:
    """Have the servers that hold no GPU and that nobody uses stopped now instead of after their time-out.

    Args:
        folder: a study's `servers` folder.
        timeout_s: seconds to wait for them to be gone.
    """
    with contextlib.ExitStack() as wishes:
        waiting = []
        for files, record in kept_servers(folder):
            if not record.gpus and not files.leases():
                wishes.callback(files.wish().close, remove=True)
                waiting.append(files)
        deadline = time.monotonic() + timeout_s
        while any(files.is_kept() and not files.leases() for files in waiting) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _start_keeper(told: KeeperSpec) -> None:
    log = Path(told.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            # The name is for those who look at a list of processes.
            [sys.executable, "-m", "resources.keeper", told.name],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            # Of no terminal and no group of this process: it outlives both.
            start_new_session=True,
            pass_fds=tuple(told.descriptors),
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(dataclasses.asdict(told)).encode())
    # Nobody waits for it, but somebody must take leave of it while this process lives.
    threading.Thread(target=process.wait, daemon=True).start()
