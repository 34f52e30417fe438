"""Which checkpoints the student server keeps in memory."""

import os

import pytest

batching = pytest.importorskip("mbt_assets.payloads.student_batching")


@pytest.fixture
def loaded(monkeypatch):
    """Names of the checkpoints that were read from disk, in order."""
    names = []
    monkeypatch.setattr(batching, "_load", lambda folder, name: names.append(name) or object())
    return names


def test_a_checkpoint_is_read_once_and_again_when_another_is_put_in_its_place(tmp_path, loaded):
    config = tmp_path / "tiny" / "sft" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text("{}")
    checkpoints = batching.Checkpoints(tmp_path)
    first = checkpoints.get("tiny/sft")
    assert checkpoints.get("tiny/sft") is first
    os.utime(config, (1, 1))
    assert checkpoints.get("tiny/sft") is not first
    assert loaded == ["tiny/sft", "tiny/sft"]
