"""Worker processes that end with whoever started them, and the runs and payloads in them with the worker.

Workers stand in process groups of their own: Ctrl-C reaches the process that started them alone, and that one tells
them. So each run is interrupted exactly once, whether by a key, by a signal, or because its starter was killed.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from resources.interrupts import keep_interrupts

GRACE_S = 15.0
"""Seconds that an interrupted run has to end its payload and to be recorded as interrupted."""
_LOOK_S = 0.1
T = TypeVar("T")
_busy = threading.Event()
_stopped = threading.Event()


class Workers:
    """Processes that each do one thing at a time; one that is killed takes no other with it."""

    def __init__(self, workers: int, start: Callable[[], ProcessPoolExecutor]) -> None:
        """Prepare; a process starts when it is first needed.

        Args:
            workers: processes at most.
            start: makes a pool of one.
        """
        self._start = start
        self._pools: list[ProcessPoolExecutor] = []
        # None stands for a process that is still to be started.
        self._free: queue.SimpleQueue[ProcessPoolExecutor | None] = queue.SimpleQueue()
        for _ in range(workers):
            self._free.put(None)

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a worker call something; waits for a free one.

        Returns:
            Its outcome; `BrokenProcessPool` if the worker was killed.
        """
        pool = self._free.get()
        if pool is None:
            pool = self._start()
            self._pools.append(pool)
        future = pool.submit(call, *arguments)
        future.add_done_callback(functools.partial(self._back, pool))
        return future

    def _back(self, pool: ProcessPoolExecutor, future: Future[Any]) -> None:
        broken = not future.cancelled() and isinstance(future.exception(), BrokenProcessPool)
        self._free.put(None if broken else pool)

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for all of them to end."""
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=cancel)
        for pool in self._pools:
            pool.shutdown(wait=True)


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator[Workers]:
    """Workers that are interrupted when this block is left by an error or an interrupt.

    Args:
        workers: processes at most.
    """
    # Workers start fresh: a forked child would inherit this process's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    # Nothing is ever sent: that this end is closed, also by the kernel, says it all.
    reader, writer = context.Pipe(duplex=False)
    pool = Workers(workers, lambda: ProcessPoolExecutor(1, context, initializer=_follow, initargs=(reader,)))
    try:
        yield pool
    except BaseException:
        writer.close()
        pool.shutdown(cancel=True)
        raise
    else:
        pool.shutdown()
        writer.close()
    finally:
        reader.close()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Marks the work of a worker that an interrupt is to reach.

    Raises:
        KeyboardInterrupt: the worker was told to end before the work began, or is told so meanwhile.
    """
    _busy.set()
    try:
        if _stopped.is_set():
            raise KeyboardInterrupt
        yield
    finally:
        _busy.clear()


def _follow(stop: Connection) -> None:
    # A shell starts what it puts in the background with interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_interrupts()
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_starter, args=(stop,), daemon=True).start()


def _end_with_starter(stop: Connection) -> None:
    starter = multiprocessing.parent_process()
    assert starter is not None
    wait([stop, starter.sentinel])
    _stopped.set()
    if _busy.is_set():
        # To the main thread: a call that waits there returns only for a signal of its own.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    while _busy.is_set() and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    if not _busy.is_set():
        # A starter that lives takes the outcome and ends this process itself.
        wait([starter.sentinel], timeout=max(0.0, deadline - time.monotonic()))
    os._exit(os.EX_TEMPFAIL)
