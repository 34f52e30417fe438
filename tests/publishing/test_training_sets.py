"""Training sets as a folder that `datasets` loads, and that a study of ours can take its rows from again."""

import re

import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, get_dataset_config_names, load_dataset
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard
from publishing_study import EVIL, WEIRD, chosen, frame, published, put
from small import run

from jobs.plan import units
from mbt_assets.definitions import build_platform
from mbt_assets.publishing import PublishingError, rows
from mbt_assets.publishing.reading_back import entries_of
from partitions.grid import Grid, Node
from partitions.study_file import parse_study
from resources.home import Home

SETS = ["self-distill", "mbt-s", "mbt-r"]


@pytest.fixture(scope="module")
def given(shared, tmp_path_factory):
    """All training sets in a folder, and what was said of it."""
    target = tmp_path_factory.mktemp("given") / "sets"
    return target, published(shared, target, "training-sets")


def load(folder, *config, split="train", cache):
    return load_dataset(str(folder), *config, split=split, cache_dir=str(cache))


def test_it_loads_as_a_whole_and_by_configuration_with_the_columns_of_the_card(shared, given, tmp_path):
    folder, made = given
    infos = DatasetInfosDict.from_dataset_card_data(DatasetCard.load(folder / "README.md").data)
    features = infos["default"].features
    assert isinstance(features, Features)
    names = [config.name for config in made.configs]
    assert sorted(get_dataset_config_names(str(folder))) == sorted(["default", *names])
    every = load(folder, cache=tmp_path)
    assert every.features == features
    assert every.num_rows == made.rows == sum(config.rows for config in made.configs)
    for config in made.configs:
        part = load(folder, config.name, cache=tmp_path)
        assert part.features == features
        assert part.num_rows == shared.artifacts.lake.stored(config.part.node).rows
        assert part.num_rows == infos[config.name].splits["train"].num_examples
        assert set(part["variant"]) == {config.part.variant} and set(part["dataset"]) == {config.part.dataset}


def test_rows_are_those_of_the_lake_with_question_answer_and_trace(shared, given, tmp_path):
    folder, _ = given
    every = load(folder, cache=tmp_path).to_polars()
    keys = ["dataset", "variant", "question_id", "rollout_id", "trace_id"]
    assert not every.select(keys).is_duplicated().any()
    lake = shared.artifacts.lake
    for dataset in ("trails", WEIRD):
        asked = lake.read(Node("train_questions", dataset)).select("question_id", "sample_id", "question", "answer")
        for mode in SETS:
            mine = lake.read(Node("training_sets", f"{dataset}|pupil__{mode}"))
            theirs = every.filter(dataset=dataset, variant=f"pupil__{mode}")
            assert theirs.select(mine.columns).equals(mine)
            assert theirs.select(asked.columns).equals(mine.join(asked, on="question_id").select(asked.columns))
    assert every["trace"].to_list() == [f"trace of {row} {EVIL}" for row in every["question_id"]]


def test_what_is_published_can_be_trained_on_again(shared, given, tmp_path, monkeypatch):
    folder, made = given
    (tmp_path / "hub" / "us").mkdir(parents=True)
    (tmp_path / "hub" / "us" / "sets").symlink_to(folder)
    monkeypatch.setenv("MBT_HUB_MIRROR", str(tmp_path / "hub"))
    content = shared.study.model_dump(mode="json")
    del content["datasets"][WEIRD]
    content["training_datasets"] = ["trails"]
    entries = entries_of(made, "us/sets")
    content["published"] = {name: entry for name, entry in entries.items() if WEIRD not in name}
    assert set(content["published"]) == {
        "train_rollouts[trails|pupil__base]",
        "synthesized_traces[trails|master__mbt-s]",
        "rewritten_traces[trails|pupil__mbt-r]",
    }
    study = parse_study(yaml.safe_dump(content))
    again = build_platform(study, Home(tmp_path / "home", "again"))
    for questions in (Node("train_questions", "trails"), Node("validation_questions", "trails")):
        put(again, questions, shared.artifacts.lake.read(questions))
    node = Node("training_sets", "trails|pupil__mbt-r")
    reports = run(again, units(Grid(study), [Node("rewritten_traces", node.key), node]))
    assert {report.outcome for report in reports.values()} == {"made"}, reports
    mine, theirs = (platform.artifacts.lake.read(node) for platform in (shared, again))
    assert theirs.select("question_id", "rollout_id", "trace_id", "completion").equals(
        mine.select("question_id", "rollout_id", "trace_id", "completion")
    )


