"""The teacher's rollouts of some questions, and their scores by a judge that never errs."""

import shutil

import pytest
from judge_server import JudgeServer
from judged_cell import STUDY, Cell, judged_by

from jobs.plan import CELL_ASSETS
from mbt_assets.definitions import build_platform
from partitions.study_file import parse_study
from resources.home import Home


@pytest.fixture(scope="session")
def judge_study():
    return parse_study(STUDY)


@pytest.fixture(scope="session")
def clean(judge_study, tmp_path_factory):
    """The whole cell, judged by a server that never errs."""
    server = JudgeServer().start()
    home = Home(tmp_path_factory.mktemp("judged"), "small")
    cell = Cell(build_platform(judged_by(judge_study, {"good": server}), home))
    assert cell.make("validation_questions", key="trails").success
    assert cell.make("base_models", key="rule-teacher__base").success
    assert cell.make("checkpoints", key="rule-teacher__base").success
    assert cell.make(*CELL_ASSETS).success
    server.stop()
    return cell


@pytest.fixture
def cell(clean, judge_study, tmp_path):
    """Makes a cell with the clean cell's rollouts, and other judges."""
    # The engine would take the clean replies: that a server has moved does not make it another judge.
    shutil.copytree(clean.platform.home.root, tmp_path / "home", ignore=shutil.ignore_patterns("engine"))

    def make(servers, **settings):
        return Cell(build_platform(judged_by(judge_study, servers, **settings), Home(tmp_path / "home", "small")))

    return make


@pytest.fixture
def serve():
    """Starts judges' servers, and stops them."""
    started = []

    def start(spoil=lambda body, reply: reply):
        started.append(JudgeServer(spoil).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()
