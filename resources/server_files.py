"""What is written down of a running model server, and the locks by which its users and its keeper agree.

* `servers/boots.jsonl`: one line per boot
* `servers/<digest>.json`: what the server is doing, as its keeper says
* `servers/<digest>/gate`: held for a moment by whoever changes something that others rely on
* `servers/<digest>/alive`: held by the keeper as long as it lives
* `servers/<digest>/leases`: one locked file per user
* `servers/<digest>/wishes`: one locked file per process that waits for what the server holds
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resources.locks import Held, count_held, is_held, take

State = Literal["waiting", "starting", "ready", "stopping", "failed"]
BOOTS = "boots.jsonl"
_numbers = itertools.count()


@dataclass(frozen=True)
class Record:
    """What a server is doing.

    Attributes:
        name: what a person calls it.
        digest: of all that it is.
        boot: tells one boot from the next.
        state: waiting (for GPUs), starting, ready, stopping or failed.
        keeper: process id of its keeper; 0 while there is none.
        pid: process id of the server, leader of its group.
        url: where it answers, once ready.
        log: what it prints.
        gpus: the GPUs that it has to itself.
        started_at: Unix time of the boot.
        idle_since: Unix time of the last use's end; None while it is used.
        idle_timeout_s: seconds without a use after which it is stopped.
        error: why it failed.
    """

    name: str
    digest: str
    boot: str
    state: State
    keeper: int = 0
    pid: int = 0
    url: str = ""
    log: str = ""
    gpus: tuple[str, ...] = ()
    started_at: float = 0.0
    idle_since: float | None = None
    idle_timeout_s: float = 0.0
    error: str = ""


class ServerFiles:
    """The files of one server.

    Args:
        folder: the study's `servers` folder.
        digest: of all that the server is.
    """

    def __init__(self, folder: Path, digest: str):
        self.folder = folder
        self.digest = digest
        self.path = folder / f"{digest}.json"
        self.alive = folder / digest / "alive"
        self._gate = folder / digest / "gate"
        self._leases = folder / digest / "leases"
        self._wishes = folder / digest / "wishes"

    def gate(self) -> Held:
        """The right to change what others rely on; hold it for a moment only."""
        return take(self._gate)

    def read(self) -> Record | None:
        """What the server is doing; None if nothing is known of it. Only true while its keeper is alive."""
        try:
            values = json.loads(self.path.read_bytes())
        except (FileNotFoundError, ValueError):
            # A power cut may leave a file without content: as good as none.
            return None
        # A keeper of another version may say more.
        known = {field.name: values[field.name] for field in dataclasses.fields(Record) if field.name in values}
        return Record(**{**known, "gpus": tuple(known.get("gpus", ()))})

    def write(self, record: Record) -> None:
        """Say what the server is doing, all at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        aside.write_text(json.dumps(dataclasses.asdict(record)) + "\n")
        aside.replace(self.path)

    def forget(self) -> None:
        """The server is no more."""
        self.path.unlink(missing_ok=True)

    def lease(self) -> Held:
        """Become a user: the server stays until this is closed (with `remove`) or this process dies."""
        # Under the gate: a keeper that decides to stop has either seen this lease or said so before.
        with self.gate():
            return take(self._leases / _own_name())

    def wish(self) -> Held:
        """Ask that the server be stopped as soon as nobody uses it, for as long as this is held."""
        return take(self._wishes / _own_name())

    def leases(self, *, remove_free: bool = False) -> int:
        """How many users the server has; `remove_free` tidies up and is for holders of the gate."""
        return count_held(self._leases, remove_free=remove_free)

    def wishes(self) -> int:
        """How many processes wait for what the server holds."""
        return count_held(self._wishes)

    def is_kept(self) -> bool:
        """Whether somebody keeps this server or is about to start it."""
        return is_held(self.alive)

    def log_boot(self, record: Record) -> None:
        """Count a boot."""
        line: dict[str, Any] = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        line |= {name: getattr(record, name) for name in ("name", "digest", "pid", "keeper", "gpus")}
        # One write in append mode: lines of two keepers never mix.
        with (self.folder / BOOTS).open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")


def kept_servers(folder: Path) -> list[tuple[ServerFiles, Record]]:
    """The servers of a folder that somebody keeps or is about to start, by name."""
    found = []
    for path in folder.glob("*.json") if folder.is_dir() else ():
        files = ServerFiles(folder, path.stem)
        record = files.read()
        if record is not None and files.is_kept():
            found.append((files, record))
    return sorted(found, key=lambda pair: (pair[1].name, pair[1].started_at))


_PROCESS = secrets.token_hex(4)


def _own_name() -> str:
    # Two containers may share the folder, and their process ids.
    return f"{os.getpid()}-{next(_numbers)}-{_PROCESS}"
