"""Where a folder may be written, and what faults, kills and other publishers leave of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from limited import LIMITED
from processes import kill, until
from publishing_study import published
from typer.testing import CliRunner

from mbt_assets.cli.main import app
from mbt_assets.publishing import PublishingError, folders, writing
from mbt_assets.publishing.folders import files_of, put_in_place, read_manifest
from partitions.grid import Node
from resources.lake import LakeError

ONE = {"variants": ["pupil__mbt-s"], "datasets": ["trails"]}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_only_a_folder_of_ours_is_replaced_and_only_when_asked(shared, tmp_path):
    target = tmp_path / "sets"
    published(shared, target, "training-sets")
    with pytest.raises(PublishingError, match="is there already: name another folder, or give --force"):
        published(shared, target, "training-sets", **ONE)
    published(shared, target, "training-sets", force=True, **ONE)
    assert files_of(target) == ["README.md", "trails--pupil__mbt-s/train-00000-of-00001.parquet"]
    assert names(tmp_path) == ["sets"]


def test_what_somebody_else_put_there_stays(shared, tmp_path):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "main.tex").write_text("years of work")
    with pytest.raises(PublishingError, match="never replaced, since mbt publish did not write it"):
        published(shared, thesis, "training-sets", force=True, **ONE)
    target = tmp_path / "sets"
    published(shared, target, "training-sets", **ONE)
    (target / ".git").mkdir()
    (target / ".git" / "HEAD").write_text("ref")
    with pytest.raises(PublishingError, match=r"it holds .git/HEAD, which mbt publish did not write"):
        published(shared, target, "training-sets", force=True, **ONE)
    (target / ".git" / "HEAD").unlink()
    card = target / "README.md"
    card.write_text(card.read_text().replace("Training", "training"))
    with pytest.raises(PublishingError, match=r"its README.md was changed since it was written"):
        published(shared, target, "training-sets", force=True, **ONE)


def test_places_that_cannot_be_are_refused(shared, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name, why in {"file": "no folder", "link": "no folder", "none/sets": "there is no folder"}.items():
        with pytest.raises(PublishingError, match=why):
            published(shared, tmp_path / name, "training-sets", force=True, **ONE)
    with pytest.raises(PublishingError, match="where studies keep their own files"):
        published(shared, shared.home.folder / "sets", "training-sets", **ONE)
    (tmp_path / "empty").mkdir()
    published(shared, tmp_path / "empty", "training-sets", **ONE)
    assert read_manifest(tmp_path / "empty")["kind"] == "training-sets"


def test_a_file_system_that_cannot_swap_two_names_is_served_too(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    published(shared, tmp_path / "sets", "training-sets")
    published(shared, tmp_path / "sets", "training-sets", force=True, **ONE)
    assert len(files_of(tmp_path / "sets")) == 2 and names(tmp_path) == ["sets"]


def test_two_names_are_swapped_at_once(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    put_in_place(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path / "old") == ["new"]


def test_of_two_publishers_at_once_one_wins_and_the_folder_is_whole(shared, tmp_path):
    target, outcomes = tmp_path / "sets", []
    both_read = threading.Barrier(2)

    def work():
        def wait(name, done, total):
            if name == "card":
                both_read.wait(60)

        try:
            published(shared, target, "training-sets", progress=wait)
            outcomes.append("written")
        except PublishingError as error:
            outcomes.append(str(error))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert outcomes.count("written") == 1 and any("sets" in said for said in outcomes if said != "written")
    manifest = read_manifest(target)
    assert sorted(manifest["files"]) == files_of(target)
    assert all(folders.described(target / name) == listed for name, listed in manifest["files"].items() if listed)
    assert [name for name, listed in manifest["files"].items() if not listed] == ["README.md"]
    assert names(tmp_path) == ["sets"]


def test_a_damaged_partition_leaves_nothing(platform, tmp_path):
    path = platform.artifacts.lake.path(Node("training_sets", "trails|pupil__mbt-s"))
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(200) + content[300:])
    (tmp_path / "given").mkdir()
    with pytest.raises(LakeError, match=r"training_sets\[trails\|pupil__mbt-s\]"):
        published(platform, tmp_path / "given" / "x", "training-sets", **ONE)
    assert names(tmp_path / "given") == []


@pytest.fixture
def study(shared, tmp_path):
    """The file of the shared study."""
    file = tmp_path / "by_hand.yaml"
    file.write_text(yaml.safe_dump(shared.study.model_dump(mode="json"), sort_keys=False))
    return file


def test_the_command_says_what_is_in_the_folder_and_what_is_not(shared, study, tmp_path, monkeypatch):
    monkeypatch.setenv("MBT_HOME", str(shared.home.root))
    monkeypatch.setenv("MBT_STUDY", str(study))
    before = signal.getsignal(signal.SIGTERM)
    options = ["--to", str(tmp_path / "rows"), "--dataset", "trails", "--json"]
    result = CliRunner().invoke(app, ["publish", "rollouts", *options])
    signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 0, result.output
    assert "rows: 1 configurations, 8 rows, " in result.stderr
    assert "left out: trails|pupil__mbt-s (never made)" in result.stderr
    told = json.loads(result.stdout)
    assert (told["rows"], told["kind"], told["configurations"][0]["rows"]) == (8, "rollouts", 8)
    assert (tmp_path / "rows" / told["configurations"][0]["files"][0]).is_file()


@pytest.mark.parametrize(
    ("interrupted", "said"),
    [((writing, "put_in_place"), "nothing was changed"), ((shutil, "rmtree"), "rows is there already, and whole")],
)
def test_an_interrupt_is_told_with_what_it_left(shared, study, tmp_path, monkeypatch, interrupted, said):
    def interrupt(*_, **__):
        monkeypatch.undo()
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    variables = {"MBT_HOME": str(shared.home.root), "MBT_STUDY": str(study)}
    monkeypatch.setattr(*interrupted, interrupt)
    options = ["--to", str(tmp_path / "rows"), "--dataset", "trails", "--variant", "pupil__mbt-s"]
    result = CliRunner().invoke(app, ["publish", "training-sets", *options], env=variables)
    signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 130 and said in " ".join(result.stderr.replace("│", " ").split()), result.output
    assert (read_manifest(tmp_path / "rows") is not None) == ("already" in said)


def test_an_interrupt_between_two_renames_brings_the_old_folder_back(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_exchanged", lambda *_: False)
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    rename = Path.rename

    def interrupted(self, target):
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path / "old") == ["old"] and names(tmp_path) == ["new", "old"]


def test_a_card_of_another_word_and_the_same_size_is_kept(shared, tmp_path):
    published(shared, tmp_path / "rows", "training-sets", **ONE)
    card = tmp_path / "rows" / "README.md"
    assert read_manifest(tmp_path / "rows")["files"]["README.md"] == {}
    card.write_text(card.read_text().replace("Caveats", "caveats"))
    with pytest.raises(PublishingError, match=r"its README.md was changed"):
        published(shared, tmp_path / "rows", "training-sets", force=True, **ONE)


def test_a_full_disk_is_one_clear_error_and_leaves_what_was_there(shared, study, tmp_path):
    (tmp_path / "given").mkdir()
    target = tmp_path / "given" / "sets"
    published(shared, target, "training-sets", **ONE)
    before = {name: (target / name).read_bytes() for name in files_of(target)}
    environment = {**os.environ, "MBT_HOME": str(shared.home.root), "MBT_STUDY": str(study)}
    # Files may grow to 2 kB: smaller than the rows.
    command = [sys.executable, "-c", LIMITED, "2000", "publish", "training-sets", "--to", str(target), "--force"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 2 and f"cannot write {target}" in result.stderr and "Traceback" not in result.stderr
    assert names(target.parent) == ["sets"]
    assert {name: (target / name).read_bytes() for name in files_of(target)} == before


WAITING = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from publishing_study import published
from typer.testing import CliRunner
from mbt_assets.definitions import build_platform
from partitions.study_file import parse_study
from resources.home import Home

def wait(name, done, total):
    if done == 2:
        print("writing", flush=True)
        time.sleep(600)

root, study, target = sys.argv[1:4]
platform = build_platform(parse_study(Path(study).read_text()), Home(Path(root), "by_hand"))
published(platform, Path(target), "training-sets", force=True, progress=wait)
"""


def test_what_a_killed_publisher_left_is_taken_away_by_the_next_one(shared, study, mark, tmp_path):
    target = tmp_path / "given" / "sets"
    target.parent.mkdir()
    published(shared, target, "training-sets", **ONE)
    before = read_manifest(target)
    command = [sys.executable, "-c", WAITING, str(shared.home.root), str(study), str(target), *sys.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        assert len(names(target.parent)) == 2
        kill(process.pid)
    assert until(lambda: process.poll() == -signal.SIGKILL)
    assert read_manifest(target) == before and len(names(target.parent)) == 2
    published(shared, target, "training-sets", force=True, **ONE)
    assert names(target.parent) == ["sets"]
