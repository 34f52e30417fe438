"""Which checkpoints the student server keeps in memory."""

import os

import pytest
from folders import write_adapter, write_checkpoint

batching = pytest.importorskip("mbt_assets.payloads.student_batching")


@pytest.fixture
def loaded(monkeypatch):
    """Names of the checkpoints that were read from disk, in order."""
    names = []
    monkeypatch.setattr(batching, "_load", lambda folder, name: names.append(name) or object())
    return names


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_checkpoint_is_read_once_and_again_when_any_of_its_files_is_replaced(tmp_path, loaded, name):
    folder = write_checkpoint(tmp_path / "tiny" / "sft")
    checkpoints = batching.Checkpoints(tmp_path)
    first = checkpoints.get("tiny/sft")
    assert checkpoints.get("tiny/sft") is first
    os.utime(folder / name, (1, 1))
    assert checkpoints.get("tiny/sft") is not first
    assert loaded == ["tiny/sft", "tiny/sft"]


def test_an_adapter_is_read_again_when_its_base_is_replaced(tmp_path, loaded):
    base = write_checkpoint(tmp_path / "tiny" / "base")
    write_adapter(tmp_path / "tiny" / "lora", base)
    checkpoints = batching.Checkpoints(tmp_path)
    first = checkpoints.get("tiny/lora")
    os.utime(base / "model.safetensors", (1, 1))
    assert checkpoints.get("tiny/lora") is not first
