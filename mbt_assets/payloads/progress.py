"""What a trainer's own log says, turned into one line per interval: step, loss, learning rate, rewards, tokens/s."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mbt_assets.payloads.reporting import Reporter


class Progress(TrainerCallback):
    """Reports step, loss, learning rate and tokens/s at every log, and keeps the last loss and token count."""

    def __init__(self, report: Reporter):
        self.loss: float | None = None
        self.tokens = 0
        self._report = report
        self._last = (0.0, 0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Starts the clock."""
        self._last = (time.monotonic(), 0)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Logs the last step whatever the interval, so that the final loss and token count are there."""
        control.should_log = control.should_log or state.global_step >= state.max_steps
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Turns a log of the trainer into one line."""
        logs = logs or {}
        if "loss" not in logs:
            return
        self.loss = float(logs["loss"])
        now, tokens = time.monotonic(), int(logs.get("num_tokens", 0))
        rate = (tokens - self._last[1]) / max(now - self._last[0], 1e-9)
        self.tokens, self._last = tokens, (now, tokens)
        figures = {"loss": self.loss, "lr": float(logs.get("learning_rate", 0.0)), **_rewards(logs)}
        text = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._report.say(f"step {state.global_step}/{state.max_steps} {text} {rate:.0f} tokens/s")


def _rewards(logs: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items() if name.startswith("reward") and "std" not in name}
