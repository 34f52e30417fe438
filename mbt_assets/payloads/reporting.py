"""Telling whoever started a payload how it goes: through Dagster Pipes when under Dagster, as plain lines otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PIPES_VARIABLE = "DAGSTER_PIPES_CONTEXT"


class Reporter:
    """Where a payload's lines go.

    Args:
        is_main: whether this process speaks; the other ranks of a distributed run stay silent.
        pipes: an open Dagster Pipes context, or None for plain lines on stdout.
    """

    def __init__(self, is_main: bool = True, pipes: Any = None):
        self.is_main = is_main
        self._pipes = pipes

    def say(self, line: str) -> None:
        """One line of progress."""
        if self.is_main:
            print(line, flush=True)
            if self._pipes:
                self._pipes.log.info(line)

    def error(self, line: str) -> None:
        """One line on why the payload gives up."""
        if self.is_main:
            print(line, file=sys.stderr, flush=True)
            if self._pipes:
                self._pipes.log.error(line)


@contextmanager
def open_reporter() -> Iterator[Reporter]:
    """Opens Dagster Pipes if this process runs under it; only rank 0 of a distributed run reports."""
    is_main = os.environ.get("RANK", "0") == "0"
    if not (is_main and os.environ.get(PIPES_VARIABLE)):
        yield Reporter(is_main)
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        yield Reporter(is_main, pipes)
