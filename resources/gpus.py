"""The GPUs of this machine: each belongs to one server or one training at a time, whatever study or process it is of.

A GPU is a lock file in a folder of this machine. Who needs several takes all of them at once or none, and nobody who
has some waits for more: there is no deadlock.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from resources.locks import Held, is_held, take, try_take
from resources.server_files import ServerFiles

COUNT_VARIABLE = "MBT_GPUS"
LOCKS_VARIABLE = "MBT_GPU_LOCKS"
VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
POLL_S = 0.5
Notice = Callable[[str], None]


class GpuError(RuntimeError):
    """More GPUs are asked for than this machine has; the message says what to do."""


@dataclass(frozen=True)
class Holder:
    """Who has some GPUs.

    Attributes:
        what: for people.
        servers: the `servers` folder of the study, where a server has them.
        digest: the server's digest.
    """

    what: str
    servers: str = ""
    digest: str = ""

    def idle_server(self) -> ServerFiles | None:
        """The server's files, if it is one that nobody uses."""
        if not self.digest:
            return None
        files = ServerFiles(Path(self.servers), self.digest)
        return None if files.leases() else files


@dataclass(frozen=True)
class Taken:
    """GPUs that one has to oneself; close every lock, or hand its descriptor on and close it.

    Attributes:
        ids: their names for CUDA.
        locks: one per GPU.
        environment: makes a program see those and no others; empty on a machine where none were found.
    """

    ids: tuple[str, ...]
    locks: tuple[Held, ...]
    environment: Mapping[str, str]

    def close(self) -> None:
        """Let go of them here."""
        for lock in self.locks:
            lock.close()


@dataclass(frozen=True)
class Gpus:
    """The GPUs that this process may use.

    Attributes:
        ids: their names for CUDA.
        folder: holds the locks.
        real: whether programs are told which ones are theirs.
    """

    ids: tuple[str, ...]
    folder: Path
    real: bool = True

    @classmethod
    def of_machine(cls) -> Gpus:
        """As `MBT_GPUS` (a number), `CUDA_VISIBLE_DEVICES` or `nvidia-smi` say; one where none is found.

        Raises:
            GpuError: `MBT_GPUS` is no positive number.
        """
        there = os.environ.get(LOCKS_VARIABLE)
        folder = Path(there) if there else Path(tempfile.gettempdir()) / f"mbt-gpus-{os.getuid()}"
        named = [name.strip() for name in os.environ.get(VISIBLE_VARIABLE, "").split(",") if name.strip()]
        visible = [] if named[:1] == ["-1"] else named
        given = os.environ.get(COUNT_VARIABLE)
        if given:
            if not given.isdecimal() or int(given) < 1:
                raise GpuError(f"{COUNT_VARIABLE} is {given!r}: give the number of GPUs, at least 1")
            count = int(given)
            return cls(tuple(visible[:count] if len(visible) >= count else map(str, range(count))), folder)
        ids = visible if VISIBLE_VARIABLE in os.environ else [str(i) for i in range(_installed())]
        return cls(tuple(ids) or ("0",), folder, real=bool(ids))

    def take(self, count: int, holder: Holder, notice: Notice) -> Taken:
        """Take some GPUs, as soon as so many are free; idle servers are asked to give theirs up.

        Args:
            count: how many; 0 takes none and waits for none.
            holder: whom others see them with.
            notice: told for what this waits, once and when that changes.

        Raises:
            GpuError: there are not so many.
        """
        if count > len(self.ids):
            raise GpuError(
                f"{holder.what} needs {count} GPUs and this machine has {len(self.ids)}: lower compute.gpus or the "
                f"server's parallel sizes in the study, or set {COUNT_VARIABLE} if that count is wrong"
            )
        told = ""
        while count:
            taken = self._try_take(count, holder)
            if taken:
                return taken
            with contextlib.ExitStack() as wishes:
                waits_for = self._wish(count, wishes)
                if waits_for and waits_for != told:
                    told = waits_for
                    notice(f"{holder.what} waits for {count} of {len(self.ids)} GPUs: {waits_for}")
                time.sleep(POLL_S)
        return Taken((), (), {})

    @contextlib.contextmanager
    def reserved(self, count: int, holder: Holder, notice: Notice) -> Iterator[Mapping[str, str]]:
        """Have some GPUs for a while; yields the environment that makes a program see those. See `take`."""
        taken = self.take(count, holder, notice)
        try:
            yield taken.environment
        finally:
            taken.close()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '-')}.gpu"

    def _try_take(self, count: int, holder: Holder) -> Taken | None:
        with take(self.folder / "gate"):
            found: list[tuple[str, Held]] = []
            for name in self.ids:
                lock = try_take(self._path(name)) if len(found) < count else None
                if lock:
                    found.append((name, lock))
            if len(found) < count:
                for _, lock in found:
                    lock.close()
                return None
            for _, lock in found:
                lock.write(json.dumps(asdict(holder)))
        ids = tuple(name for name, _ in found)
        environment = {VISIBLE_VARIABLE: ",".join(ids)} if self.real else {}
        return Taken(ids, tuple(lock for _, lock in found), environment)

    def _wish(self, count: int, wishes: contextlib.ExitStack) -> str:
        """Ask as many idle servers to stop as are needed; says who has the GPUs."""
        by_holder: dict[Holder, int] = {}
        # Under the gate: whoever tries for several GPUs holds some for a moment that it will not keep.
        with take(self.folder / "gate"):
            held = [name for name in self.ids if is_held(self._path(name))]
            for name in held:
                with contextlib.suppress(OSError, ValueError):
                    holder = Holder(**json.loads(self._path(name).read_text()))
                    by_holder[holder] = by_holder.get(holder, 0) + 1
        short = count - (len(self.ids) - len(held))
        for holder, has in by_holder.items():
            idle = holder.idle_server()
            if idle and short > 0:
                wish = idle.wish()
                wishes.callback(wish.close, remove=True)
                short -= has
        return ", ".join(f"{holder.what} has {has}" for holder, has in by_holder.items())


def gpus_of_server(declared: int, options: Mapping[str, object]) -> int:
    """How many GPUs a vLLM server takes.

    Args:
        declared: `compute.gpus` of the model; 0 leaves it to the options.
        options: the server's options, by which it is spread over GPUs.
    """
    if declared:
        return declared
    named = {name.replace("-", "_"): value for name, value in options.items()}
    count = 1
    for dimension in ("tensor", "pipeline", "data"):
        count *= int(str(named.get(f"{dimension}_parallel_size", 1)))
    return max(count, 1)


@cache
def _installed() -> int:
    try:
        shown = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    # Parts of a GPU are listed below it, indented.
    return sum(line.startswith("GPU ") for line in shown.splitlines())
