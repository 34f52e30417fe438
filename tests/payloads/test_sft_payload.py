"""Supervised fine-tuning of an untrained student for a few real steps: results, resuming, refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer

from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.sft import example, fine_tune
from mbt_assets.payloads.specs import PayloadMistake, read_spec
from mbt_assets.payloads.training import TrainSpec

QUICK = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1, "warmup_steps": 0}


class Listener(Reporter):
    """Keeps what is said, and can be told to die on a line, as a killed process would."""

    def __init__(self, dies_on="\0"):
        super().__init__()
        self.lines, self.dies_on = [], dies_on

    def say(self, line):
        self.lines.append(line)
        if self.dies_on in line:
            raise KeyboardInterrupt(line)


@pytest.fixture(scope="module")
def rows(asked, tmp_path_factory):
    """A training file."""
    file = tmp_path_factory.mktemp("rows") / "rows.parquet"
    write(
        file,
        [
            (prompt, f"<think>\nSo it is {q['answer']}.\n</think>\n\n<answer>{q['answer']}</answer>")
            for q, prompt in asked
        ],
    )
    return file


@pytest.fixture
def spec(blank_student, rows, tmp_path):
    def make(**changes):
        settings = {"base": str(blank_student), "train": str(rows), "out_dir": str(tmp_path / "out"), "trl": QUICK}
        return TrainSpec(**{**settings, **changes})

    return make


def write(file, pairs):
    pl.DataFrame([{"prompt": prompt, "completion": completion} for prompt, completion in pairs]).write_parquet(file)


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def differing(a, b):
    return [name for name in weights(a) if not weights(a)[name].equal(weights(b)[name])]


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


def test_a_killed_run_goes_on_where_it_was_saved_and_ends_the_same(spec, tmp_path):
    trl = QUICK | {"save_steps": 2, "max_steps": 6}
    fine_tune(spec(out_dir=str(tmp_path / "whole"), trl=trl), Listener())
    with pytest.raises(KeyboardInterrupt):
        fine_tune(spec(trl=trl), Listener(dies_on="step 5/6"))
    # A step that was cut off while it was saved is no step.
    (Path(spec().out_dir) / "trainer" / "checkpoint-5").mkdir()
    again = Listener()
    result = fine_tune(spec(trl=trl), again)
    assert any("resuming from checkpoint-4" in line for line in again.lines)
    assert result["steps"] == 6
    assert not differing(tmp_path / "whole", spec().out_dir)


def test_steps_of_another_spec_are_not_taken_up(spec):
    trl = QUICK | {"save_steps": 2}
    with pytest.raises(KeyboardInterrupt):
        fine_tune(spec(trl=trl), Listener(dies_on="step 3/4"))
    again = Listener()
    fine_tune(spec(trl=trl, seed=7), again)
    assert not any("resuming" in line for line in again.lines)


def test_lora_adapters_are_merged_into_plain_weights(spec, blank_student):
    result = fine_tune(spec(peft={"r": 4, "target_modules": ["q_proj"], "lora_alpha": 64}), Listener())
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


def test_the_loss_is_on_the_completion_alone(blank_student, asked):
    tokenizer = AutoTokenizer.from_pretrained(blank_student)
    tokens, labels = example(asked[0][1], "<think>\nWait.\n</think>\n\n<answer>city2</answer>", tokenizer)
    learned = [token for token, label in zip(tokens, labels, strict=True) if label != -100]
    assert tokenizer.decode(learned).startswith("<think>\nWait.\n</think>\n\n<answer>city2</answer><|im_end|>")


def test_a_template_that_changes_the_prompt_is_refused(blank_student, asked):
    tokenizer = AutoTokenizer.from_pretrained(blank_student)
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\\n", "assistant\\nSo it is ")
    with pytest.raises(PayloadMistake, match="no prefix"):
        example(asked[0][1], "<answer>city2</answer>", tokenizer)


def test_long_rows_are_counted_before_they_are_cut(spec):
    listener = Listener()
    fine_tune(spec(trl=QUICK | {"max_length": 100, "max_steps": 1}), listener)
    assert any("24 rows are longer than max_length=100" in line for line in listener.lines)


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
