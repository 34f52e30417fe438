"""What each partition's rows depend on besides its parents: prompts, sampling, versions of code, settings.

A partition whose recipe or parents have changed is stale. Pure functions of the study and the files of the project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import sql
from mbt_assets import benchmarks, prompts
from mbt_assets.identities import digest_of, model_identity, reply_terms, weights_state
from mbt_assets.scoring import answer_hits, answers, degeneration, mqi, rrp, traces, udfs, verdicts
from partitions.grid import MARTS, Grid, Node, split_key
from partitions.modes import MODES
from partitions.study import PathSource, Study, split_variant

Recipe = dict[str, Any]

STAGE_VERSIONS = {
    "questions": 1,
    "rollouts": 2,
    "traces": 1,
    "training_sets": 1,
    "sft": 1,
    "grpo": 1,
    "judged": 1,
    "warehouse": 2,
    "report": 1,
}
"""Raised by hand when the code of a stage changes what it makes, or a table its columns."""

FOLDER = Path(__file__).parent
STUDENT_SOURCES = tuple(
    FOLDER / name
    for name in (
        "payloads/make_student.py",
        "payloads/student_lessons.py",
        "payloads/student_tokenizer.py",
        "benchmarks/trails.py",
    )
)
STATISTICS_SOURCES = tuple(FOLDER / "scoring" / f"{name}.py" for name in ("udfs", "stats", "aes", "agreement"))
"""What the functions that SQL calls consist of."""

JUDGE_TASKS: dict[str, tuple[str, str]] = {
    "judge_verdicts": ("verdict", verdicts.SCORER_VERSION),
    "answer_hits": ("answer_hit", answer_hits.SCORER_VERSION),
    "rrp_scores": ("rrp", rrp.SCORER_VERSION),
    "mqi_scores": ("mqi", mqi.SCORER_VERSION),
}
"""For each judged table its prompt template and the version of its parser and score."""

SHOWS_PREDICTION = ("judge_verdicts", "mqi_scores")
"""Judged tables whose judge is shown the extracted answer."""


def recipe(study: Study, node: Node) -> Recipe:
    """The settings that the rows of one partition depend on."""
    return _RECIPES[node.asset](study, node.key)


def fingerprint(made_with: Recipe, inputs: dict[str, str]) -> str:
    """Digest of a recipe and of the data versions of the parents."""
    return digest_of([made_with, inputs])


def code_version(study: Study, asset: str) -> str:
    """Digest of the recipes of all partitions: what Dagster compares to mark an asset as changed."""
    keys = Grid(study).keys(asset)
    return digest_of([recipe(study, Node(asset, key)) for key in keys])[:16]


def scorer_version(asset: str) -> str:
    """Version of the scoring code behind a table of scores."""
    if asset == "answer_scores":
        return f"{answers.SCORER_VERSION}+{degeneration.SCORER_VERSION}"
    return JUDGE_TASKS[asset][1]


def _questions(side: str) -> Callable[[Study, str], Recipe]:
    def of(study: Study, key: str) -> Recipe:
        dataset = study.datasets[key].model_dump(exclude={"train", "validation"})
        split = getattr(study.datasets[key], side).model_dump()
        settings = {"dataset": dataset, "split": split, "seed": study.seed, "version": STAGE_VERSIONS["questions"]}
        return settings | {"source": benchmarks.source_state(dataset["benchmark"], hub_id=dataset["hub_id"])}

    return of


def _base_models(study: Study, key: str) -> Recipe:
    model, _ = split_variant(key)
    made_with: Recipe = {"identity": model_identity(study, model)}
    if study.models[model].source.kind == "embedded":
        made_with |= {"seed": study.seed, "program": student_program()}
    return made_with


def student_program() -> str:
    """Digest of what makes the embedded student: the payload's source, its data's source, its prompts."""
    # Read as text: importing the payload would import torch.
    return digest_of(
        [_source_digests(STUDENT_SOURCES), prompts.digest("answer"), prompts.digest("answer_metacognitive")]
    )


@cache
def statistics_program() -> str:
    """Digest of the functions that SQL calls, as this process has loaded them: an edit counts from the next start."""
    return digest_of(_source_digests(STATISTICS_SOURCES))


def _source_digests(paths: Iterable[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def _generated(study: Study, template: str, model: str) -> Recipe:
    return {
        "template": template,
        "prompt": prompts.digest(template),
        "sampling": study.sampling_of(model).model_dump(exclude_none=True),
        "seed": study.seed,
        "server": reply_terms(study, model),
    }


def _rolled_out(study: Study, template: str, model: str, count: int) -> Recipe:
    versions = {"splitter": answers.SPLITTER_VERSION, "version": STAGE_VERSIONS["rollouts"]}
    return _generated(study, template, model) | {"rollouts": count} | versions


def _train_rollouts(study: Study, key: str) -> Recipe:
    model, _ = split_variant(split_key(key)[1])
    return _rolled_out(study, "answer", model, study.rollouts.train)


def _taught(template: str) -> Callable[[Study, str], Recipe]:
    def of(study: Study, key: str) -> Recipe:
        teacher = model_identity(study, study.teacher)
        versions = {"extractor": traces.EXTRACTOR_VERSION, "version": STAGE_VERSIONS["traces"]}
        return _generated(study, template, study.teacher) | {"teacher": teacher} | versions

    return of


def _rewritten_traces(study: Study, key: str) -> Recipe:
    template = Grid(study).rewrite_template(split_key(key)[1])
    return _taught(template)(study, key) | {"rewrites": study.rollouts.rewrites}


def _training_sets(study: Study, key: str) -> Recipe:
    model, mode = split_variant(split_key(key)[1])
    limits = study.training_of(model, "sft").model_dump(include={"num_rollouts", "num_traces", "limit"})
    made_with: Recipe = {"mode": mode, "version": STAGE_VERSIONS["training_sets"], "prompt": prompts.digest("answer")}
    if MODES[mode].only_correct:
        made_with["scorer"] = answers.SCORER_VERSION
    return made_with | limits


def _sft_checkpoints(study: Study, key: str) -> Recipe:
    model, mode = split_variant(key)
    training = study.training_of(model, "sft")
    settings = {"trl": training.trl_of(mode), "peft": training.peft, "accelerate": training.accelerate}
    return settings | {"seed": study.seed, "version": STAGE_VERSIONS["sft"]}


def _grpo_checkpoints(study: Study, key: str) -> Recipe:
    model, mode = split_variant(key)
    training = study.training_of(model, "grpo")
    settings = {"trl": training.trl_of(mode), "peft": training.peft, "accelerate": training.accelerate}
    limits = {"limit": training.limit, "prompt": prompts.digest("answer"), "seed": study.seed}
    reward = {"splitter": answers.SPLITTER_VERSION, "scorer": answers.SCORER_VERSION}
    return settings | limits | reward | {"version": STAGE_VERSIONS["grpo"]}


def _checkpoints(study: Study, key: str) -> Recipe:
    model, mode = split_variant(key)
    external = study.models[model].external.get(mode)
    made_with: Recipe = {"kind": MODES[mode].kind, "external": external.model_dump() if external else None}
    if external and isinstance(external.source, PathSource):
        made_with["files"] = weights_state(Path(external.source.path))
    return made_with


def _validation_rollouts(study: Study, key: str) -> Recipe:
    model, mode = split_variant(split_key(key)[1])
    return _rolled_out(study, MODES[mode].prompt, model, study.rollouts.validation)


def _answer_scores(study: Study, key: str) -> Recipe:
    return {"scorer": scorer_version("answer_scores")}


def _judged(table: str) -> Callable[[Study, str], Recipe]:
    template, version = JUDGE_TASKS[table]

    def of(study: Study, key: str) -> Recipe:
        judges = {name: model_identity(study, name) for name in study.judges}
        sampling = {
            name: study.sampling_of(name, study.judge_sampling).model_dump(exclude_none=True) for name in study.judges
        }
        made_with: Recipe = {
            "judges": judges,
            "servers": {name: reply_terms(study, name) for name in study.judges},
            "prompt": prompts.digest(template),
            "sampling": sampling,
            "seed": study.seed,
            "scorer": version,
            "version": STAGE_VERSIONS["judged"],
        }
        return made_with | ({"extractor": answers.SCORER_VERSION} if table in SHOWS_PREDICTION else {})

    return of


def _calculated(name: str) -> Recipe:
    """The SQL of a table, and the functions behind it where it calls any."""
    file = sql.load(name)
    calls = any(f"{function}(" in file.statement for function in udfs.FUNCTIONS)
    return {"sql": file.digest} | ({"statistics": statistics_program()} if calls else {})


def _cell_metrics(study: Study, key: str) -> Recipe:
    constants = {"judge": study.judges[0], "resamples": study.resamples, "seed": study.seed}
    return _calculated("cell_metrics") | constants


def _mart(name: str) -> Callable[[Study, str], Recipe]:
    def of(study: Study, key: str) -> Recipe:
        constants = {"aes": study.aes.model_dump(), "judge": study.judges[0], "resamples": study.resamples}
        made_with = _calculated(name) | {"seed": study.seed} | constants
        if name == "cost":
            made_with["prices"] = {
                model: entry.price.model_dump() for model, entry in study.models.items() if entry.price
            }
        return made_with

    return of


def _built(stage: str) -> Callable[[Study, str], Recipe]:
    def of(study: Study, key: str) -> Recipe:
        shown = {"study": study.name, "variants": study.variants, "datasets": list(study.datasets)}
        return {"version": STAGE_VERSIONS[stage]} | shown

    return of


_RECIPES: dict[str, Callable[[Study, str], Recipe]] = {
    "train_questions": _questions("train"),
    "validation_questions": _questions("validation"),
    "base_models": _base_models,
    "train_rollouts": _train_rollouts,
    "gold_solutions": _taught("gold_solution"),
    "synthesized_traces": _taught("mbt_s"),
    "rewritten_traces": _rewritten_traces,
    "training_sets": _training_sets,
    "sft_checkpoints": _sft_checkpoints,
    "grpo_checkpoints": _grpo_checkpoints,
    "checkpoints": _checkpoints,
    "validation_rollouts": _validation_rollouts,
    "answer_scores": _answer_scores,
    **{table: _judged(table) for table in JUDGE_TASKS},
    "cell_metrics": _cell_metrics,
    **{mart: _mart(mart) for mart in MARTS},
    "warehouse": _built("warehouse"),
    "report": _built("report"),
}
