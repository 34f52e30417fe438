"""The modes a model can be run in: what trains it, on which rows, and how it is prompted.

A new mode is one entry of MODES; the axes, the graph and the study file take it from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ModeKind = Literal["base", "prompt", "sft", "grpo", "external"]


@dataclass(frozen=True)
class Mode:
    """One way to run a model.

    Attributes:
        name: the second half of a variant's slug.
        kind: `base` and `prompt` need no training, `sft` and `grpo` train, `external` is registered from elsewhere.
        description: one line for the UI and `mbt study show`.
        rows_from: the table whose rows an `sft` mode trains on.
        rows_variant: that table's variant, with `{model}` and `{teacher}` filled in.
        only_correct: train on rollouts whose answer is an exact match only.
        parent: the mode whose checkpoint a `grpo` mode starts from.
        prompt: the template that validation rollouts of this mode use.
    """

    name: str
    kind: ModeKind
    description: str
    rows_from: Literal["train_rollouts", "synthesized_traces", "rewritten_traces"] | None = None
    rows_variant: str | None = None
    only_correct: bool = False
    parent: str = "base"
    prompt: str = "answer"


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in [
        Mode("base", "base", "the model as it comes"),
        Mode(
            "metacognitive-prompt",
            "prompt",
            "the base model under a five-phase system prompt",
            prompt="answer_metacognitive",
        ),
        Mode(
            "self-distill",
            "sft",
            "SFT on the student's own complete and correct rollouts",
            rows_from="train_rollouts",
            rows_variant="{model}__base",
            only_correct=True,
        ),
        Mode(
            "gpt-oss-distill",
            "sft",
            "SFT on the teacher's complete and correct rollouts",
            rows_from="train_rollouts",
            rows_variant="{teacher}__base",
            only_correct=True,
        ),
        Mode(
            "mbt-s",
            "sft",
            "SFT on five-phase traces that the teacher synthesized",
            rows_from="synthesized_traces",
            rows_variant="{teacher}__mbt-s",
        ),
        Mode(
            "mbt-r",
            "sft",
            "SFT on the student's traces, rewritten by the teacher into five phases",
            rows_from="rewritten_traces",
            rows_variant="{model}__mbt-r",
        ),
        Mode(
            "distill-r",
            "sft",
            "SFT on the student's traces, rewritten with no prescribed structure (the matched control)",
            rows_from="rewritten_traces",
            rows_variant="{model}__distill-r",
        ),
        Mode(
            "direct-r",
            "sft",
            "SFT on the teacher's traces, rewritten into five phases",
            rows_from="rewritten_traces",
            rows_variant="{teacher}__mbt-r",
        ),
        Mode("grpo", "grpo", "GRPO from the base model"),
        Mode("gpt-oss-distill-grpo", "grpo", "GRPO after gpt-oss-distill", parent="gpt-oss-distill"),
        Mode("mbt-s-grpo", "grpo", "GRPO after mbt-s", parent="mbt-s"),
        Mode("mbt-r-grpo", "grpo", "GRPO after mbt-r", parent="mbt-r"),
        Mode("shorter-better", "external", "a ShorterBetter checkpoint, registered by path or Hub id"),
        Mode("token-skip", "external", "a TokenSkip checkpoint, registered by path or Hub id"),
        Mode("limopro", "external", "a LIMOPro checkpoint, registered by path or Hub id"),
    ]
}

REWRITES: dict[str, str] = {"mbt-r": "mbt_r", "distill-r": "distill_r"}
"""Rewriting modes, and the template that asks the teacher for each."""
