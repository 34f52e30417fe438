"""Trained checkpoints that go, and those that stay whatever their age."""

import os

import polars as pl
import pytest
from folders import write_adapter, write_checkpoint

from mbt_assets.retention import prune, references, trained_folders
from partitions.grid import Node
from resources.checkpoints import digest_folder
from resources.home import Home
from resources.lake import Lake, Provenance
from resources.tables import TABLES

MADE = Provenance("", {}, {})


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path, "study")


def trained(home, number, mode="mbt-s", model="tiny"):
    """The checkpoint of a training; the higher its number, the later."""
    folder = write_checkpoint(home.checkpoints / model / f"{mode}-{number:016x}", f"{mode} {number}")
    (folder / "provenance.json").write_text("{}")
    os.utime(folder, (number, number))
    return folder


def row_of(table, **values):
    """One row of a lake table, everything else as empty as the schema lets it be."""
    filler = {pl.String: "x", pl.Float64: 0.0, pl.Boolean: False, pl.Int64: 1}
    schema = {name: column.dtype for name, column in TABLES[table].columns().items()}
    row = {name: values.get(name, filler.get(type(dtype), filler.get(dtype, []))) for name, dtype in schema.items()}
    return pl.DataFrame([row], schema=schema)


def left(home, mode="mbt-s"):
    return [int(folder.name.rpartition("-")[2], 16) for folder in trained_folders(home, "tiny", mode)]


def test_the_last_ones_stay_and_older_ones_go(home):
    folders = [trained(home, number) for number in range(1, 6)]
    assert prune(home, "tiny", "mbt-s", keep=2, newest=folders[-1]) == [folders[2], folders[1], folders[0]]
    assert left(home) == [5, 4]


def test_the_newest_stays_even_if_an_old_training_was_taken_up_again(home):
    folders = [trained(home, number) for number in range(1, 4)]
    prune(home, "tiny", "mbt-s", keep=1, newest=folders[0])
    assert left(home) == [3, 1]


@pytest.mark.parametrize("table", ["answer_scores", "validation_rollouts", "mqi_scores"])
def test_one_that_scores_refer_to_stays(home, table):
    folders = [trained(home, number) for number in range(1, 5)]
    row = row_of(table, checkpoint_digest=digest_folder(folders[1]), tier="easy", status="scored")
    Lake(home.lake).write(Node(table, "d|tiny__mbt-s"), row, MADE)
    prune(home, "tiny", "mbt-s", keep=1, newest=folders[-1])
    assert left(home) == [4, 2]


def test_one_that_another_study_of_this_home_scored_stays(home):
    folders = [trained(home, number) for number in range(1, 4)]
    other = Lake(Home(home.root, "other").lake)
    row = row_of("answer_scores", checkpoint_digest=digest_folder(folders[0]))
    other.write(Node("answer_scores", "d|tiny__mbt-s"), row, MADE)
    prune(home, "tiny", "mbt-s", keep=1, newest=folders[-1])
    assert left(home) == [3, 1]


def test_with_lakes_elsewhere_those_of_other_studies_count_too(home, tmp_path, monkeypatch):
    monkeypatch.setenv("MBT_LAKE", str(tmp_path / "lakes"))
    folder = trained(home, 1)
    other = Lake(Home(home.root, "other").lake)
    other.write(Node("answer_scores", "d|v"), row_of("answer_scores", checkpoint_digest=digest_folder(folder)), MADE)
    assert digest_folder(folder) in references(home)


def test_one_that_is_registered_or_that_another_was_trained_from_stays(home):
    folders = [trained(home, number) for number in range(1, 5)]
    lake = Lake(home.lake)
    registered = row_of("checkpoints", variant="tiny__mbt-s", uri=str(folders[0]), digest="d", parent_digest=None)
    lake.write(Node("checkpoints", "tiny__mbt-s"), registered, MADE)
    child = row_of("grpo_checkpoints", variant="tiny__mbt-s-grpo", parent_digest=digest_folder(folders[1]))
    lake.write(Node("grpo_checkpoints", "tiny__mbt-s-grpo"), child, MADE)
    prune(home, "tiny", "mbt-s", keep=1, newest=folders[-1])
    assert left(home) == [4, 2, 1]


def test_the_base_of_an_adapter_stays(home):
    folders = [trained(home, number) for number in range(1, 4)]
    write_adapter(home.checkpoints / "tiny" / "mbt-s-grpo-0000000000000001", folders[0])
    prune(home, "tiny", "mbt-s", keep=1, newest=folders[-1])
    assert left(home) == [3, 1]


def test_other_modes_beginnings_and_what_was_not_trained_here_are_left_alone(home):
    grpo = trained(home, 1, "mbt-s-grpo")
    base = write_checkpoint(home.checkpoints / "tiny" / "base-0000000000000001")
    partial = trained(home, 2).rename(home.checkpoints / "tiny" / "mbt-s-0000000000000002.partial")
    newest = trained(home, 9)
    assert prune(home, "tiny", "mbt-s", keep=1, newest=newest) == []
    assert grpo.is_dir() and base.is_dir() and partial.is_dir()
    assert left(home, "mbt-s-grpo") == [1]
