"""What each partition's rows depend on besides its parents: prompts, sampling, versions of code, settings.

A partition whose recipe or parents have changed is stale. Pure functions of the study and the files of the project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import sql
from mbt_assets import benchmarks, prompts
from mbt_assets.benchmarks import hub
from mbt_assets.identities import digest_of, model_identity, reply_terms
from mbt_assets.scoring import answer_hits, answers, degeneration, mqi, rrp, traces, udfs, verdicts
from partitions.grid import CELL_SQL, MARTS, RETESTS, Grid, Node, split_key
from partitions.model_sources import PathSource
from partitions.modes import MODES
from partitions.study import Model, Published, Study, split_variant
from resources.accelerate_configs import ComputeError, config_file
from resources.checkpoints import MISSING, folder_state

Recipe = dict[str, Any]

STAGE_VERSIONS = {
    "questions": 1,
    "rollouts": 2,
    "traces": 1,
    "training_sets": 2,
    "sft": 2,
    "grpo": 2,
    "judged": 2,
    "published": 2,
    "imported": 1,
    "warehouse": 3,
    "report": 3,
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
STATISTICS = ("udfs", "stats", "pooled", "ratings", "aes", "agreement")
STATISTICS_SOURCES = tuple(FOLDER / "scoring" / f"{name}.py" for name in STATISTICS)
"""What the functions that SQL calls consist of."""

JUDGE_TASKS: dict[str, tuple[str, str]] = {
    "judge_verdicts": ("verdict", verdicts.SCORER_VERSION),
    "answer_hits": ("answer_hit", answer_hits.SCORER_VERSION),
    "rrp_scores": ("rrp", rrp.SCORER_VERSION),
    "mqi_scores": ("mqi", mqi.SCORER_VERSION),
}
"""For each judged table its prompt template and the version of its parser and score."""

ROW_LIMITS = ("num_rollouts", "num_traces", "max_chars", "limit", "drop_leaked")
WEIGHT_SETTINGS = ("trl", "peft", "adapter", "quantize", "accelerate", "too_long")
"""Fields of a trainer's settings: those that choose its rows, and those that its weights depend on."""

SHOWS_PREDICTION = ("judge_verdicts", "mqi_scores")
"""Judged tables whose judge is shown the extracted answer."""


def recipe(study: Study, node: Node) -> Recipe:
    """The settings that the rows of one partition depend on."""
    entry = study.published.get(str(node))
    return _published(entry) if entry else _RECIPES[node.asset](study, node.key)


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
    if asset == RETESTS:
        return "+".join(version for _, version in JUDGE_TASKS.values())
    return JUDGE_TASKS[asset][1]


def _published(entry: Published) -> Recipe:
    """Of rows that come from the Hub: which ones, and how they are read. No model and no prompt of ours."""
    versions = {"splitter": answers.SPLITTER_VERSION, "version": STAGE_VERSIONS["published"]}
    return {"source": "hub", **entry.model_dump(), "files": hub.source_state(entry.repo)} | versions


def imported_recipe(made_with: Recipe) -> Recipe:
    """Of rows that were imported from a file: what they were once, read as they would be read now."""
    return made_with | {"splitter": answers.SPLITTER_VERSION, "version": STAGE_VERSIONS["imported"]}


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
    _, slug = split_key(key)
    mode = split_variant(slug)[1]
    limits = study.training_of(slug, "sft").model_dump(include=set(ROW_LIMITS))
    made_with: Recipe = {"mode": mode, "version": STAGE_VERSIONS["training_sets"], "prompt": prompts.digest("answer")}
    if MODES[mode].only_correct:
        made_with["scorer"] = answers.SCORER_VERSION
    return made_with | limits


def _accelerate_state(name: str) -> str:
    """Digest of what an accelerate config says: it may change the arithmetic, and stands outside of the study."""
    try:
        return hashlib.sha256(config_file(name).read_bytes()).hexdigest()
    except ComputeError:
        return MISSING