def test_each_entry_of_the_card_can_be_copied_alone(given):
    shown = re.search(r"```yaml\n(published:\n.*?)```", (given[0] / "README.md").read_text(), re.DOTALL)[1]
    entries = entries_of(given[1])
    blocks = [block for block in re.split(r"(?m)^(?=  \S)", shown)[1:] if block.strip()]
    alone = [yaml.safe_load(f"published:\n{block}")["published"] for block in blocks]
    assert len(alone) == 6 and alone == [{name: entry} for name, entry in entries.items()]


def test_large_sets_are_cut_into_files_of_about_the_same_size(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "BATCH", 4)
    one = {"variants": ["pupil__mbt-r"], "datasets": ["trails"]}
    made = published(shared, tmp_path / "cut", "training-sets", shard_bytes=1, **one)
    (config,) = made.configs
    assert config.files == tuple(f"trails--pupil__mbt-r/train-{i:05}-of-00003.parquet" for i in range(3))
    assert [pq.read_metadata(tmp_path / "cut" / file).num_rows for file in config.files] == [4, 4, 4]
    loaded = load(tmp_path / "cut", cache=tmp_path / "cache").to_polars()
    mine = shared.artifacts.lake.read(Node("training_sets", "trails|pupil__mbt-r"))
    assert loaded.select(mine.columns).equals(mine)


def test_the_same_rows_give_the_same_files(shared, given, tmp_path):
    published(shared, tmp_path / "again", "training-sets")
    for file in given[0].glob("*/*.parquet"):
        assert (tmp_path / "again" / file.relative_to(given[0])).read_bytes() == file.read_bytes()


def test_sets_that_are_out_of_date_stop_it_unless_they_may_be_published_with_a_note(platform, tmp_path):
    node = Node("synthesized_traces", "trails|master__mbt-s")
    lake = platform.artifacts.lake
    put(platform, node, lake.read(node).with_columns(trace=pl.col("trace") + "!"))
    with pytest.raises(PublishingError, match=r"1 of the chosen .* up to date: trails\|pupil__mbt-s .*--allow-stale"):
        published(platform, tmp_path / "x", "training-sets")
    assert not (tmp_path / "x").exists()
    published(platform, tmp_path / "fine", "training-sets", variants=["pupil__mbt-r"])
    made = published(platform, tmp_path / "x", "training-sets", allow_stale=True)
    notes = {config.name: config.notes for config in made.configs}
    assert notes["trails--pupil__mbt-s"] == (f"training_sets stale: {node} changed",)
    assert notes["trails--pupil__mbt-r"] == ()
    assert "training\\_sets stale" in (tmp_path / "x" / "README.md").read_text()


def test_a_set_whose_questions_are_gone_is_told(platform, tmp_path):
    node = Node("train_questions", "trails")
    put(platform, node, platform.artifacts.lake.read(node).head(2))
    with pytest.raises(PublishingError, match=r"has rows of questions that are no longer there, 'trails-train-"):
        published(platform, tmp_path / "x", "training-sets", datasets=["trails"], allow_stale=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


def test_what_is_not_there_is_left_out_and_named(platform, tmp_path):
    lake = platform.artifacts.lake
    lake.path(Node("training_sets", "trails|pupil__mbt-s")).unlink()
    made = published(platform, tmp_path / "x", "training-sets")
    assert made.selection.left_out == {"trails|pupil__mbt-s": "never made"}
    assert len(made.configs) == 5
    assert "1 more were chosen but are not there" in (tmp_path / "x" / "README.md").read_text()
    with pytest.raises(PublishingError, match=r"nothing to publish: .* trails\|pupil__mbt-s \(never made\)"):
        published(platform, tmp_path / "y", "training-sets", variants=["pupil__mbt-s"], datasets=["trails"])


def test_names_that_no_training_set_has_are_refused(shared):
    with pytest.raises(PublishingError, match=r"no dataset 'nope' with training sets .* there are: trails, we"):
        chosen(shared, "training-sets", datasets=["nope"])
    with pytest.raises(PublishingError, match=r"no variant 'pupil__base' .* there are: pupil__self-distill, "):
        chosen(shared, "training-sets", variants=["pupil__base"])


def test_an_empty_set_is_one_file_without_rows(platform, tmp_path):
    put(platform, Node("training_sets", "trails|pupil__mbt-s"), frame("training_sets", []))
    made = published(platform, tmp_path / "x", "training-sets", variants=["pupil__mbt-s"], datasets=["trails"])
    assert (made.rows, len(made.configs[0].files)) == (0, 1)
    assert pq.read_schema(tmp_path / "x" / made.configs[0].files[0]).names[-1] == "trace"
