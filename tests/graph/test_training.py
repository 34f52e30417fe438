"""Training in real Dagster runs: a student that is hardly taught, SFT, LoRA and GRPO of a few steps each."""

import shutil
from pathlib import Path

import dagster as dg
import orjson
import pytest
from safetensors.numpy import load_file
from small_training import TRAINING, make, row_of, study_of

from mbt_assets.cli.instance import open_instance
from mbt_assets.definitions import build_platform
from mbt_assets.staleness import assess
from partitions.grid import Node
from resources.checkpoints import digest_folder
from resources.home import Home

pytest.importorskip("torch", reason="the payloads need the train extra")


def folder_of(platform, slug):
    return Path(row_of(platform, "checkpoints", slug)["uri"])


def test_a_checkpoint_says_what_it_was_made_of(trained):
    folder = folder_of(trained, "tiny__mbt-s")
    note = orjson.loads((folder / "provenance.json").read_bytes())
    base, row = row_of(trained, "base_models", "tiny__base"), row_of(trained, "sft_checkpoints", "tiny__mbt-s")
    assert note["base"]["uri"] == base["uri"]
    assert note["base"]["digest"] == base["digest"] == row["parent_digest"]
    assert note["training_set"]["digest"] == row["training_set_digest"]
    assert note["training_set"]["rows"] == 12
    stored = trained.artifacts.lake.stored(Node("training_sets", "trails|tiny__mbt-s"))
    assert note["training_set"]["partitions"] == {"training_sets[trails|tiny__mbt-s]": stored.data_version}
    assert note["settings"]["trl"]["max_steps"] == 3
    assert note["seed"] == 42
    assert set(note["versions"]) >= {"mbt-assets", "python", "torch", "transformers", "trl", "peft", "accelerate"}
    assert note["git_commit"] is None or len(note["git_commit"].removesuffix("-dirty")) == 40
    assert note["digest"] == digest_folder(folder) == row["digest"]
    assert note["variant"] == "tiny__mbt-s" and note["run_id"] and note["created_at"]


def test_weights_and_tokenizer_stay_and_optimizer_states_do_not(trained):
    names = {path.name for path in folder_of(trained, "tiny__mbt-s").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "result.json", "curve.png"} <= names
    left = {
        path.name for path in trained.home.checkpoints.rglob("*") if "optimizer" in path.name or path.suffix == ".pt"
    }
    assert left == set()
    beside = {path.name for path in folder_of(trained, "tiny__mbt-s").parent.glob("*.parquet")}
    assert beside == set(), "the training rows are in the lake"


def test_the_curve_is_in_the_lake_and_in_the_ui(trained):
    row = row_of(trained, "sft_checkpoints", "tiny__mbt-s")
    assert [point["step"] for point in row["curve"]] == [1, 2, 3]
    assert all(point["loss"] > 0 and point["tokens_per_second"] > 0 for point in row["curve"])
    assert row["final_loss"] == row["curve"][-1]["loss"]
    assert (row["rows"], row["rows_too_long"], row["steps"]) == (12, 0, 3)
    with open_instance(trained.home) as instance:
        event = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("sft_checkpoints"), asset_partitions=["tiny__mbt-s"]), limit=1
        ).records[0]
        said = [entry.user_message for entry in instance.all_logs(event.run_id)]
    shown = event.asset_materialization.metadata
    assert shown["curve"].value.startswith("![loss over steps](data:image/png;base64,iVBOR")
    assert shown["final_loss"].value == row["final_loss"]
    assert any("step 2/3 loss" in line and "tokens/s" in line for line in said)


def test_an_adapter_that_is_served_stays_one_and_its_digest_covers_its_base(trained):
    folder, row = folder_of(trained, "tiny__direct-r"), row_of(trained, "checkpoints", "tiny__direct-r")
    config = orjson.loads((folder / "adapter_config.json").read_bytes())
    base = row_of(trained, "base_models", "tiny__base")
    assert config["base_model_name_or_path"] == base["uri"]
    assert not (folder / "model.safetensors").exists()
    assert row["digest"] == digest_folder(folder)
    assert all("lora" in name for name in load_file(folder / "adapter_model.safetensors"))


def test_an_adapter_answers_over_http_as_its_model_does(trained):
    used = trained.artifacts.lake.values(Node("validation_rollouts", "wide|tiny__direct-r"), "checkpoint_digest")
    assert used == {row_of(trained, "checkpoints", "tiny__direct-r")["digest"]}


def test_grpo_starts_from_the_sft_checkpoint_and_logs_each_reward(trained):
    row = row_of(trained, "grpo_checkpoints", "tiny__mbt-s-grpo")
    assert row["parent_digest"] == row_of(trained, "sft_checkpoints", "tiny__mbt-s")["digest"]
    (point,) = row["curve"]
    assert (point["step"], row["rows"]) == (1, 4)
    assert None not in (point["reward"], point["reward_exact_match"], point["reward_well_formed"])


def test_the_same_training_is_not_done_twice_and_another_replaces_the_last(trained):
    before = folder_of(trained, "tiny__mbt-s")
    node = Node("checkpoints", "tiny__mbt-s")
    path = trained.artifacts.lake.path(Node("sft_checkpoints", "tiny__mbt-s"))
    path.unlink()
    assert make(trained, node)["sft_checkpoints[tiny__mbt-s]"].outcome == "made"
    assert folder_of(trained, "tiny__mbt-s") == before
    longer = build_platform(study_of(TRAINING.replace("max_steps: 3,", "max_steps: 4,")), trained.home)
    standing = assess(longer.axes.grid, longer.artifacts)[Node("sft_checkpoints", "tiny__mbt-s")]
    assert (standing.state, standing.reason) == ("stale", "trl changed")
    # What is wrong in the lake of another study must not cost this training.
    damaged = Home(trained.home.root, "other").folder / "lake" / "answer_scores" / "x" / "rows.parquet"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("no parquet")
    assert make(longer, node)["sft_checkpoints[tiny__mbt-s]"].outcome == "made"
    shutil.rmtree(damaged.parent.parent)
    assert folder_of(longer, "tiny__mbt-s") != before
    assert before.is_dir(), "GRPO started from it"
    make(trained, node)
    assert folder_of(trained, "tiny__mbt-s") == before


def test_training_from_a_base_that_was_changed_by_hand_is_refused(trained):
    base = row_of(trained, "base_models", "tiny__base")["uri"]
    file = Path(base) / "generation_config.json"
    was = file.read_bytes()
    try:
        file.write_bytes(was + b"\n")
        trained.artifacts.lake.path(Node("sft_checkpoints", "tiny__mbt-s")).unlink()
        why = make(trained, Node("sft_checkpoints", "tiny__mbt-s"))["sft_checkpoints[tiny__mbt-s]"].why
        assert f"the files of {base} have changed since base_models[tiny__base] registered them" in why
    finally:
        file.write_bytes(was)


def test_questions_of_a_validation_split_are_not_practised_on(trained):
    leaking = build_platform(study_of(train="validation"), trained.home)
    reports = make(leaking, Node("grpo_checkpoints", "tiny__mbt-s-grpo"))
    assert "training questions stand in a validation split" in reports["training_sets[trails|tiny__mbt-s]"].why
    direct = build_platform(study_of(train="validation", modes="[base, grpo]"), trained.home)
    report = make(direct, Node("grpo_checkpoints", "tiny__grpo"))["grpo_checkpoints[tiny__grpo]"]
    assert report.outcome == "failed"
    assert "Take them out of the training split, or set grpo.drop_leaked: true" in report.why
