"""`--force`: nothing of an earlier run is used again, neither replies nor checkpoints."""

from pathlib import Path

import dagster as dg
import orjson
import pytest
from folders import write_checkpoint
from small import run

from jobs.plan import units
from jobs.runner import make
from mbt_assets.cli.instance import open_instance, ready_home
from mbt_assets.definitions import build_platform
from mbt_assets.stage import FORCE_TAG
from partitions.grid import Node
from resources.checkpoints import made_once
from resources.home import Home

CELL = "wide|rule-teacher__base"


@pytest.fixture(scope="module")
def platform(small_study, tmp_path_factory):
    """The small study, with a home of its own."""
    return build_platform(small_study, Home(tmp_path_factory.mktemp("home"), "small"))


def requests(platform, asset):
    """Requests sent and replies reused by the latest run of an asset."""
    with open_instance(platform.home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    shown = event.asset_materialization.metadata
    return shown["requests_sent"].value, shown["replies_reused"].value


def test_force_sends_every_request_again_where_a_plain_rerun_sends_none(platform):
    grid, lake = platform.axes.grid, platform.artifacts.lake
    parents = ("validation_questions[wide]", "base_models[rule-teacher__base]", "checkpoints[rule-teacher__base]")
    rows, judged = Node("validation_rollouts", CELL), Node("judge_verdicts", CELL)
    planned = units(grid, {node for node in grid.nodes if str(node) in parents} | {rows, judged})
    run(platform, planned)
    assert requests(platform, "validation_rollouts") == (8, 0)
    first = lake.read(rows)

    for node in (rows, judged):
        lake.path(node).unlink()
    run(platform, planned)
    assert requests(platform, "validation_rollouts") == (0, 8)
    assert requests(platform, "judge_verdicts") == (0, 8)

    reports = run(platform, planned, force=True)
    assert {report.outcome for report in reports.values()} == {"made"}
    assert requests(platform, "validation_rollouts") == (8, 0)
    assert requests(platform, "judge_verdicts") == (8, 0)
    timing = [name for name in first.columns if name.endswith("_ms")]
    assert lake.read(rows).drop(timing).equals(first.drop(timing)), "the same seeds give the same replies"


class CountedCompute:
    """Makes checkpoints of a few bytes, and counts them."""

    runs = 0

    def run(self, context, payload, spec, **options):
        type(self).runs += 1
        folder = Path(spec["out_dir"])
        write_checkpoint(folder, f"made the {self.runs}. time")
        (folder / "result.json").write_bytes(orjson.dumps({"steps": 1, "seconds": 0.1}))
        return {}


def counted(study, home):
    return build_platform(study, home, compute=CountedCompute())


def test_force_makes_a_checkpoint_anew_where_a_plain_rerun_finds_it(small_study, tmp_path):
    home = Home(tmp_path, "small")
    ready_home(home)

    def made(**tags):
        node = Node("base_models", "tiny__base")
        assert make(counted, small_study.model_dump_json(), home, (node,), tags).success
        return counted(small_study, home).artifacts.lake.read(node)["digest"][0]

    first = made()
    assert (made(), CountedCompute.runs) == (first, 1)
    assert made(**{FORCE_TAG: "true"}) != first
    assert CountedCompute.runs == 2
    folders = [path for path in (tmp_path / "checkpoints" / "tiny").iterdir() if path.is_dir()]
    assert len(folders) == 1, "neither the old one nor beginnings are left"


def test_a_forced_checkpoint_that_fails_leaves_the_old_one(tmp_path):
    folder = tmp_path / "base-1"
    folder.mkdir()
    (folder / "model.safetensors").write_text("old")
    beginnings = tmp_path / "base-1.partial"
    beginnings.mkdir()

    def fails(working):
        assert not working.exists(), "a forced run starts from nothing"
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        made_once(folder, fails, force=True)
    assert (folder / "model.safetensors").read_text() == "old"
