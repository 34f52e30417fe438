"""A case of a test in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def in_child(work: Callable[[], None]) -> int:
    """Fork, so that each case starts from a fresh process without importing anew."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
