"""Small trainings: rows, what a payload says, and what it leaves."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import polars as pl
from safetensors.torch import load_file

from mbt_assets.payloads.reporting import Reporter

QUICK = {
    "max_steps": 4,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "warmup_steps": 0,
}
LORA = {"r": 4, "target_modules": ["q_proj"], "lora_alpha": 64}


class Listener(Reporter):
    """Keeps what is said, and can be told to die on a line, as a killed process would."""

    def __init__(self, dies_on="\0"):
        super().__init__()
        self.lines, self.dies_on = [], dies_on

    def say(self, line):
        self.lines.append(line)
        if self.dies_on in line:
            raise KeyboardInterrupt(line)

    def heard(self, text):
        return any(text in line for line in self.lines)


def write(file, pairs):
    pl.DataFrame([{"prompt": prompt, "completion": completion} for prompt, completion in pairs]).write_parquet(file)


def completion(question):
    return f"<think>\nSo it is {question['answer']}.\n</think>\n\n<answer>{question['answer']}</answer>"


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def differing(a, b):
    """Names of the weights that are not bit for bit the same in two checkpoints."""
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not ours[name].equal(theirs[name])]


def command(spec, payload="sft"):
    """The program that a spec is run with, its file written beside the `out_dir`."""
    file = Path(spec.out_dir).with_suffix(".json")
    file.write_text(json.dumps(asdict(spec)))
    return [sys.executable, "-m", f"mbt_assets.payloads.{payload}", "--spec", str(file)]


DYING = """
import os, runpy, signal
from mbt_assets.payloads.reporting import Reporter

def say(self, line, said=Reporter.say):
    said(self, line)
    if line.startswith({line!r}):
        os.kill(os.getpid(), signal.SIGKILL)

Reporter.say = say
runpy.run_module("mbt_assets.payloads.{payload}", run_name="__main__", alter_sys=True)
"""


def start(spec, payload="sft", dies_on=None):
    """A payload as a process of its own, its output in a pipe; one that kills itself once it has said a line."""
    words = command(spec, payload)
    if dies_on:
        words[1:3] = ["-c", DYING.format(line=dies_on, payload=payload)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def result_of(spec):
    return json.loads((Path(spec.out_dir) / "result.json").read_text())
