"""`mbt checkpoints` over real folders, as a user meets it."""

import json
import os
import subprocess
import sys

import pytest
from folders import write_checkpoint, write_weights
from small import SMALL, run

from jobs.plan import units
from mbt_assets.definitions import build_platform
from partitions.grid import Node
from partitions.study_file import parse_study
from resources.home import Home

WALKER = """
  walker:
    role: student
    source: {kind: path, path: BASE}
    server: {kind: rules, name: rule-teacher}
    modes: [base, metacognitive-prompt, limopro, token-skip]
    external: {limopro: {source: {kind: path, path: LIMO}}}
  rule-teacher:
"""


@pytest.fixture
def place(tmp_path):
    """A study with a registered base and a registered external checkpoint."""
    for name in ("base", "limo"):
        write_checkpoint(tmp_path / name, name)
    text = SMALL.replace("  rule-teacher:\n", WALKER, 1)
    text = text.replace("BASE", str(tmp_path / "base")).replace("LIMO", str(tmp_path / "limo"))
    (tmp_path / "study.yaml").write_text(text)
    platform = build_platform(parse_study(text), Home(tmp_path / "home", "small"))
    nodes = [Node("base_models", "walker__base"), Node("checkpoints", "walker__base")]
    run(platform, units(platform.axes.grid, [*nodes, Node("checkpoints", "walker__limopro")]))
    return tmp_path


def mbt_checkpoints(place, *arguments):
    env = {**os.environ, "MBT_HOME": str(place / "home"), "MBT_STUDY": str(place / "study.yaml")}
    command = [sys.executable, "-m", "mbt_assets.cli.main", "checkpoints", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


def states(place, *arguments):
    shown = mbt_checkpoints(place, "--json", *arguments)
    return {row["variant"]: row["state"] for row in json.loads(shown.stdout)}, shown.returncode


def test_each_variant_is_shown_with_what_there_is_of_it(place):
    found, status = states(place)
    assert status == 0
    assert found == {
        "tiny__base": "missing",
        "tiny__mbt-s": "missing",
        "walker__base": "whole",
        "walker__metacognitive-prompt": "unregistered",
        "walker__limopro": "whole",
        "walker__token-skip": "missing",
        "rule-teacher__base": "missing",
    }
    table = mbt_checkpoints(place).stdout
    assert "walker__limopro" in table and str(place / "limo") in table
    assert "models.walker.external.token-skip.source" in table


def test_replaced_and_damaged_files_are_told(place):
    write_weights(place / "limo" / "model.safetensors", "another")
    assert states(place)[0]["walker__limopro"] == "changed"
    path = place / "limo" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    found, status = states(place)
    assert (found["walker__limopro"], status) == ("broken", 1)
    assert "is damaged" in mbt_checkpoints(place).stdout


def test_verify_sees_bytes_that_rotted_without_a_trace(place):
    path = place / "limo" / "model.safetensors"
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert states(place)[0]["walker__limopro"] == "whole"
    assert states(place, "--verify")[0]["walker__limopro"] == "changed"


def test_prune_removes_old_trainings_and_says_which(place):
    for number in range(1, 6):
        folder = write_checkpoint(place / "home" / "checkpoints" / "tiny" / f"mbt-s-{number:016x}", f"{number}")
        (folder / "provenance.json").write_text("{}")
        os.utime(folder, (number, number))
    shown = mbt_checkpoints(place, "--prune")
    assert shown.returncode == 0, shown.stderr
    assert "2 checkpoints removed" in shown.stderr
    left = [path.name[-1] for path in (place / "home" / "checkpoints" / "tiny").iterdir()]
    assert sorted(left) == ["3", "4", "5"]
