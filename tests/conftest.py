import os
import shutil
import signal
import time

import pytest
from hypothesis import HealthCheck, settings
from processes import kill, marked
from small import SMALL, run, teacher_units

from mbt_assets.definitions import build_platform
from partitions.study_file import parse_study
from resources.home import Home

# An example may meet a moment in which the machine does something else.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure():
    """Hear Ctrl-C: a shell starts what it puts in the background, and all below it, with interrupts ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Where several processes share the files, begin with those that take minutes: nobody waits for them at the end."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def small_study():
    return parse_study(SMALL)


@pytest.fixture(scope="session")
def first_made(small_study, tmp_path_factory):
    """The small study with the teacher's cells made, what the runner said of it, and a copy of its home."""
    root = tmp_path_factory.mktemp("home")
    platform = build_platform(small_study, Home(root, "small"))
    reports = run(platform, teacher_units(platform))
    return platform, reports, shutil.copytree(root, tmp_path_factory.mktemp("as_made") / "home")


@pytest.fixture(scope="module")
def made(first_made):
    """The small study with the teacher's cells made, and what the runner said of it.

    Each file of tests finds its home as it was made, at the same place, whatever those before did to it: one starts
    `mbt ui`, whose sensors begin runs of their own, and ends it while they go on.
    """
    platform, reports, as_made = first_made
    shutil.rmtree(platform.home.root)
    shutil.copytree(as_made, platform.home.root)
    return platform, reports


@pytest.fixture(autouse=True)
def same_dagster_home():
    """Give `DAGSTER_HOME` back as it was: commands set it for their process, which here is that of all tests."""
    before = os.environ.get("DAGSTER_HOME")
    yield
    if before is None:
        os.environ.pop("DAGSTER_HOME", None)
    else:
        os.environ["DAGSTER_HOME"] = before


@pytest.fixture
def mark(monkeypatch):
    """A value in the environment by which `marked` finds all that the test started; what is left of it is killed."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("MBT_TEST_MARK", mark)
    yield mark
    for pid in marked(mark):
        kill(pid)