def _trained(study: Study, key: str, trainer: Literal["sft", "grpo"]) -> Recipe:
    training = study.training_of(key, trainer)
    made_with: Recipe = training.model_dump(include=set(WEIGHT_SETTINGS))
    if training.accelerate:
        made_with["accelerate_file"] = _accelerate_state(training.accelerate)
        # Each one is a process with a batch of its own.
        made_with["gpus"] = study.models[split_variant(key)[0]].compute.training_gpus
    return made_with | {"seed": study.seed, "version": STAGE_VERSIONS[trainer]}


def _sft_checkpoints(study: Study, key: str) -> Recipe:
    return _trained(study, key, "sft")


def _grpo_checkpoints(study: Study, key: str) -> Recipe:
    training = study.training_of(key, "grpo")
    rows = {"limit": training.limit, "drop_leaked": training.drop_leaked, "prompt": prompts.digest("answer")}
    reward = {"splitter": answers.SPLITTER_VERSION, "scorer": answers.SCORER_VERSION}
    return _trained(study, key, "grpo") | rows | reward


def _checkpoints(study: Study, key: str) -> Recipe:
    model, mode = split_variant(key)
    external = study.models[model].external.get(mode)
    made_with: Recipe = {"kind": MODES[mode].kind, "external": external.model_dump() if external else None}
    if external and isinstance(external.source, PathSource):
        made_with["files"] = folder_state(Path(external.source.path))
    return made_with


def _validation_rollouts(study: Study, key: str) -> Recipe:
    model, mode = split_variant(split_key(key)[1])
    return _rolled_out(study, MODES[mode].prompt, model, study.rollouts.validation)


def _answer_scores(study: Study, key: str) -> Recipe:
    return {"scorer": scorer_version("answer_scores")}


def _held(judge: Model) -> Recipe:
    """What decides which of a judge's replies count."""
    return {"structured": judge.structured, "context": judge.context}


def _by_judges(study: Study) -> Recipe:
    """How the judges are asked, whatever they are asked."""
    sampling = {name: study.sampling_of(name, study.judge_sampling) for name in study.judges}
    return {
        "judges": {name: model_identity(study, name) for name in study.judges},
        "servers": {name: reply_terms(study, name) | _held(study.models[name]) for name in study.judges},
        "sampling": {name: settings.model_dump(exclude_none=True) for name, settings in sampling.items()},
        "seed": study.seed,
        "reasks": study.limits.judge_reasks,
        "version": STAGE_VERSIONS["judged"],
    }


def _judged(table: str) -> Callable[[Study, str], Recipe]:
    template, version = JUDGE_TASKS[table]

    def of(study: Study, key: str) -> Recipe:
        made_with = _by_judges(study) | {"prompt": prompts.digest(template), "scorer": version}
        return made_with | ({"extractor": answers.SCORER_VERSION} if table in SHOWS_PREDICTION else {})

    return of


def _judge_retests(study: Study, key: str) -> Recipe:
    asked = {template: prompts.digest(template) for template, _ in JUDGE_TASKS.values()}
    versions = {"scorer": scorer_version(RETESTS), "extractor": answers.SCORER_VERSION}
    return _by_judges(study) | versions | {"prompts": asked, "sample": study.limits.retest_sample}


def _calculated(name: str) -> Recipe:
    """The SQL of a table, and the functions behind it where it calls any."""
    file = sql.load(name)
    calls = any(f"{function}(" in file.statement for function in udfs.FUNCTIONS)
    return {"sql": file.digest} | ({"statistics": statistics_program()} if calls else {})


def _cell_sql(name: str) -> Callable[[Study, str], Recipe]:
    def of(study: Study, key: str) -> Recipe:
        made_with = _calculated(name)
        if "settings" in sql.load(name).inputs:
            made_with["judge"] = study.judges[0]
        return made_with | ({"resamples": study.resamples, "seed": study.seed} if "statistics" in made_with else {})

    return of


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


def _warehouse(study: Study, key: str) -> Recipe:
    return _built("warehouse")(study, key) | {"views": [sql.load(name).digest for name in sql.VIEWS]}


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
    RETESTS: _judge_retests,
    **{name: _cell_sql(name) for name in CELL_SQL},
    **{mart: _mart(mart) for mart in MARTS},
    "warehouse": _warehouse,
    "report": _built("report"),
}
