"""Group-relative policy optimisation of an untrained student for two real steps, and its rewards."""

from pathlib import Path

import polars as pl
import pytest

from mbt_assets.payloads.grpo import exact_match, reinforce, well_formed
from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.specs import PayloadMistake
from mbt_assets.payloads.training import TrainSpec

QUICK = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_completion_length": 12,
    "learning_rate": 1e-3,
    "logging_steps": 1,
}


class Listener(Reporter):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, line):
        self.lines.append(line)


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
