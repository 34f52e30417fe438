"""What is wrong with a study although every field of it is right: names, references, modes, adapters."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from partitions.model_sources import NoServer, RemoteServer
from partitions.modes import MODES, ModeKind
from partitions.study import Location, Model, Sampling, Study, Training

FORBIDDEN_IN_SLUGS = ("|", ",", "/", "...", "__")
OWN_WEIGHTS: tuple[ModeKind, ...] = ("sft", "grpo", "external")
"""Kinds of modes whose weights are not their model's."""

CUTS_PROMPTS = {"truncate_prompt_tokens", "truncation_side"}
"""Fields of a request that make a server cut prompts."""


def problems(study: Study) -> Iterator[tuple[Location, str]]:
    """What is wrong with a study as a whole: where, and why with what to do."""
    yield from _slug_problems(study)
    yield from _reference_problems(study)
    yield from _training_problems(("sft",), study.sft)
    yield from _training_problems(("grpo",), study.grpo)
    yield from _sampling_problems(("sampling",), study.sampling)
    yield from _sampling_problems(("judge_sampling",), study.judge_sampling)
    for name, model in study.models.items():
        yield from _mode_problems(name, model)
        yield from _weightless_problems(study, name, model)


def _slug_problems(study: Study) -> Iterator[tuple[Location, str]]:
    named: list[tuple[Location, str]] = [(("name",), study.name)]
    named += [(("datasets", name), name) for name in study.datasets]
    named += [(("models", name), name) for name in study.models]
    for location, slug in named:
        bad = [part for part in FORBIDDEN_IN_SLUGS if part in slug]
        if bad or not slug:
            yield (
                location,
                f"the name {slug!r} must not be empty or contain {' '.join(bad)}: it is part of partition keys",
            )


def _reference_problems(study: Study) -> Iterator[tuple[Location, str]]:
    known = ", ".join(study.models)
    if study.teacher not in study.models:
        yield ("teacher",), f"model {study.teacher!r} has no entry under models (there are: {known})"
    for i, judge in enumerate(study.judges):
        if judge not in study.models:
            yield ("judges", i), f"model {judge!r} has no entry under models (there are: {known})"
        elif judge in study.judges[:i]:
            yield ("judges", i), f"judge {judge!r} stands twice"
    for i, dataset in enumerate(study.training_datasets):
        if dataset not in study.datasets:
            there = ", ".join(study.datasets)
            yield ("training_datasets", i), f"dataset {dataset!r} has no entry under datasets (there are: {there})"
    if not any(model.role == "student" for model in study.models.values()):
        yield ("models",), "no model has the role student: there is nothing to tune"


def _mode_problems(name: str, model: Model) -> Iterator[tuple[Location, str]]:
    if model.modes and "base" not in model.modes:
        yield ("models", name, "modes"), f"model {name!r} has modes but no base: every metric is relative to it"
    for i, mode in enumerate(model.modes):
        location: Location = ("models", name, "modes", i)
        if mode not in MODES:
            yield location, f"unknown mode {mode!r}; known modes: {', '.join(MODES)}"
        elif mode in model.modes[:i]:
            yield location, f"mode {mode!r} stands twice"
        elif MODES[mode].kind != "base" and model.role != "student":
            yield location, f"mode {mode!r} is for students; {name!r} is a {model.role}"
        elif MODES[mode].kind == "grpo" and MODES[mode].parent not in model.modes:
            yield (
                location,
                f"mode {mode!r} starts from {MODES[mode].parent!r}, which is not among the modes of {name!r}",
            )
        elif MODES[mode].kind in OWN_WEIGHTS and isinstance(model.server, RemoteServer):
            yield (
                location,
                f"mode {mode!r} has weights of its own, and the endpoint of {name!r} answers with those that it has:"
                " its scores would stand under weights that never answered. Serve it with vllm, or drop the mode",
            )
    for trainer, training in (("sft", model.sft), ("grpo", model.grpo)):
        if training is not None:
            yield from _training_problems(("models", name, trainer), training)
    yield from _sampling_problems(("models", name, "sampling"), model.sampling)
    for mode in model.external:
        if mode not in MODES or MODES[mode].kind != "external":
            yield ("models", name, "external", mode), f"{mode!r} is no external mode"


def _sampling_problems(where: Location, sampling: Sampling) -> Iterator[tuple[Location, str]]:
    for name in CUTS_PROMPTS & sampling.extra.keys():
        yield (
            (*where, "extra", name),
            f"{name} has the server cut what it is asked, and nothing tells which rows: take it out. A prompt that is"
            " too long fails on its row",
        )


def _weightless_problems(study: Study, name: str, model: Model) -> Iterator[tuple[Location, str]]:
    """What a model without weights cannot do, or one with weights not without a server."""
    if model.has_weights:
        if isinstance(model.server, NoServer):
            yield ("models", name, "server"), f"{name!r} has weights to be asked: say who serves it"
        return
    if not isinstance(model.server, NoServer):
        yield (
            ("models", name, "server"),
            f"{name!r} has no weights (source: imported) that could be served: drop its server",
        )
    if name == study.teacher or name in study.judges or model.role != "student":
        yield ("models", name, "source"), f"{name!r} has no weights (source: imported): it cannot teach or judge"
    for mode, entry in model.external.items():
        if entry.source is not None:
            yield ("models", name, "external", mode), f"{name!r} has no server (source: imported) for any weights"
    for i, mode in enumerate(model.modes):
        if mode in MODES and MODES[mode].kind in ("sft", "grpo"):
            yield (
                ("models", name, "modes", i),
                f"mode {mode!r} trains, and {name!r} has no weights (source: imported): give its source, or import"
                " its rollouts under an external mode",
            )


def _training_problems(where: Location, training: Training) -> Iterator[tuple[Location, str]]:
    yield from _adapter_problems(where, training)
    for mode in training.by_mode:
        at = (*where, "by_mode", mode)
        if mode not in MODES or MODES[mode].kind != where[-1]:
            known = ", ".join(name for name, entry in MODES.items() if entry.kind == where[-1])
            yield at, f"{mode!r} is no mode that {where[-1]} trains; those are: {known}"
        if "by_mode" in training.by_mode[mode]:
            yield (*at, "by_mode"), "a mode's own settings have no by_mode: it would change nothing. Take it out"
        try:
            yield from _adapter_problems(at, training.for_mode(mode))
        except ValidationError as error:
            yield from (((*at, *fault["loc"]), fault["msg"]) for fault in error.errors(include_url=False))


def _adapter_problems(where: Location, settings: Training) -> Iterator[tuple[Location, str]]:
    for name, needed in (("adapter", settings.adapter == "serve"), ("quantize", settings.quantize is not None)):
        if needed and settings.peft is None:
            yield (*where, name), f"{name} is for LoRA adapters: give peft too, for example peft: {{r: 16}}"
