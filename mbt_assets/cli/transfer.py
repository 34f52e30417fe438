"""Progress of one repository's download: a live bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from mbt_assets.cli.common import err

TOLD_EVERY_S = 10.0


class Transfer:
    """Shows how many bytes have come.

    Args:
        repo: what is fetched.
        total: bytes of it.
    """

    def __init__(self, repo: str, total: int):
        self.repo, self.total, self.done = repo, total, 0
        self._told = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=err, disable=not err.is_interactive, transient=True
        )
        self._task = self._bar.add_task(escape(repo), total=total)

    def __enter__(self) -> Transfer:
        if not err.is_interactive:
            err.print(f"{self.repo}: {decimal(self.total)} to fetch", markup=False, highlight=False, soft_wrap=True)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def add(self, count: int) -> None:
        """So many more bytes have come; less than none where they have to come again."""
        # What is fetched again after a fault counts again, so that the sum may come to more than there is.
        self.done = min(self.done + count, self.total)
        self._bar.update(self._task, completed=self.done)
        if not err.is_interactive and time.monotonic() - self._told >= TOLD_EVERY_S:
            self._told = time.monotonic()
            line = f"{self.repo}: {decimal(self.done)} of {decimal(self.total)}"
            err.print(line, markup=False, highlight=False, soft_wrap=True)
