"""Group-relative policy optimisation of an untrained student for two real steps, and its rewards."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from trainings import LORA, Listener, completion, weights, write

from mbt_assets.payloads.grpo import FORMAT_WEIGHT, exact_match, reinforce, well_formed
from mbt_assets.payloads.sft import fine_tune
from mbt_assets.payloads.specs import PayloadMistake
from mbt_assets.payloads.train_spec import TrainSpec

QUICK = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_completion_length": 12,
    "learning_rate": 1e-3,
    "logging_steps": 1,
}


@pytest.fixture
def spec(blank_student, asked, tmp_path):
    rows = [{"prompt": prompt, "answer": q["answer"], "aliases": q["aliases"]} for q, prompt in asked]
    frame = pl.DataFrame(rows, schema_overrides={"aliases": pl.List(pl.String)})
    frame.write_parquet(tmp_path / "rows.parquet")
    return TrainSpec(str(blank_student), str(tmp_path / "rows.parquet"), str(tmp_path / "out"), trl=QUICK)


def test_two_steps_report_both_rewards_and_leave_a_checkpoint(spec):
    listener = Listener()
    result = reinforce(spec, listener)
    steps = [line for line in listener.lines if line.startswith("step ")]
    assert result["steps"] == 2 and result["tokens"] > 0
    assert len(steps) == 2
    assert all("rewards/exact_match/mean" in line and "rewards/well_formed/mean" in line for line in steps)
    assert (Path(spec.out_dir) / "model.safetensors").is_file()
    assert not (Path(spec.out_dir) / "trainer").exists()


def test_each_reward_is_in_the_curve_and_in_the_picture(spec):
    result = reinforce(spec, Listener())
    assert [entry["step"] for entry in result["curve"]] == [1, 2]
    for entry in result["curve"]:
        parts = {name: entry[f"rewards/{name}/mean"] for name in ("exact_match", "well_formed")}
        assert entry["reward"] == pytest.approx(parts["exact_match"] + FORMAT_WEIGHT * parts["well_formed"])
        assert entry["tokens_per_second"] > 0 < entry["memory_mb"]
    assert result["rows"] == 24
    assert (Path(spec.out_dir) / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_without_vllm_it_says_that_transformers_writes(spec):
    listener = Listener()
    reinforce(spec, listener)
    assert listener.heard("completions are written by transformers: vLLM needs a GPU")


@pytest.fixture
def tuned(blank_student, asked, tmp_path):
    """What SFT leaves: a checkpoint, or an adapter."""

    def make(alone):
        file, out_dir = str(tmp_path / "sft.parquet"), str(tmp_path / "tuned")
        write(file, [(prompt, completion(question)) for question, prompt in asked])
        lora = {"peft": LORA, "adapter": True} if alone else {}
        trl = {"max_steps": 1, "gradient_accumulation_steps": 1}
        spec = TrainSpec(str(blank_student), file, out_dir, trl=trl, **lora)
        fine_tune(spec, Listener())
        return out_dir

    return make


@pytest.mark.parametrize("alone", [False, True], ids=["checkpoint", "adapter"])
def test_it_starts_from_what_sft_left(spec, tuned, blank_student, alone):
    spec.base = tuned(alone)
    listener = Listener()
    result = reinforce(spec, listener)
    assert result["steps"] == 2
    assert listener.heard("is an adapter: it was merged into") == alone
    assert weights(spec.out_dir).keys() == weights(blank_student).keys()
    assert result["trained_parameters"] == result["parameters"]


def test_with_lora_it_leaves_an_adapter(spec):
    spec.peft, spec.adapter = LORA, True
    result = reinforce(spec, Listener())
    assert result["trained_parameters"] < result["parameters"]
    assert (Path(spec.out_dir) / "adapter_model.safetensors").is_file()


def test_a_killed_run_goes_on_and_counts_on(spec, tmp_path):
    spec.trl = QUICK | {"max_steps": 4, "save_steps": 1}
    whole = reinforce(replace(spec, out_dir=str(tmp_path / "whole")), Listener())
    with pytest.raises(KeyboardInterrupt):
        reinforce(spec, Listener(dies_on="step 3/4"))
    again = Listener()
    result = reinforce(spec, again)
    assert again.heard("resuming from checkpoint-2")
    assert [entry["step"] for entry in result["curve"]] == [1, 2, 3, 4]
    counted = [[entry["tokens"] for entry in one["curve"]] for one in (result, whole)]
    assert counted[0] == counted[1] == sorted(counted[1])


def test_vllm_without_a_gpu_is_refused(spec):
    spec.trl = QUICK | {"use_vllm": True}
    with pytest.raises(PayloadMistake, match="use_vllm"):
        reinforce(spec, Listener())


@pytest.mark.parametrize(
    ("text", "right", "formed"),
    [
        ("<think>\nfilm1. So.\n</think>\n\n<answer>City2.</answer>", 1.0, 1.0),
        ("<think>\nx\n</think>\n\n<answer>the second city</answer>", 1.0, 1.0),
        ("<think>\nx\n</think>\n\n<answer>city3</answer>", 0.0, 1.0),
        ("<think>\n<answer>city2</answer>", 0.0, 0.0),
        ("<answer>city2</answer>", 0.0, 0.0),
        ("<think>\n\n</think>\n\n<answer>city2</answer>", 1.0, 0.0),
        ("<think>\nx\n</think>\n\n<answer>city2</answer> and more", 1.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_rewards_of_one_completion(text, right, formed):
    said = [[{"role": "assistant", "content": text}]]
    assert exact_match(said, answer=["city2"], aliases=[["Second City"]]) == [right]
    assert well_formed(said, answer=["city2"]) == [formed]
