"""What a run changes in its process, it gives back: other things run there too."""

import gc
import resource
import threading

import pyarrow as pa
import pytest

from resources.engine.process import THRESHOLDS, tuned


@pytest.fixture
def state():
    """The garbage collector's thresholds and the name of Arrow's allocator, as they are now."""
    return lambda: (gc.get_threshold(), pa.default_memory_pool().backend_name)


def test_the_last_of_several_runs_gives_back_what_the_first_one_found(state):
    before = state()
    entered, leave = threading.Event(), threading.Event()

    def other_run():
        with tuned(10):
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=other_run)
    with tuned(10):
        other.start()
        assert entered.wait(60)
    assert state() != before
    assert state()[1] == "system"
    leave.set()
    other.join()
    assert state() == before


def test_a_run_that_fails_gives_it_back_too(state):
    before = state()
    with pytest.raises(RuntimeError), tuned(10):
        raise RuntimeError
    assert state() == before


def test_a_collector_that_was_switched_off_or_slower_stays_so(state):
    before = gc.get_threshold()
    try:
        gc.set_threshold(THRESHOLDS[0] + 1, 1, 1)
        with tuned(10):
            assert gc.get_threshold() == (THRESHOLDS[0] + 1, *THRESHOLDS[1:])
        gc.disable()
        with tuned(10):
            assert gc.get_threshold() == (THRESHOLDS[0] + 1, 1, 1)
            assert not gc.isenabled()
    finally:
        gc.enable()
        gc.set_threshold(*before)


def test_there_are_files_enough_for_the_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        with tuned(10_000):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(20_000, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
