"""Supervised fine-tuning of an untrained student for a few real steps: settings, results, refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from trainings import LORA, QUICK, Listener, differing, weights
from transformers import AutoTokenizer
from trl import SFTConfig

from mbt_assets.payloads.sft import DEFAULTS, fine_tune
from mbt_assets.payloads.specs import PayloadMistake, read_spec
from mbt_assets.payloads.train_spec import TrainSpec
from mbt_assets.payloads.training import trl_config
from partitions.study_file import load_study

CHANGES_NO_WEIGHT = {
    "output_dir",
    "disable_tqdm",
    "logging_steps",
    "save_steps",
    "save_total_limit",
    "dataloader_pin_memory",
    "report_to",
    "num_train_epochs",  # max_steps is given
}


def test_training_leaves_a_changed_checkpoint_and_nothing_else(spec, blank_student):
    listener = Listener()
    result = fine_tune(spec(), listener)
    out = Path(spec().out_dir)
    assert result["steps"] == 4
    assert result["tokens"] > 4 * 4 * 80
    assert result["final_loss"] < 6.5
    assert len([line for line in listener.lines if line.startswith("step ") and "tokens/s" in line]) == 4
    assert differing(out, blank_student)
    assert {path.name for path in out.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not list(out.glob("**/optimizer*")) and not (out / "trainer").exists()
    assert AutoTokenizer.from_pretrained(out).chat_template


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(spec, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fine_tune(spec(out_dir=str(tmp_path / name), seed=seed), Listener())
    assert not differing(tmp_path / "a", tmp_path / "b")
    assert differing(tmp_path / "a", tmp_path / "c")


def test_what_a_spec_leaves_out_is_trained_as_in_the_paper(spec):
    config = trl_config(SFTConfig, spec(trl={}), Listener(), **DEFAULTS)
    paper = {
        "learning_rate": 1e-4,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 16,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "max_length": 32768,
        "max_grad_norm": 0.3,
        "weight_decay": 0.0,
    }
    assert {name: getattr(config, name) for name in paper} == paper
    assert (config.save_steps, config.bf16, config.gradient_checkpointing) == (0.1, False, False)
    assert config.optim == "adamw_torch_fused"


def test_any_field_of_trl_can_be_given(spec):
    given = {"neftune_noise_alpha": 5, "optim": "sgd", "gradient_accumulation_steps": 3, "save_steps": 7}
    config = trl_config(SFTConfig, spec(trl=given), Listener(), **DEFAULTS)
    assert {name: getattr(config, name) for name in given} == given


@pytest.mark.parametrize(
    ("study", "stated"),
    [
        ("embedded", {"gradient_accumulation_steps"}),
        ("embedded-hub", {"gradient_accumulation_steps", "warmup_steps", "max_grad_norm"}),
    ],
)
def test_the_embedded_studies_train_by_trls_own_defaults(study, stated, tmp_path):
    trl = load_study(study).sft.trl
    given = {name: value for name, value in trl.items() if name not in stated}
    plain = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, gradient_checkpointing=False, **given)
    ours = trl_config(SFTConfig, TrainSpec("", "", str(tmp_path), trl=trl), Listener(), **DEFAULTS)
    a, b = plain.to_dict(), ours.to_dict()
    assert {name for name in a if a[name] != b[name]} <= CHANGES_NO_WEIGHT | {"shuffle_dataset"}


def test_lora_adapters_are_merged_into_plain_weights(spec, blank_student):
    result = fine_tune(spec(peft=LORA), Listener())
    assert result["steps"] == 4
    assert weights(spec().out_dir).keys() == weights(blank_student).keys()
    changed = differing(spec().out_dir, blank_student)
    assert changed and all("q_proj" in name for name in changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trl": {"learnin_rate": 1}}, "did you mean 'learning_rate'"),
        ({"trl": {"output_dir": "/x"}}, "the payload sets it"),
        ({"trl": {"lr_scheduler_type": "wavy"}}, "wavy"),
        ({"peft": {"rank": 4}}, "unknown field 'rank'"),
        ({"train": "/nowhere.parquet"}, "cannot read the training rows /nowhere.parquet"),
        ({"base": "/nowhere"}, "cannot load the base /nowhere"),
        ({"attn_implementation": "flash_attention_2"}, "needs a GPU"),
        ({"too_long": "wrap"}, "too_long is 'wrap'; it takes drop or cut"),
        ({"quantize": "8bit", "peft": {}}, "quantize is '8bit'; it takes 4bit"),
        ({"quantize": "4bit"}, "quantize is for LoRA: give spec.peft"),
        ({"adapter": True}, "adapter is for LoRA: give spec.peft"),
        ({"adapter": "yes", "peft": {}}, "give true or false"),
        ({"report_to": ["notebook"]}, "'notebook'; it takes tensorboard or wandb"),
        ({"report_to": "wandb"}, "give a list"),
        ({"trl": {"report_to": "all"}}, "the payload sets it"),
    ],
)
def test_a_mistake_in_the_spec_is_named(spec, changes, message):
    with pytest.raises(PayloadMistake, match=message):
        fine_tune(spec(**changes), Listener())


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"prompt": ["text"], "completion": ["x"]}), "column 'prompt'"),
        (pl.DataFrame({"prompt": [[{"role": "user", "content": "x"}]]}), "column 'completion' is not there"),
        (pl.DataFrame({"prompt": [[{"role": "user", "content": "x"}]], "completion": [None]},
                      schema_overrides={"completion": pl.String}), "nulls, first in row 0"),
        (pl.DataFrame({"prompt": [[{"role": "user", "content": "x"}]], "completion": ["x"]}).clear(), "no rows"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_trained_on_are_refused(spec, tmp_path, frame, message):
    frame.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(PayloadMistake, match=message):
        fine_tune(spec(train=str(tmp_path / "bad.parquet")), Listener())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "JSON object"),
        ("{}", "lacks base, train, out_dir"),
        ('{"bas": 1}', "did you mean 'base'"),
    ],
)
def test_a_broken_spec_file_is_named(tmp_path, text, message):
    (tmp_path / "spec.json").write_text(text)
    with pytest.raises(PayloadMistake, match=message):
        read_spec(tmp_path / "spec.json", TrainSpec)


def test_as_a_program_it_ends_with_one_line_and_status_2_on_a_mistake(spec, tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps({**vars(spec()), "trl": {"epochs": 1}}))
    command = [sys.executable, "-m", "mbt_assets.payloads.sft", "--spec", str(tmp_path / "spec.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 2
    assert "sft: spec.trl (SFTConfig) has an unknown field 'epochs'" in done.stderr
    assert "Traceback" not in done.stderr


def test_under_dagster_its_progress_is_in_the_log_and_its_result_in_a_file(spec, tmp_path):
    import dagster as dg

    (tmp_path / "spec.json").write_text(json.dumps(vars(spec(trl=QUICK | {"max_steps": 2}))))

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        command = [sys.executable, "-m", "mbt_assets.payloads.sft", "--spec", str(tmp_path / "spec.json")]
        client = dg.PipesSubprocessClient(env={"OMP_NUM_THREADS": "1"})
        return client.run(context=context, command=command).get_materialize_result()

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([trained], instance=instance)
        said = [entry.user_message for entry in instance.all_logs(done.run_id)]
    assert done.success
    assert any("step 2/2 loss" in line for line in said)
    assert json.loads((Path(spec().out_dir) / "result.json").read_text())["steps"] == 2
