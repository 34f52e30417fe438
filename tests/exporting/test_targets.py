"""Where an export is built and what it may replace."""

import os
import subprocess
import sys

import duckdb
import pytest
import yaml
from processes import kill, until

from mbt_assets.exporting import ExportError, check_target
from mbt_assets.exporting.aside import aside
from resources.home import Home


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home, with its lake elsewhere."""
    monkeypatch.setenv("MBT_LAKE", str(tmp_path / "lakes"))
    return Home(tmp_path / "home", "small")


def database(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    duckdb.connect(str(path)).close()
    return path


def test_only_a_file_of_duckdb_is_replaced(home, tmp_path):
    check_target(database(tmp_path / "last.duckdb"), home, force=True)
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "last.duckdb")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    faults = {
        "thesis.tex": "DuckDB did not write it",
        "empty": "DuckDB did not write it",
        "link": "it is a link",
        "dangling": "it is a link",
        "pipe": "no regular file",
    }
    for name, why in faults.items():
        for force in (True, False):
            with pytest.raises(ExportError, match=f"{name} is there already and is never replaced, since .*{why}"):
                check_target(tmp_path / name, home, force)


def test_nothing_of_the_home_or_the_lake_is_replaced(home, tmp_path):
    for path in (home.root / "other" / "mbt.duckdb", tmp_path / "lakes" / "small" / "aes" / "x.duckdb"):
        with pytest.raises(ExportError, match=r"is never replaced, since it lies in .*: name another file"):
            check_target(database(path), home, force=True)
    with pytest.raises(ExportError, match="is the study's warehouse"):
        check_target(database(home.warehouse), home, force=True)


WAITING = """
import sys, time
from pathlib import Path
from mbt_assets.definitions import build_platform
from mbt_assets.exporting import Choice, export
from partitions.study_file import parse_study
from resources.home import Home

def wait(name, done, total):
    if done == 3:
        print("copying", flush=True)
        time.sleep(600)

root, study, target = sys.argv[1:]
platform = build_platform(parse_study(Path(study).read_text()), Home(Path(root), "small"))
export(Path(target), platform.study, platform.artifacts.lake, platform.home, Choice(), progress=wait)
"""


def test_what_a_killed_export_left_is_taken_away_by_the_next_one_but_not_a_living_ones(made, mark, tmp_path):
    study, target = tmp_path / "small.yaml", tmp_path / "given" / "x.duckdb"
    study.write_text(yaml.safe_dump(made[0].study.model_dump(mode="json"), sort_keys=False))
    target.parent.mkdir()
    others = target.parent / f".other.duckdb.{'0' * 32}.tmp"
    others.mkdir()
    command = [sys.executable, "-c", WAITING, str(made[0].home.root), str(study), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "copying\n"
        (living,) = set(target.parent.iterdir()) - {others}
        with aside(target):
            assert (living / "x.duckdb").exists()
        kill(process.pid)
    assert until(lambda: process.poll() is not None)
    assert (living / "x.duckdb").exists()
    with aside(target) as folder:
        assert set(target.parent.iterdir()) == {folder, others}
    assert list(target.parent.iterdir()) == [others]
