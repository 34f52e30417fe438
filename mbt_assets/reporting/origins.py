"""What the numbers were made from: questions, weights, prompts, scorers, marts, licences, software."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl

import mbt_assets
from mbt_assets import prompts
from mbt_assets.exporting.redaction import without_folders, without_secrets
from mbt_assets.publishing.licences import Terms, terms_of
from mbt_assets.recipes import JUDGE_TASKS
from mbt_assets.staleness import Standing
from mbt_assets.training_notes import git_commit
from partitions.grid import MARTS, Node
from partitions.study import Study

PACKAGES = (
    "dagster",
    "duckdb",
    "polars",
    "pyarrow",
    "numpy",
    "openai",
    "matplotlib",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "vllm",
)
CHECKPOINTS = "SELECT variant, kind, uri, digest, parent_digest, training_set_digest FROM checkpoints ORDER BY variant"


@dataclass(frozen=True)
class Origins:
    """What the numbers were made from.

    Attributes:
        questions: of each dataset: benchmark, where from, rows, data version.
        checkpoints: of each variant: kind, name of its weights, digest, its parent's, its training set's.
        steps: of each table: prompt with its version and digest, version of the scorer, number of partitions.
        marts: of each mart: rows, data version, when it was made.
        terms: the licence of each dataset's texts.
        models: of each model: role, and where its weights are from.
    """

    questions: list[tuple[str, ...]]
    checkpoints: list[tuple[str, ...]]
    steps: list[tuple[str, ...]]
    marts: list[tuple[str, ...]]
    terms: tuple[Terms, ...]
    models: list[tuple[str, str, str]]


def origins_of(study: Study, standings: Mapping[Node, Standing], checkpoints: pl.DataFrame) -> Origins:
    """What the study's numbers were made from, as it is noted beside the rows.

    Args:
        study: the study.
        standings: of its partitions.
        checkpoints: the registry, by `CHECKPOINTS`.
    """
    return Origins(
        [_question(study, dataset, standings) for dataset in study.datasets],
        [_checkpoint(row) for row in checkpoints.rows(named=True)],
        _steps(standings),
        [_mart(mart, standings.get(Node(mart))) for mart in MARTS],
        terms_of(study, study.datasets),
        [(name, model.role, place(_source(model.source))) for name, model in study.models.items()],
    )


def _question(study: Study, dataset: str, standings: Mapping[Node, Standing]) -> tuple[str, ...]:
    entry = study.datasets[dataset]
    standing = standings.get(Node("validation_questions", dataset))
    stored = standing.stored if standing else None
    if stored is None:
        return (dataset, entry.benchmark, "–", "–", "–")
    source = stored.provenance.source or entry.revision or "–"
    return (dataset, entry.benchmark, place(source), f"{stored.rows:,}", stored.data_version)


def _checkpoint(row: dict[str, Any]) -> tuple[str, ...]:
    digests = [row[name] or "–" for name in ("digest", "parent_digest", "training_set_digest")]
    return (row["variant"], row["kind"], place(row["uri"]), *digests)


def place(address: str) -> str:
    """Where something is from, without secrets; of a folder of this machine the name alone."""
    return str(without_folders(without_secrets(address)))


def _source(source: Any) -> str:
    repo, revision = getattr(source, "repo", None), getattr(source, "revision", None)
    if repo:
        return f"{repo}@{revision}" if revision else str(repo)
    return str(getattr(source, "path", None) or source.kind)


def _steps(standings: Mapping[Node, Standing]) -> list[tuple[str, ...]]:
    """Prompts and scorers by table, as noted when its partitions were made: there may be several, if some are old."""
    known = {prompts.digest(name): f"{name}, version {prompts.version(name)}" for name in prompts.NAMES}
    counted: dict[tuple[str, ...], int] = {}
    for node, standing in standings.items():
        if standing.stored is None:
            continue
        recipe = standing.stored.provenance.recipe
        for digest in _prompts(recipe):
            template = str(recipe.get("template") or JUDGE_TASKS.get(node.asset, ("",))[0])
            name = known.get(digest) or f"{template or 'a prompt'}, another wording than now"
            key = (node.asset, name, digest, str(recipe.get("scorer", "–")))
            counted[key] = counted.get(key, 0) + 1
        if not _prompts(recipe) and "scorer" in recipe:
            key = (node.asset, "–", "–", str(recipe["scorer"]))
            counted[key] = counted.get(key, 0) + 1
    return [(*key, str(count)) for key, count in counted.items()]


def _short(commit: str) -> str:
    digest, dash, dirty = commit.partition("-")
    return f"{digest[:12]}{dash}{dirty}"


def _prompts(recipe: Mapping[str, Any]) -> list[str]:
    one = recipe.get("prompt")
    return [str(one)] if one else [str(digest) for digest in recipe.get("prompts", {}).values()]


def _mart(name: str, standing: Standing | None) -> tuple[str, ...]:
    if standing is None or standing.stored is None:
        return (name, "–", "–", "–")
    stored = standing.stored
    return (name, f"{stored.rows:,}", stored.data_version, stored.provenance.created_at)


def software() -> list[tuple[str, str]]:
    """Name and version of what is installed here, as far as numbers may depend on it."""
    commit = git_commit()
    found = [("mbt-assets", f"{mbt_assets.__version__}{f', commit {_short(commit)}' if commit else ''}")]
    found += [("Python", platform.python_version()), ("system", f"{platform.system()} {platform.machine()}")]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
