"""Checkpoints that somebody has put code into: none of it runs."""

import json
import pickle
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from trainings import QUICK, Listener, command

from mbt_assets.payloads.bases import load_model, load_tokenizer
from mbt_assets.payloads.sft import fine_tune
from mbt_assets.payloads.specs import PayloadMistake
from resources.checkpoints import CheckpointError, check_folder


class Trap:
    """Whoever unpickles it writes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (Path(self.file),)


@pytest.fixture
def sprung(tmp_path):
    """The file that a trap writes; it must not be there in the end."""
    file = tmp_path / "sprung"
    yield file
    assert not file.exists()


def bomb(sprung, where):
    """A trap as torch writes its files: a zip archive around a pickle."""
    with zipfile.ZipFile(where, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap(sprung), protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


@pytest.fixture
def checkpoint(blank_student, tmp_path):
    return shutil.copytree(blank_student, tmp_path / "checkpoint")


def test_the_trap_is_one(tmp_path):
    import torch

    bomb(tmp_path / "sprung", tmp_path / "trap.bin")
    torch.load(tmp_path / "trap.bin", weights_only=False)
    assert (tmp_path / "sprung").exists()


def test_a_pickle_beside_the_weights_is_not_looked_at(checkpoint, sprung):
    bomb(sprung, checkpoint / "pytorch_model.bin")
    assert load_model(checkpoint).num_parameters()


def test_weights_that_are_a_pickle_alone_are_refused(checkpoint, sprung, spec):
    (checkpoint / "model.safetensors").unlink()
    bomb(sprung, checkpoint / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_model(checkpoint)
    with pytest.raises(CheckpointError, match=r"holds no .*safetensors"):
        check_folder(checkpoint)
    done = subprocess.run(command(spec(base=str(checkpoint))), capture_output=True, text=True)
    assert done.returncode == 2
    assert f"sft: cannot load the base {checkpoint}: " in done.stderr and "Traceback" not in done.stderr


def test_an_adapter_that_is_a_pickle_is_refused(blank_student, tmp_path, sprung):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(blank_student), "r": 4, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    bomb(sprung, adapter / "adapter_model.bin")
    with pytest.raises(OSError, match=r"holds no adapter_model\.safetensors"):
        load_model(adapter)
    with pytest.raises(CheckpointError, match=r"holds no .*safetensors"):
        check_folder(adapter)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_saved_step_that_holds_more_than_tensors_is_refused(spec, sprung, name):
    trl = QUICK | {"save_steps": 2}
    with pytest.raises(KeyboardInterrupt):
        fine_tune(spec(trl=trl), Listener(dies_on="step 3/4"))
    bomb(sprung, Path(spec().out_dir) / "trainer" / "checkpoint-2" / name)
    with pytest.raises(PayloadMistake, match=r"checkpoint-2 holds more than tensors.*delete that folder"):
        fine_tune(spec(trl=trl), Listener())


def test_code_beside_the_weights_runs_only_if_it_is_asked_for(checkpoint, tmp_path):
    written = tmp_path / "written"
    (checkpoint / "modeling_theirs.py").write_text(f"open({str(written)!r}, 'w').close()\nclass Theirs: pass\n")
    config = json.loads((checkpoint / "config.json").read_text())
    config["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "modeling_theirs.Theirs")
    config["model_type"] = "theirs"
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_model(checkpoint)
    load_tokenizer(checkpoint)
    assert not written.exists()
    with pytest.raises(Exception):  # noqa: B017 - their code is no model
        load_model(checkpoint, trust_remote_code=True)
    assert written.exists()
