"""What a study needs from the Hugging Face Hub: the weights of its models, and its data sets.

Pure functions of the study: nothing here asks the Hub or looks at a disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import Literal

from mbt_assets.benchmarks import BENCHMARKS
from mbt_assets.benchmarks.hub import COMMIT
from partitions.model_sources import HubSource, RemoteServer
from partitions.study import Model, Study, variant

Kind = Literal["model", "dataset"]

WEIGHTS = "*.safetensors"
OLDER_WEIGHTS = ("*.bin", "*.pt", "*.pth")
LOADED = ("*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken", "tokenizer*")
CODE = "*.py"
DUPLICATES = ("original/*", "onnx/*", "openvino/*", "metal/*")
"""Folders in which publishers put the same weights again for other programs; vLLM passes over `original` too."""
SHARDS, CONSOLIDATED = "model*.safetensors", "consolidated*.safetensors"


class FetchError(ValueError):
    """What was asked for cannot be fetched as it stands; the message says why and what to do."""


@dataclass(frozen=True)
class Repository:
    """One repository at one revision.

    Attributes:
        kind: what the Hub has it as.
        repo: `owner/name`.
        revision: branch, tag or commit; None for the newest.
        names: what the study calls it: a model, a `model__mode`, a dataset, a published partition.
        remote_code: its Python files are run, so they are needed too.
    """

    kind: Kind
    repo: str
    revision: str | None
    names: tuple[str, ...]
    remote_code: bool = False

    @property
    def pinned(self) -> bool:
        """Whether the revision is a full commit, whose files never change."""
        return bool(self.revision and COMMIT.fullmatch(self.revision))


def needed(study: Study) -> list[Repository]:
    """Every repository that the study reads from the Hub, each revision once, in the study's order.

    Raises:
        FetchError: a dataset's benchmark is unknown.
    """
    found: dict[tuple[str, str, str | None], Repository] = {}
    for one in (*_models(study), *_datasets(study)):
        key = (one.kind, one.repo, one.revision)
        known = found.get(key, replace(one, names=()))
        remote_code = known.remote_code or one.remote_code
        found[key] = replace(known, names=(*known.names, *one.names), remote_code=remote_code)
    return list(found.values())


def chosen(repositories: Sequence[Repository], only: Collection[str]) -> list[Repository]:
    """Those that are called by Hub id or by the study's name; all where nothing is called.

    Raises:
        FetchError: nothing bears such a name.
    """
    known = {name for one in repositories for name in (one.repo, *one.names)}
    if unknown := [name for name in only if name not in known]:
        there = "; ".join(f"{one.repo} ({', '.join(one.names)})" for one in repositories) or "nothing"
        raise FetchError(f"--only {unknown[0]}: not among what is needed from the Hub; that is: {there}")
    return [one for one in repositories if not only or {one.repo, *one.names} & set(only)]


def patterns(repository: Repository, files: Collection[str]) -> tuple[list[str] | None, list[str] | None]:
    """Which of a repository's files are needed, as `allow_patterns` and `ignore_patterns`; None for no bound.

    Of a model, what loads it and its tokenizer: safetensors, or older formats where there are none. Of a data set
    everything: which file belongs to which configuration only its own README says.

    Raises:
        FetchError: a model without weights.
    """
    if repository.kind == "dataset":
        return None, None
    ignore = list(DUPLICATES)
    ours = [name for name in files if not _matches(name, ignore)]
    if any(_matches(name, [SHARDS]) for name in ours):
        ignore.append(CONSOLIDATED)
    weights = next((kind for kind in ((WEIGHTS,), OLDER_WEIGHTS) if any(_matches(name, kind) for name in ours)), None)
    if weights is None:
        raise FetchError(
            f"{repository.repo} holds no weights that a study could use, neither safetensors nor *.bin: name another"
        )
    return [*weights, *LOADED, *([CODE] if repository.remote_code else [])], ignore


def _matches(name: str, any_of: Collection[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in any_of)


def _models(study: Study) -> Iterator[Repository]:
    for name, model in study.models.items():
        if isinstance(model.source, HubSource) and _loaded_here(model):
            yield _of_source(model, model.source, name)
        for mode, external in model.external.items():
            if isinstance(external.source, HubSource):
                yield _of_source(model, external.source, variant(name, mode))


def _loaded_here(model: Model) -> bool:
    """Weights that only somebody else's server loads stay where they are; a student's are trained here."""
    return model.role == "student" or not isinstance(model.server, RemoteServer)


def _of_source(model: Model, source: HubSource, name: str) -> Repository:
    return Repository("model", source.repo, source.revision, (name,), model.trust_remote_code)


def _datasets(study: Study) -> Iterator[Repository]:
    for name, dataset in study.datasets.items():
        benchmark = BENCHMARKS.get(dataset.benchmark)
        if benchmark is None:
            raise FetchError(
                f"datasets.{name}: there is no benchmark '{dataset.benchmark}'; known are {', '.join(BENCHMARKS)}"
            )
        hub_id = dataset.hub_id or benchmark.hub_id
        if benchmark.generate is None and hub_id:
            yield Repository("dataset", hub_id, dataset.revision, (name,))
    # Rows that others have published take the place of those that a model would be asked for.
    for partition, rows in study.published.items():
        yield Repository("dataset", rows.repo, rows.revision, (partition,))
