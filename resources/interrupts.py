"""Ctrl-C and signals that act like it, also where Python would lose them."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_AGAIN_S = 0.05


def end_as_with_ctrl_c() -> None:
    """Let SIGTERM, which schedulers send, end this process as Ctrl-C does: in order, keeping what was finished.

    To be called in the main thread.
    """
    keep_interrupts()
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def keep_interrupts() -> None:
    """Have interrupts of the main thread arrive that fall into a destructor or another place that cannot raise.

    Python prints a traceback there ("Exception ignored in …") and goes on as if nobody had asked for the end. With
    this, nothing is printed and the interrupt comes once more, a moment later. To be called in the main thread.
    """
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # A timer of the kernel's: the main thread may hold any lock here, also those that a thread needs to start.
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            before(unraisable)

    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = hook


@contextlib.contextmanager
def interrupting(stop: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C end foreign code as well that the main thread runs meanwhile; elsewhere this does nothing.

    Args:
        stop: tells the foreign code to end; called before the interrupt is raised.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        stop()
        before(number, frame)

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
