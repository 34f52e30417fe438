"""Checkpoint folders between real processes: one trains, the other waits and finds the result."""

import subprocess
import sys

import pytest
from processes import kill

from resources.checkpoints import CheckpointError, made_once

TRAINER = """
import sys
from pathlib import Path
from resources.checkpoints import made_once
folder = Path(sys.argv[1])
def make(working):
    print("training", flush=True)
    sys.stdin.readline()
    working.mkdir(exist_ok=True)
    (working / "model.safetensors").write_text("weights")
    (working / "config.json").write_text("{}")
    return {"steps": 1}
_, result = made_once(folder, make, lambda line: print(line, flush=True))
print("made" if result else "found", flush=True)
"""


@pytest.fixture
def trainer(tmp_path):
    started = []

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
    assert first.communicate("\n", timeout=20)[0] == "made\n"
    assert second.communicate(timeout=20)[0] == "found\n"
    assert folder.is_dir()
    assert not folder.with_name("m.partial").exists()


def test_a_killed_trainer_leaves_the_work_to_the_one_that_waits(trainer):
    first = trainer()
    first.stdout.readline()
    second = trainer()
    second.stdout.readline()
    kill(first.pid)
    assert second.stdout.readline() == "training\n"
    assert second.communicate("\n", timeout=20)[0] == "made\n"


def test_what_was_not_made_whole_does_not_take_the_name(tmp_path):
    with pytest.raises(CheckpointError, match="is no folder"):
        made_once(tmp_path / "m", lambda working: {})
    assert not (tmp_path / "m").exists()
