"""What a training says while it runs and reports when it is done: lines, figures, curve, picture, trackers."""

import importlib.util
import json
import platform
import random
import re
from pathlib import Path

import pytest
import torch
import transformers
from trainings import LORA, QUICK, Listener

from mbt_assets.payloads.progress import duration
from mbt_assets.payloads.results import curve_of, draw_curve
from mbt_assets.payloads.sft import fine_tune
from mbt_assets.payloads.specs import PayloadMistake


def test_a_line_tells_step_loss_rate_speed_memory_and_the_time_left(spec):
    listener = Listener()
    fine_tune(spec(), listener)
    steps = [line for line in listener.lines if line.startswith("step ")]
    pattern = r"step \d/4 loss [\d.]+ lr [\d.e-]+ \d+ tokens/s memory \d+ MB"
    assert all(re.fullmatch(pattern + r", \d+ s left", line) for line in steps[:-1]), steps
    assert re.fullmatch(pattern, steps[-1])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3590, "1 h 0 min"), (18_720, "5 h 12 min")]
)
def test_a_length_of_time_is_short(seconds, text):
    assert duration(seconds) == text


def test_the_result_tells_what_was_trained_how_fast_and_with_what(spec):
    result = json.loads(json.dumps(fine_tune(spec(peft=LORA), Listener()), allow_nan=False))
    assert (result["steps"], result["rows"], result["rows_too_long"]) == (4, 24, 0)
    assert 0 < result["trained_parameters"] == 2 * 2 * 4 * 64 < result["parameters"]
    assert result["attention"] == "sdpa" and result["liger"] is False
    assert result["peak_memory_mb"] > 100
    assert result["tokens_per_second"] > 0 < result["seconds"]
    versions = result["versions"]
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == torch.__version__ and versions["transformers"] == transformers.__version__
    assert set(versions) >= {"trl", "peft", "accelerate", "datasets", "tokenizers"}
    assert ("flash-attn" in versions) == (importlib.util.find_spec("flash_attn") is not None)
    assert [entry["step"] for entry in result["curve"]] == [1, 2, 3, 4]
    assert set(result["curve"][0]) == {
        "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "memory_mb"
    }  # fmt: skip
    assert result["curve"][-1]["loss"] == result["final_loss"]


def test_the_last_step_and_saved_ones_are_logged_whatever_the_interval(spec):
    result = fine_tune(spec(trl=QUICK | {"max_steps": 7, "logging_steps": 5, "save_steps": 3}), Listener())
    assert [entry["step"] for entry in result["curve"]] == [3, 5, 6, 7]


def test_what_is_not_finite_is_none_in_the_curve_and_no_step_is_twice():
    log = [
        {"step": 2, "loss": 1.0, "grad_norm": float("nan")},
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": 0.5, "grad_norm": float("inf"), "reward": 1.0, "reward_std": float("nan"), "entropy": 3},
        {"step": 2, "train_runtime": 1.0},
    ]
    assert curve_of(log) == [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": 0.5, "grad_norm": None, "reward": 1.0, "reward_std": None},
    ]


def restless(steps):
    dice = random.Random(1)
    names = ("loss", "learning_rate", "reward", "rewards/exact_match/mean", "rewards/well_formed/mean")
    return [{"step": step, **{name: dice.random() for name in names}} for step in range(steps)]


@pytest.mark.parametrize(
    "curve", [[], [{"step": 1, "loss": None}], [{"step": i, "loss": 1 / i} for i in range(1, 3000)]]
)
def test_any_curve_is_drawn_small(tmp_path, curve):
    draw_curve(curve, tmp_path / "curve.png")
    picture = (tmp_path / "curve.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) < 60_000
    assert [int.from_bytes(picture[i : i + 4]) for i in (16, 20)] == [640, 360]


def test_the_picture_lies_beside_the_weights(spec):
    fine_tune(spec(), Listener())
    assert (Path(spec().out_dir) / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("given", [True, False], ids=["log_dir", "no log_dir"])
def test_tensorboard_gets_the_same_losses(spec, tmp_path, given, monkeypatch):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # given back as it was
    monkeypatch.setenv("WANDB_DIR", "")
    folder = tmp_path / "board" if given else Path(spec().out_dir) / "logs"
    result = fine_tune(spec(report_to=["tensorboard"], log_dir=str(folder) if given else None), Listener())
    events = accumulators.EventAccumulator(str(folder))
    events.Reload()
    seen = {event.step: event.value for event in events.Scalars("train/loss")}
    assert seen == pytest.approx({entry["step"]: entry["loss"] for entry in result["curve"]}, rel=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_installed_is_told_before_anything_is_loaded(spec):
    with pytest.raises(PayloadMistake, match="names wandb, which is not installed: pip install wandb"):
        fine_tune(spec(base="/nowhere", report_to=["wandb"]), Listener())
