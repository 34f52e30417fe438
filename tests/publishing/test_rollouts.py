"""Scored rollouts: one row per rollout, every score joined to it by key, and nothing that should not be shown."""

from dataclasses import replace

import polars as pl
import pytest
from datasets import load_dataset
from publishing_study import CELL, KEY, WEIRD, published, put

from mbt_assets.publishing import PublishingError
from partitions.grid import SCORES, Node
from resources.tables import JUDGED_TABLES


@pytest.fixture(scope="module")
def given(shared, tmp_path_factory):
    target = tmp_path_factory.mktemp("given") / "rollouts"
    return target, published(shared, target, "rollouts")


def rows_of(folder, cache, *config):
    return load_dataset(str(folder), *config, split="validation", cache_dir=str(cache)).to_polars()


def touch(platform, node, **columns):
    """Write a partition again with other values in some columns, and what it says it was made of."""
    lake = platform.artifacts.lake
    lake.write(node, lake.read(node).with_columns(**columns), lake.stored(node).provenance)


def test_there_is_one_row_per_rollout_with_the_scores_of_its_key(shared, given, tmp_path):
    folder, made = given
    every = rows_of(folder, tmp_path)
    lake = shared.artifacts.lake
    assert every.height == made.rows == 16
    assert not every.select("dataset", "variant", "question_id", "rollout_id").is_duplicated().any()
    keys = ["question_id", "rollout_id"]
    for dataset in ("trails", WEIRD):
        mine = every.filter(dataset=dataset)
        rollouts = lake.read(Node("validation_rollouts", f"{dataset}|pupil__base"))
        assert mine.select(keys).equals(rollouts.select(keys))
        assert mine["response"].equals(rollouts["response"])
        scores = lake.read(Node("answer_scores", f"{dataset}|pupil__base"))
        expected = rollouts.select(keys).join(scores, on=keys, maintain_order="left")["predicted_answer"]
        assert mine["predicted_answer"].equals(expected)
        assert mine["predicted_answer"].to_list() == [str(i) for i in range(8)]
        asked = lake.read(Node("validation_questions", dataset)).select("question_id", "question", "answer", "tier")
        assert mine.select(asked.columns).equals(mine.select("question_id").join(asked, on="question_id"))


def test_every_judge_has_an_entry_in_the_study_s_order(given, tmp_path):
    every = rows_of(given[0], tmp_path, "trails--pupil__base")
    for table in JUDGED_TABLES:
        assert every[table].list.len().to_list() == [2] * 8
        assert [[entry["judge"] for entry in row] for row in every[table]] == [["zoe", "ann"]] * 8
        assert [row[1]["reply"] for row in every[table]] == [f"ann says {i}" for i in range(8)]


def test_documents_come_where_they_are_asked_for(shared, given, tmp_path):
    assert "documents" not in rows_of(given[0], tmp_path, "trails--pupil__base").columns
    published(shared, tmp_path / "x", "rollouts", datasets=["trails"], documents=True)
    every = rows_of(tmp_path / "x", tmp_path)
    asked = shared.artifacts.lake.read(Node("validation_questions", "trails"))
    joined = every.select("question_id").join(asked, on="question_id")
    assert every["documents"].to_list() == joined["documents"].to_list()


def test_cells_that_were_never_made_are_named_and_left_out(given):
    left_out = given[1].selection.left_out
    assert set(left_out) == {
        f"{dataset}|{slug}"
        for dataset in ("trails", WEIRD)
        for slug in ("pupil__self-distill", "pupil__mbt-s", "pupil__mbt-r")
    }
    assert set(left_out.values()) == {"never made"}


def test_scores_that_are_missing_or_of_other_rollouts_stop_it(platform, tmp_path):
    platform.artifacts.lake.path(Node("mqi_scores", CELL)).unlink()
    with pytest.raises(PublishingError, match=r"trails\|pupil__base \(mqi_scores missing: never made\)"):
        published(platform, tmp_path / "x", "rollouts")
    rollouts = Node("validation_rollouts", f"{WEIRD}|pupil__base")
    put(platform, rollouts, platform.artifacts.lake.read(rollouts).with_columns(response=pl.lit("another")))
    with pytest.raises(PublishingError, match="2 of the chosen partitions are not up to date"):
        published(platform, tmp_path / "x", "rollouts")


def test_with_leave_they_are_left_out_of_their_rows_and_the_card_says_so(platform, tmp_path):
    platform.artifacts.lake.path(Node("mqi_scores", CELL)).unlink()
    rollouts = Node("validation_rollouts", f"{WEIRD}|pupil__base")
    put(platform, rollouts, platform.artifacts.lake.read(rollouts).with_columns(response=pl.lit("another")))
    made = published(platform, tmp_path / "x", "rollouts", allow_stale=True)
    every = rows_of(tmp_path / "x", tmp_path)
    trails, other = every.filter(dataset="trails"), every.filter(dataset=WEIRD)
    assert trails["mqi_scores"].null_count() == 8 and trails["rrp_scores"].null_count() == 0
    assert all(other[name].null_count() == 8 for name in (*JUDGED_TABLES, "f1", "predicted_answer"))
    assert made.configs[0].notes == ("mqi_scores missing: never made",)
    assert {f"{table} left out: it is of other rollouts than these" for table in SCORES} <= set(made.configs[1].notes)
    card = (tmp_path / "x" / "README.md").read_text()
    assert "Some configurations were not up to date" in card and "mqi\\_scores missing: never made" in card


def test_what_changes_while_it_is_read_is_told(platform, tmp_path):
    rollouts = Node("validation_rollouts", CELL)

    def meanwhile(name, done, total):
        if name == str(rollouts):
            touch(platform, rollouts, response=pl.lit("another"))

    with pytest.raises(PublishingError, match=r"changed while it was being read: answer_scores is of other rollouts"):
        published(platform, tmp_path / "x", "rollouts", progress=meanwhile)
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


def test_scores_of_no_rollout_are_told(platform, tmp_path):
    touch(platform, Node("judge_verdicts", CELL), rollout_id=pl.col("rollout_id") + 1)
    with pytest.raises(PublishingError, match=r"judge_verdicts\[trails\|pupil__base\] has 4 keys that none of its"):
        published(platform, tmp_path / "x", "rollouts", allow_stale=True)


def test_nothing_that_looks_like_a_secret_or_names_a_folder_of_this_machine_is_in_it(platform, tmp_path):
    lake, node = platform.artifacts.lake, Node("base_models", "pupil__base")
    stored = lake.stored(node)
    secret = {**stored.provenance.recipe, "path": "/srv/somebody/weights", "api_key": KEY}
    lake.write(node, lake.read(node), replace(stored.provenance, recipe=secret))
    for kind in ("training-sets", "rollouts"):
        published(platform, tmp_path / kind, kind, allow_stale=True)
        for path in (tmp_path / kind).rglob("*"):
            if path.is_file():
                assert KEY.encode() not in path.read_bytes(), path
                assert str(tmp_path).encode() not in path.read_bytes(), path
                assert b"/srv/somebody" not in path.read_bytes(), path
    every = rows_of(tmp_path / "rollouts", tmp_path / "cache", "trails--pupil__base")
    assert KEY in lake.read(Node("validation_rollouts", CELL))["error"][0]
    assert every["error"][0] == "401 for http://x/v1?api_key=***"
