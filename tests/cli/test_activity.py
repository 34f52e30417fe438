"""What `mbt status` says of a cell while a run makes it, after it failed, and once it is made."""

import contextlib

import pytest
from small import run

from jobs.plan import CELL_ASSETS, units
from mbt_assets.cli.activity import activities
from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from partitions.grid import Node
from resources.home import Home
from resources.leases import ServerError
from resources.servers import ModelServers

KEY = "wide|rule-teacher__base"
CELL = [Node(asset, KEY) for asset in CELL_ASSETS]
PARENTS = [Node("validation_questions", "wide"), Node("base_models", "rule-teacher__base")]
PARENTS += [Node("checkpoints", "rule-teacher__base")]


class Watched(ModelServers):
    """Model servers that call `look` before they serve."""

    def look(self):
        pass

    @contextlib.contextmanager
    def serving(self, *args):
        self.look()
        with super().serving(*args) as endpoints:
            yield endpoints


@pytest.fixture
def platform(small_study, tmp_path):
    home = Home(tmp_path, "small")
    platform = build_platform(small_study, home, servers=Watched(home))
    run(platform, units(platform.axes.grid, PARENTS))
    return platform


def score(platform):
    job = platform.definitions().resolve_job_def("score_cell")
    with open_instance(platform.home) as instance:
        return job.execute_in_process(instance=instance, partition_key=KEY, raise_on_error=False)


def test_a_cell_is_running_then_failed_then_neither(platform):
    seen = []
    servers = platform.resources["servers"]

    def look():
        seen.append(activities(platform, CELL))
        if len(seen) == 1:
            raise ServerError("no memory is left\nand more")

    servers.look = look
    assert activities(platform, CELL) == {}
    assert not score(platform).success
    assert {node: activity.state for node, activity in seen[0].items()} == dict.fromkeys(CELL, "running")
    assert seen[0][CELL[0]].reason.startswith("since ")
    failed = activities(platform, CELL)
    assert failed[CELL[0]].state == "failed"
    assert failed[CELL[0]].reason.endswith("ServerError: no memory is left")
    assert (failed[CELL[-1]].state, failed[CELL[-1]].reason) == ("failed", "")
    assert score(platform).success
    assert seen[1][CELL[0]].state == "running"
    assert activities(platform, CELL) == {}


def test_a_study_that_nobody_ran_has_no_activity(small_study, tmp_path):
    assert activities(build_platform(small_study, Home(tmp_path, "small")), CELL) == {}
