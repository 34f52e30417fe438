"""A branch on the Hub moves: the base model is resolved again, and what was scored from it is scored again."""

import pytest
from hub_server import HubServer
from small import SMALL, run
from ticks import Daemon

from jobs import standings
from jobs.plan import CELL_ASSETS, units
from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from partitions.grid import Grid, Node
from partitions.study_file import parse_study
from resources.home import Home

REPO = "someone/walker"
WALKER = """
  walker:
    role: student
    source: {kind: hub, repo: someone/walker, revision: REVISION}
    server: {kind: rules, name: rule-teacher}
    modes: [base]
  rule-teacher:
"""
KEYS = ["trails|walker__base", "wide|walker__base"]


@pytest.fixture
def hub(monkeypatch):
    """A Hub with the model; this process and those that it starts ask it."""
    with HubServer() as hub:
        hub.add("model", REPO, {"config.json": b"{}"})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def scored(hub, tmp_path):
    """The model's cells, scored once; gives a daemon over them for a revision."""

    def at(revision):
        text = SMALL.replace("  rule-teacher:\n", WALKER.replace("REVISION", revision), 1).replace(
            "limit: 12", "limit: 2"
        )
        study = parse_study(text.replace("limit: 8", "limit: 2") + "limits: {rescore_pause_s: 0}\n")
        platform = build_platform(study, Home(tmp_path / "home", "small"))
        grid = Grid(study)
        wanted = {Node("base_models", "walker__base"), Node("checkpoints", "walker__base")}
        wanted |= {Node("validation_questions", dataset) for dataset in grid.datasets}
        wanted |= {Node(asset, key) for asset in CELL_ASSETS for key in KEYS}
        reports = run(platform, units(grid, wanted))
        assert {r.outcome for r in reports.values()} == {"made"}, [r.why for r in reports.values()]
        return platform

    return at


def test_a_moved_branch_is_seen_and_its_cells_are_scored_again(hub, scored, monkeypatch):
    platform = scored("main")
    first = platform.artifacts.lake.values(Node("base_models", "walker__base"), "revision")
    with open_instance(platform.home) as instance:
        daemon = Daemon(platform, instance)
        assert daemon.work() == []
        commit = hub.move(REPO)
        assert daemon.work() == [], "the Hub is not asked at every tick"
        monkeypatch.setattr(standings, "HUB_EVERY_S", 0.0)
        assert daemon.work() == [
            ("register_base", "walker__base", 1),
            ("register_checkpoint", "walker__base", 1),
            *(("score_cell", key, 1) for key in KEYS),
        ]
    assert platform.artifacts.lake.values(Node("base_models", "walker__base"), "revision") == {commit} != first
    uris = platform.artifacts.lake.values(Node("checkpoints", "walker__base"), "uri")
    assert uris == {f"hub://{REPO}@{commit}"}


def test_a_hub_that_does_not_answer_is_told_and_asks_for_nothing(hub, scored, monkeypatch):
    platform = scored("main")
    monkeypatch.setattr(standings, "HUB_EVERY_S", 0.0)
    with open_instance(platform.home) as instance:
        daemon = Daemon(platform, instance)
        hub.fail("/api/models/", 503, times=50)
        assert daemon.work() == []
        assert f"the Hub did not say what {REPO} is" in daemon.messages[-1]


def test_without_a_network_the_others_are_looked_at_all_the_same(hub, scored, monkeypatch):
    platform = scored("main")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with open_instance(platform.home) as instance:
        daemon = Daemon(platform, instance)
        assert daemon.work() == []
        (said,) = daemon.messages
    assert said.startswith("0 checkpoints changed, 0 cells requested, 0 waiting, walker__base cannot be looked at")
    assert "ConnectError" in said


def test_a_pinned_commit_needs_no_hub(hub, scored):
    platform = scored(hub.add("model", REPO, {"config.json": b"{}"}))
    hub.move(REPO)
    hub.requests.clear()
    with open_instance(platform.home) as instance:
        assert Daemon(platform, instance).work() == []
    assert hub.requests == []
