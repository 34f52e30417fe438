"""Progress of a plan: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mbt_assets.cli.common import err

if TYPE_CHECKING:
    from jobs.plan import Unit
    from jobs.runner import Report
    from partitions.grid import Node

HEARTBEAT_SECONDS = 20.0
COLOURS = {"made": "green", "reused": "dim", "failed": "red", "skipped": "yellow"}


class UnitProgress:
    """Shows which units run and what became of each.

    Args:
        total: number of units.
    """

    def __init__(self, total: int):
        self.total = total
        self.done = 0
        self.running: dict[str, None] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=err,
            disable=not err.is_interactive,
        )
        self._task = self._bar.add_task("starting", total=total)

    def __enter__(self) -> UnitProgress:
        self._bar.start()
        if not err.is_interactive:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._bar.stop()

    def started(self, unit: Unit, nodes: Sequence[Node]) -> None:
        """A unit starts."""
        with self._lock:
            self.running[unit.name] = None
            self._describe()

    def ended(self, report: Report) -> None:
        """A unit has ended."""
        with self._lock:
            self.running.pop(report.unit.name, None)
            self.done += 1
            self._bar.update(self._task, advance=1)
            self._describe()
        colour = COLOURS[report.outcome]
        time = f" {report.seconds:6.1f} s" if report.seconds else ""
        why = f"  ({escape(report.why[:160])})" if report.why else ""
        position = f"{self.done:>{len(str(self.total))}}/{self.total}"
        err.print(f"{position} [{colour}]{report.outcome:7}[/]{time}  {escape(report.unit.name)}{why}", highlight=False)

    def _describe(self) -> None:
        text = ", ".join(self.running) or "…"
        self._bar.update(self._task, description=escape(text if len(text) < 60 else text[:57] + "…"))

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with self._lock:
                names = ", ".join(self.running)
            if names:
                err.print(f"… {escape(names)}", highlight=False)
