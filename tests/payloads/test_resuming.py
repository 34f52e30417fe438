"""What a killed training leaves, and what the next one makes of it."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from trainings import LORA, QUICK, Listener, differing, result_of, start

from mbt_assets.payloads.sft import fine_tune

STEPS, EVERY = 12, 3
LONG = QUICK | {"max_steps": STEPS, "save_steps": EVERY}


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


def test_a_step_whose_state_was_cut_off_is_no_step(spec):
    trl = QUICK | {"save_steps": 1, "save_total_limit": 2}
    with pytest.raises(KeyboardInterrupt):
        fine_tune(spec(trl=trl), Listener(dies_on="step 4/4"))
    state = Path(spec().out_dir) / "trainer" / "checkpoint-3" / "trainer_state.json"
    state.write_text(state.read_text()[:100])
    again = Listener()
    assert fine_tune(spec(trl=trl), again)["steps"] == 4
    assert again.heard("resuming from checkpoint-2")


def test_figures_go_on_where_the_killed_run_left_off(spec, tmp_path):
    trl = QUICK | {"save_steps": 2, "max_steps": 6}
    whole = fine_tune(spec(out_dir=str(tmp_path / "whole"), trl=trl), Listener())
    with pytest.raises(KeyboardInterrupt):
        fine_tune(spec(trl=trl), Listener(dies_on="step 5/6"))
    again = fine_tune(spec(trl=trl), Listener())
    assert again["tokens"] == whole["tokens"]
    assert [entry["step"] for entry in again["curve"]] == [1, 2, 3, 4, 5, 6]
    assert all(entry["tokens_per_second"] > 0 and entry["memory_mb"] > 0 for entry in again["curve"])
    assert [entry["tokens"] for entry in again["curve"]] == [entry["tokens"] for entry in whole["curve"]]
    assert [entry["loss"] for entry in again["curve"]] == pytest.approx([entry["loss"] for entry in whole["curve"]])


@pytest.mark.parametrize("peft", [None, LORA], ids=["all weights", "lora"])
def test_a_run_killed_at_any_step_goes_on_from_the_last_saved_one(spec, tmp_path, peft):
    whole = fine_tune(spec(out_dir=str(tmp_path / "whole"), trl=LONG, peft=peft), Listener())
    seed = random.randrange(10**6)
    killed_at = random.Random(seed).randint(EVERY + 1, STEPS - 1)
    print(f"seed {seed}: killed at step {killed_at}")
    killed = spec(trl=LONG, peft=peft)
    process = start(killed, dies_on=f"step {killed_at}/")
    _, wrong = process.communicate()
    assert process.returncode == -9, wrong
    assert not (Path(killed.out_dir) / "result.json").exists()
    again = start(replace(killed))
    said, wrong = again.communicate()
    assert again.returncode == 0, wrong
    resumed = int(re.search(r"resuming from checkpoint-(\d+)", said)[1])
    # It may have died while the step was saved, or just after.
    assert resumed in {killed_at // EVERY * EVERY, (killed_at - 1) // EVERY * EVERY}
    assert f"step {resumed + 1}/{STEPS}" in said and f"step {resumed}/{STEPS}" not in said
    result = result_of(killed)
    assert result["final_loss"] == pytest.approx(whole["final_loss"], rel=1e-3)
    assert (result["steps"], result["tokens"]) == (STEPS, whole["tokens"])
    assert [entry["step"] for entry in result["curve"]] == list(range(1, STEPS + 1))
    assert not list(Path(killed.out_dir).glob("**/optimizer*"))
    assert not (Path(killed.out_dir) / "trainer").exists()
