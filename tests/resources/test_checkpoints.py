"""Checkpoint folders: whole or refused, told apart by content, and made once between real processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import folders
import pytest
from folders import write_adapter, write_checkpoint, write_weights
from processes import kill

from resources.checkpoints import CheckpointError, check_folder, current_digest, digest_folder, made_once

TRAINER = """
import sys
from pathlib import Path
from folders import write_checkpoint
from resources.checkpoints import made_once
folder = Path(sys.argv[1])
def make(working):
    print("training", flush=True)
    sys.stdin.readline()
    write_checkpoint(working)
    return {"steps": 1}
_, result = made_once(folder, make, lambda line: print(line, flush=True))
print("made" if result else "found", flush=True)
"""


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    started = []
    monkeypatch.setenv("PYTHONPATH", str(Path(folders.__file__).parent))

    def start():
        command = [sys.executable, "-c", TRAINER, str(tmp_path / "models" / "m")]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_of_two_at_once_one_trains_and_the_other_finds_it_made(trainer, tmp_path):
    first = trainer()
    assert first.stdout.readline() == "training\n"
    second = trainer()
    folder = tmp_path / "models" / "m"
    assert second.stdout.readline() == f"another process makes {folder}: waiting for it\n"
    assert first.communicate("\n", timeout=60)[0] == "made\n"
    assert second.communicate(timeout=60)[0] == "found\n"
    assert folder.is_dir()
    assert not folder.with_name("m.partial").exists()


def test_a_killed_trainer_leaves_the_work_to_the_one_that_waits(trainer):
    first = trainer()
    first.stdout.readline()
    second = trainer()
    second.stdout.readline()
    kill(first.pid)
    assert second.stdout.readline() == "training\n"
    assert second.communicate("\n", timeout=60)[0] == "made\n"


def test_what_was_not_made_whole_does_not_take_the_name(tmp_path):
    with pytest.raises(CheckpointError, match="is no folder"):
        made_once(tmp_path / "m", lambda working: {})
    assert not (tmp_path / "m").exists()


@pytest.fixture
def whole(tmp_path):
    """A whole checkpoint in two shards."""
    folder = write_checkpoint(tmp_path / "whole")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name in names:
        write_weights(folder / name, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": names[0], "b": names[1]}}))
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("model-00002-of-00002.safetensors", cut, r"model-00002-of-00002.safetensors \(\d+ bytes\) is damaged"),
        ("model-00001-of-00002.safetensors", zeros, "is damaged"),
        ("model-00001-of-00002.safetensors", Path.unlink, "lacks 1 of 2 shards"),
        ("model.safetensors.index.json", cut, "index.json is damaged"),
        ("config.json", Path.unlink, "holds no config.json"),
        ("tokenizer.json", Path.unlink, "holds no tokenizer"),
    ],
)
def test_a_damaged_checkpoint_is_refused_with_what_is_wrong(whole, name, damage, message):
    check_folder(whole)
    damage(whole / name)
    with pytest.raises(CheckpointError, match=message):
        digest_folder(whole)


def test_a_missing_folder_and_one_without_weights_are_told_apart(tmp_path):
    with pytest.raises(CheckpointError, match="is no folder"):
        check_folder(tmp_path / "nowhere")
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"holds no \*.safetensors"):
        check_folder(tmp_path / "pickled")


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "tokenizer.json", "config.json"])
def test_weights_tokenizer_and_configuration_are_in_the_digest(whole, name):
    before = digest_folder(whole)
    if name.endswith("safetensors"):
        write_weights(whole / name, "others")
    else:
        (whole / name).write_text('{"changed": 1}')
    assert digest_folder(whole) != before


def test_notes_beside_the_weights_are_not(whole):
    before = digest_folder(whole)
    (whole / "provenance.json").write_text("{}")
    (whole / "README.md").write_text("trained on a Tuesday")
    assert digest_folder(whole) == before


def test_the_digest_of_an_adapter_covers_its_base_too(whole, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", whole)
    before = digest_folder(adapter)
    write_weights(whole / "model-00001-of-00002.safetensors", "another base")
    other_base = digest_folder(adapter)
    write_weights(adapter / "adapter_model.safetensors", "another adapter")
    assert len({before, other_base, digest_folder(adapter)}) == 3


def test_an_adapter_whose_base_is_gone_or_damaged_is_refused(whole, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", whole)
    cut(whole / "model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=f"checkpoint {whole}: .* is damaged"):
        digest_folder(adapter)
    shutil.rmtree(whole)
    with pytest.raises(CheckpointError, match=f"belongs on {whole}, which is no folder"):
        digest_folder(adapter)


def test_bytes_are_read_again_only_when_a_file_has_changed(whole, tmp_path):
    shard = whole / "model-00001-of-00002.safetensors"
    memory = tmp_path / "digests"
    first = current_digest(whole, memory)
    (note,) = memory.iterdir()
    note.write_text(note.read_text().replace(first, "0" * 64))
    assert current_digest(whole, memory) == "0" * 64, "what was read before counts while the files are the same"
    os.utime(shard, (1, 1))
    assert current_digest(whole, memory) == first
    write_weights(shard, "others")
    assert current_digest(whole, memory) == digest_folder(whole) != first
    note.write_text("cut o")
    assert current_digest(whole, memory) == digest_folder(whole)
