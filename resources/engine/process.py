"""What a run changes in its process while it lasts: open files, the search for garbage, who hands out memory."""

from __future__ import annotations

import contextlib
import gc
import resource
import threading
from collections.abc import Iterator

import pyarrow as pa

OPEN_FILES = 16384
THRESHOLDS = (200_000, 20, 100)
"""Each request leaves some hundred objects that live as long as it does: with Python's own thresholds the search for
garbage among them takes a tenth of all time."""

_lock = threading.Lock()
_runs = 0
_before = gc.get_threshold()
_pool_before = pa.default_memory_pool()


@contextlib.contextmanager
def tuned(connections: int) -> Iterator[None]:
    """Raise the limit of open files, for good; collect garbage less often and use malloc, until the last run ends.

    Arrow's own allocators keep ten times what a merge of segments needs.

    Args:
        connections: Connections that there may be at once; each is an open file.
    """
    global _runs, _before, _pool_before
    _allow_open_files(max(OPEN_FILES, 2 * connections))
    with _lock:
        if not _runs:
            _before, _pool_before = gc.get_threshold(), pa.default_memory_pool()
            pa.set_memory_pool(pa.system_memory_pool())
            if gc.isenabled():
                gc.set_threshold(*(max(pair) for pair in zip(THRESHOLDS, _before, strict=True)))
        _runs += 1
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            if not _runs:
                gc.set_threshold(*_before)
                pa.set_memory_pool(_pool_before)


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
