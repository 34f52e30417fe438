"""Trainings of two processes on the CPU, launched as the platform launches them."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import dagster as dg
import pytest
import yaml
from trainings import LORA, QUICK, Listener, command, differing, weights

from mbt_assets.payloads.sft import fine_tune
from resources.accelerate_configs import config_file
from resources.compute import LocalCompute
from resources.launching import PayloadError

SPREAD = """
import os
import accelerate.state
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

# Accelerate falls back to whole copies on a CPU; torch itself spreads weights there as well.
made = accelerate.state.AcceleratorState.__init__

def spread(self, *arguments, fsdp_plugin=None, **options):
    made(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
    self.distributed_type = DistributedType.FSDP
    self.fsdp_plugin = getattr(self, "fsdp_plugin", None) or fsdp_plugin or FullyShardedDataParallelPlugin()

accelerate.state.AcceleratorState.__init__ = spread

from mbt_assets.payloads import saving, sft, training

def checked(trainer, *arguments):
    kinds = {type(weight).__name__ for weight in trainer.model.parameters()}
    os.write(2, f"weights are {' '.join(kinds)}\\n".encode())
    saving.save_final(trainer, *arguments)

training.save_final = checked
sft.main()
"""


def on_cpu(name, folder, processes):
    """A packaged accelerate config, changed to so many processes on the CPU."""
    settings = yaml.safe_load(config_file(name).read_text())
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(settings | {"use_cpu": True, "mixed_precision": "no", "num_processes": processes}))
    return str(file)


@pytest.fixture
def launch(tmp_path):
    """Runs a spec through the platform's launcher; the result, and what the payload printed."""

    def run(spec, accelerate):
        results = []

        @dg.asset
        def trained(context: dg.AssetExecutionContext):
            results.append(LocalCompute(tmp_path / "logs").run(context, "sft", asdict(spec), accelerate=accelerate))
            return dg.MaterializeResult()

        with dg.DagsterInstance.ephemeral() as instance:
            done = dg.materialize([trained], instance=instance)
            said = [entry.user_message for entry in instance.all_logs(done.run_id)]
        (log,) = (tmp_path / "logs").iterdir()
        return results[0], said, log.read_text().splitlines()

    return run


def reports(lines):
    return [line for line in lines if "tokens/s" in line]


def test_two_processes_leave_one_checkpoint_and_one_of_them_reports(spec, launch, tmp_path):
    epoch = {name: value for name, value in QUICK.items() if name != "max_steps"} | {"num_train_epochs": 1}
    halves = epoch | {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}
    result, said, printed = launch(spec(trl=halves), on_cpu("multi_gpu", tmp_path, 2))
    assert len(reports(said)) == len(reports(printed)) == result["steps"] == 24 // (2 * 3 * 2)
    out = Path(spec().out_dir)
    assert {path.name for path in out.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json", "curve.png"}
    assert not (out / "trainer").exists()
    whole = epoch | {"per_device_train_batch_size": 12}
    alone = fine_tune(spec(out_dir=str(tmp_path / "alone"), trl=whole), Listener())
    assert (result["tokens"], result["steps"]) == (alone["tokens"], alone["steps"])
    losses = [[entry["loss"] for entry in one["curve"]] for one in (result, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)  # other rows meet in a step


def test_the_packaged_cpu_config_runs_here(spec, launch, tmp_path):
    result, said, _ = launch(spec(), "cpu")
    assert result["steps"] == len(reports(said)) == 4
    fine_tune(spec(out_dir=str(tmp_path / "plain")), Listener())
    assert not differing(spec().out_dir, tmp_path / "plain")


def test_a_mistake_in_the_spec_is_told_once(spec, launch, tmp_path):
    with pytest.raises(PayloadError) as failed:
        launch(spec(trl={"learnin_rate": 1}), on_cpu("multi_gpu", tmp_path, 2))
    assert str(failed.value).count("unknown field 'learnin_rate'; did you mean 'learning_rate'?") == 1
    assert "elastic" not in str(failed.value)


@pytest.mark.parametrize("changes", [{}, {"peft": LORA}], ids=["all weights", "lora"])
def test_weights_that_are_spread_over_processes_are_saved_whole(spec, tmp_path, changes):
    program = tmp_path / "spread.py"
    program.write_text(SPREAD)
    spread = spec(trl=QUICK | {"per_device_train_batch_size": 2, "save_steps": 2}, **changes)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", on_cpu("fsdp", tmp_path, 2)]
    options = ["--main_process_port", "0", str(program), *command(spread)[3:]]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*launcher, *options], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("weights are DTensor\n") == 2
    plain = spec(out_dir=str(tmp_path / "plain"), trl=spread.trl | {"gradient_accumulation_steps": 2}, **changes)
    fine_tune(plain, Listener())
    ours, theirs = weights(spread.out_dir), weights(plain.out_dir)
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}
    assert all(ours[name].dtype == theirs[name].dtype for name in ours)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 5e-3  # other rows meet in a step
    configs = [json.loads((Path(one.out_dir) / "config.json").read_text()) for one in (spread, plain)]
    assert configs[0] == configs[1]
