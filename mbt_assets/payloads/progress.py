"""What a trainer's own log says, turned into one line per interval and into entries that outlive a killed run.

The figures are put into the trainer's log history, which is saved with every step: a resumed run has all of it.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mbt_assets.payloads.reporting import Reporter


class Progress(TrainerCallback):
    """Reports step, loss, learning rate, tokens/s, memory and the time left at every log.

    Args:
        report: gets the lines.
        counts_anew: whether the trainer's token count starts at 0 when it resumes; otherwise it goes on.
    """

    def __init__(self, report: Reporter, counts_anew: bool = True):
        self.loss: float | None = None
        self.tokens = 0
        self.seconds = 0.0
        self._report = report
        self._counts_anew = counts_anew
        self._began = self._last = 0.0
        self._first_step = 0
        self._earlier_tokens = 0
        self.earlier_seconds = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Starts the clock, from where an earlier run stopped."""
        self._began = self._last = time.monotonic()
        self._first_step = state.global_step
        earlier = [entry for entry in state.log_history if "seconds" in entry]
        if earlier:
            last: dict[str, Any] = earlier[-1]
            self.loss, self.tokens, self.seconds = last["loss"], last["tokens"], last["seconds"]
        self._earlier_tokens = self.tokens if self._counts_anew else 0
        self.earlier_seconds = self.seconds

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Logs the last step and every saved one whatever the interval: no figure is lost, none depends on a kill."""
        control.should_log = control.should_log or control.should_save or state.global_step >= state.max_steps
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Logs where an epoch's end is saved."""
        control.should_log = control.should_log or control.should_save
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Turns a log of the trainer into one line, and completes its entry in the log history."""
        logs = logs or {}
        if "loss" not in logs:
            return
        now, tokens = time.monotonic(), self._earlier_tokens + int(logs.get("num_tokens", 0))
        rate = (tokens - self.tokens) / max(now - self._last, 1e-9)
        self.loss, self.tokens, self._last = float(logs["loss"]), tokens, now
        self.seconds = self.earlier_seconds + now - self._began
        memory = peak_memory()
        state.log_history[-1].update(
            tokens=tokens,
            seconds=round(self.seconds, 3),
            tokens_per_second=round(rate, 1),
            memory_mb=round(memory, 1),
        )
        figures = {"loss": self.loss, "lr": float(logs.get("learning_rate", 0.0)), **_rewards(logs)}
        text = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
        line = f"step {state.global_step}/{state.max_steps} {text} {rate:.0f} tokens/s memory {memory:.0f} MB"
        self._report.say(line + self._left(state, now))

    def _left(self, state: TrainerState, now: float) -> str:
        done, todo = state.global_step - self._first_step, state.max_steps - state.global_step
        return f", {duration((now - self._began) / done * todo)} left" if done > 0 and todo > 0 else ""


def peak_memory() -> float:
    """Most memory in MB (2**20 bytes) that this process had so far: on its GPU where it has one, else resident."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def duration(seconds: float) -> str:
    """A length of time in words as short as `40 s`, `3 min` or `5 h 12 min`."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _rewards(logs: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items() if name.startswith("reward") and "std" not in name}
