"""What a process can arrange with the kernel so that nothing it started is left behind.

Linux has all of it; elsewhere the parts that are missing do nothing, and process groups alone have to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

_DEATH_SIGNAL = 1
_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that it can be found and ended."""
    if _LIBC is not None:
        _LIBC.prctl(_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends; for use between fork and exec.

    Only of use where the starting thread is the main one: the signal follows the thread, not the process.
    """
    if _LIBC is not None:
        _LIBC.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Ids of all living processes below one; empty where there is no `/proc`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name stands in brackets and may hold anything, brackets too; then come the state and the parent.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def signal_all(number: int, root: int, group: int) -> None:
    """Send a signal to every process below one; to a process group where they cannot be listed."""
    for pid in descendants(root):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    if _LIBC is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def started_at(pid: int) -> str:
    """When a process started, in clock ticks since its machine did; empty if it has ended, or without `/proc`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def this_process() -> str:
    """Names this process as no other is named: host, id and start, with `/` between; empty without `/proc`."""
    start = started_at(os.getpid())
    return f"{socket.gethostname()}/{os.getpid()}/{start}" if start else ""


def has_ended(process: str) -> bool:
    """Whether a process has ended, its id being another's now or nobody's; False where that cannot be told.

    Args:
        process: as `this_process` named it; nothing can be told of one on another host.
    """
    host, _, rest = process.partition("/")
    pid, _, start = rest.partition("/")
    here = this_process()
    return bool(here) and host == socket.gethostname() and pid.isdigit() and started_at(int(pid)) != start


class ParentWatch:
    """Tells whether the process that started this one is still there.

    Args:
        parent: its id, as it knows itself.
    """

    def __init__(self, parent: int):
        self.parent = parent
        self.descriptor: int | None = None
        """Readable once the parent has ended; None where the kernel offers no such thing."""
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self.descriptor = os.pidfd_open(parent)

    def gone(self) -> bool:
        """Whether the parent has ended."""
        return os.getppid() != self.parent
