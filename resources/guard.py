"""Runs a program so that all of it ends together: `python -m resources.guard --parent PID -- PROGRAM …`.

The program gets a session of its own. When it ends, when this process is told to end, when the process that started
this one is gone (killed, even), or when it takes too long, everything below is told to end and killed after a grace:
also what the program started and left, and what moved into sessions of its own. If this process itself is killed, the
kernel kills the program. Nothing but the standard library is imported: it must start in no time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from resources.locks import Held, try_take
from resources.processes import ParentWatch, adopt_orphans, die_with_parent, signal_all

CANNOT_START = 127
TOOK_TOO_LONG = 124
_SIGNALLED = 128
_TICK_S = 0.5
_KILL_TICK_S = 0.05
_GIVE_UP_S = 30.0


class Guard:
    """One guarded program.

    Args:
        parent: the process whose end ends the program; None where nothing is above, as in a container.
        grace_s: seconds between telling the program to end and killing it.
        limit_s: seconds that the program may take; None for any.
    """

    def __init__(self, parent: int | None, grace_s: float, limit_s: float | None = None):
        self._watch = ParentWatch(os.getppid() if parent is None else parent)
        self._grace_s = grace_s
        self._limit_s = limit_s
        self._ends_at: float | None = None
        self._child = 0
        self._status: int | None = None
        self._deadline: float | None = None
        self._told = 0
        self._wake, writer = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._received)

    def locked(self, path: Path) -> Held | None:
        """The lock on a file once it is free; None if there is no more reason to wait for it."""
        while not self._told and not self._watch.gone():
            held = try_take(path)
            if held:
                return held
            self._pause(_TICK_S)
        return None

    def run(self, command: Sequence[str], report: int | None) -> int:
        """Run the program and return its exit status, as a shell would: 128 and the signal if one ended it.

        Args:
            command: program and arguments.
            report: descriptor that gets the program's process id as a line.
        """
        adopt_orphans()
        try:
            # This thread is the main one, so the kernel's signal comes when this process ends and not before.
            child = subprocess.Popen(command, start_new_session=True, preexec_fn=die_with_parent)
        except OSError as error:
            print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
            return CANNOT_START
        self._child = child.pid
        self._ends_at = time.monotonic() + self._limit_s if self._limit_s else None
        if report is not None:
            os.write(report, f"{child.pid}\n".encode())
            os.close(report)
        while self._reap():
            self._step()
        child.returncode = self._status or 0
        # Where orphans cannot be adopted, this reaches those that stayed in the group.
        signal_all(signal.SIGKILL, os.getpid(), self._child)
        return self._status or 0

    def _step(self) -> None:
        if self._deadline is None:
            if self._told:
                self._end(self._told)
            elif self._status is not None or self._watch.gone():
                self._end(signal.SIGTERM)
            elif self._ends_at is not None and time.monotonic() > self._ends_at:
                print(f"ended: it took longer than {self._limit_s:g} s", file=sys.stderr, flush=True)
                self._status = TOOK_TOO_LONG
                self._end(signal.SIGTERM)
            else:
                self._pause(_TICK_S)
        elif time.monotonic() < self._deadline:
            self._pause(_KILL_TICK_S)
        else:
            signal_all(signal.SIGKILL, os.getpid(), self._child)
            if time.monotonic() > self._deadline + _GIVE_UP_S:
                sys.exit(f"process {self._child} cannot be killed")
            self._pause(_KILL_TICK_S)

    def _end(self, number: int) -> None:
        self._deadline = time.monotonic() + self._grace_s
        signal_all(number, os.getpid(), self._child)

    def _reap(self) -> bool:
        """Take leave of those that ended; whether any are left."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._child and self._status is None:
                    code = os.waitstatus_to_exitcode(status)
                    self._status = code if code >= 0 else _SIGNALLED - code
        return False

    def _pause(self, seconds: float) -> None:
        watched = [self._wake]
        if self._watch.descriptor is not None and self._deadline is None:
            watched.append(self._watch.descriptor)
        select.select(watched, [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 512)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD and not self._told:
            self._told = number


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m resources.guard", description="Runs a program.")
    parser.add_argument("--parent", type=int, help="process whose end ends the program")
    parser.add_argument("--grace", type=float, default=5.0, help="seconds between telling it to end and killing it")
    parser.add_argument("--limit", type=float, help="seconds it may take; then it ends with status 124")
    parser.add_argument("--report", type=int, help="descriptor that gets the program's process id")
    parser.add_argument("--lock", type=Path, help="file to lock first, for as long as anything of the program runs")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    guard = Guard(options.parent, options.grace, options.limit)
    held = guard.locked(options.lock) if options.lock else None
    if options.lock and not held:
        sys.exit(_SIGNALLED + signal.SIGTERM)
    sys.exit(guard.run(options.command, options.report))


if __name__ == "__main__":
    main()
