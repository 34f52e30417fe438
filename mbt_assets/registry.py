"""The checkpoint registry against what really lies there.

Weights change in place, Hub revisions move; and a cell must not mix the answers of two checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mbt_assets.benchmarks.hub import COMMIT
from mbt_assets.identities import digest_of, model_identity
from mbt_assets.stage import Stage
from partitions.grid import CELL_SQL, RETESTS, SCORES, Node, registry_origin, split_key
from partitions.model_sources import HubSource, PathSource, RulesSource
from partitions.study import External, Study, split_variant, variant
from resources.checkpoints import CheckpointError, current_digest
from resources.home import Home
from resources.lake import Lake, Stored

DIGEST = "checkpoint_digest"
HUB_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Weights:
    """Weights as they are: where they lie, which revision, and their digest."""

    uri: str
    digest: str
    revision: str | None = None


def resolve(source: HubSource | PathSource, home: Home) -> Weights:
    """What a published or local checkpoint is exactly, now.

    Raises:
        CheckpointError: it cannot be found or is not whole, or the Hub cannot be reached.
    """
    if isinstance(source, PathSource):
        folder = Path(source.path).absolute()
        return Weights(str(folder), current_digest(folder, home.digests))
    revision = source.revision
    if not (revision and COMMIT.fullmatch(revision)):
        revision = _commit(source)
    uri = f"hub://{source.repo}@{revision}"
    return Weights(uri, digest_of(uri), revision)


def _commit(source: HubSource) -> str:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return str(HfApi().model_info(source.repo, revision=source.revision, timeout=HUB_TIMEOUT_S).sha)
    # A name that cannot be one is a ValueError; what the line does wrong is no OSError.
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise CheckpointError(
            f"the Hub did not say what {source.repo} is ({type(error).__name__}: {said}): check the name, the network "
            "and HF_TOKEN, or give a local folder as {kind: path, path: …}"
        ) from error


def in_place(uri: str, digest: str, home: Home) -> Weights:
    """Weights of a registry row as they are now; those that no folder holds cannot change under their uri.

    Raises:
        CheckpointError: the folder is gone or not whole.
    """
    if "://" in uri:
        return Weights(uri, digest)
    return Weights(uri, current_digest(Path(uri), home.digests))


def external_source(study: Study, slug: str) -> HubSource | PathSource:
    """Where the study says that an external checkpoint is.

    Raises:
        CheckpointError: it does not say.
    """
    model, mode = split_variant(slug)
    entry = study.models[model].external.get(mode, External())
    if entry.source is None:
        raise CheckpointError(
            f"checkpoints[{slug}]: the study does not say where this checkpoint is: set "
            f"models.{model}.external.{mode}.source to {{kind: path, path: …}} or {{kind: hub, repo: …}}"
        )
    return entry.source


def weights_now(study: Study, lake: Lake, home: Home, slug: str) -> Weights:
    """What the registry would say of a variant if it were asked again.

    Raises:
        CheckpointError: the weights are gone or not whole, or the Hub cannot be reached.
        LakeError: what the variant is made from was never made.
    """
    model = split_variant(slug)[0]
    if not study.models[model].has_weights:
        raise CheckpointError(f"checkpoints[{slug}]: {model} has no weights here (source: imported)")
    origin = registry_origin(slug)
    if origin is None:
        return resolve(external_source(study, slug), home)
    row = lake.read(origin).row(0, named=True)
    return in_place(row["uri"], row["digest"], home)


def to_materialize(slug: str) -> str:
    """What has to be made again, in order, for the registry to follow files that changed."""
    origin = registry_origin(slug)
    first = f"{origin} and then " if origin is not None and origin.asset == "base_models" else ""
    return f"{first}{Node('checkpoints', slug)}"


def base_now(study: Study, lake: Lake, home: Home, model: str) -> Weights:
    """What a base model is now, by the study's own word: a Hub revision moves, a folder is replaced.

    Raises:
        CheckpointError: it is gone or not whole, or the Hub cannot be reached.
        LakeError: an embedded student was never made.
    """
    source = study.models[model].source
    if isinstance(source, HubSource | PathSource):
        return resolve(source, home)
    if isinstance(source, RulesSource):
        return Weights(f"rules://{model}", model_identity(study, model))
    row = lake.read(Node("base_models", variant(model, "base"))).row(0, named=True)
    return in_place(row["uri"], row["digest"], home)


def verified(stage: Stage, row: dict[str, Any], node: Node) -> dict[str, Any]:
    """A registry row whose weights are still those that were registered.

    Args:
        stage: knows the home.
        row: with `uri` and `digest`.
        node: the partition that the row is of.

    Raises:
        CheckpointError: the weights are gone, damaged or others than were registered.
    """
    if in_place(row["uri"], row["digest"], stage.home).digest != row["digest"]:
        raise CheckpointError(
            f"{stage.node}: the files of {row['uri']} have changed since {node} registered them: materialize {node} "
            "again"
        )
    return row


def check_landing(stage: Stage, frame: pl.DataFrame) -> None:
    """See, just before rows land, that they are of the checkpoint that is registered and lies there now.

    Args:
        stage: a partition of a cell.
        frame: rows with `checkpoint_digest`; figures of a cell, which have none, are held against its scores.

    Rows that were imported are of no checkpoint that could be looked at: scores must be of those very rows then.

    Raises:
        CheckpointError: the checkpoint, or the imported rows, changed in the meantime; nothing lands.
    """
    rollouts = Node("validation_rollouts", stage.node.key)
    if stage.lake.imported(rollouts) is not None:
        if _own_digests(stage, frame) - stage.lake.values(rollouts, DIGEST):
            raise CheckpointError(f"{stage.node}: {rollouts} was imported anew since: make the cell's scores again")
        return
    node = Node("checkpoints", split_key(stage.node.key)[1])
    row = verified(stage, stage.read(node.asset, node.key).row(0, named=True), node)
    if _own_digests(stage, frame) - {row["digest"]}:
        raise CheckpointError(
            f"{stage.node}: {node} has changed since these rollouts were made: materialize "
            f"validation_rollouts[{stage.node.key}] again, and then its scores"
        )


def _own_digests(stage: Stage, frame: pl.DataFrame) -> set[str]:
    return set(frame[DIGEST].unique()) if DIGEST in frame.columns else scored_digests(stage.lake, stage.node.key)


def scored_digests(lake: Lake, key: str, tables: Sequence[str] = SCORES) -> set[str]:
    """The digests that the scores of a cell were computed from; more than one where a re-score was cut off."""
    return {digest for table in tables for digest in lake.values(Node(table, key), DIGEST)}


@dataclass(frozen=True)
class Scored:
    """What a cell's scores and figures are of.

    Attributes:
        digest: of the one checkpoint that answered; None where they are of several.
        current: the figures were computed from the scores that are there.
        scorers: for each table of scores that there is, the version of its scorer.
    """

    digest: str | None
    current: bool
    scorers: dict[str, Any]


def scored_from(lake: Lake, key: str) -> Scored | None:
    """What a cell was scored from; None where it never was.

    Raises:
        LakeError: a file of the cell is damaged.
    """
    figures = lake.stored(Node("cell_metrics", key))
    scores = {table: found for table in SCORES if (found := lake.stored(Node(table, key)))}
    if figures is None or len(scores) < len(SCORES):
        return None
    # No figure but those of the judges needs them: a cell that was scored without them stays as it is.
    retests = lake.stored(Node(RETESTS, key))
    made = scores | ({RETESTS: retests} if retests else {})
    uses = _uses(lake, key, made)
    # Rows name their checkpoint: of another one, every table has other rows, and a figure knows none of them.
    known = all(any(used) for used in uses.values())
    digests = scored_digests(lake, key, (*SCORES, RETESTS)) if known else set()
    scorers = {table: found.provenance.recipe.get("scorer") for table, found in made.items()}
    current = all(all(used) for used in uses.values())
    return Scored(digests.pop() if len(digests) == 1 else None, current, scorers)


def _uses(lake: Lake, key: str, scores: Mapping[str, Stored]) -> dict[str, list[bool]]:
    """For each figure, and each table of scores behind it, whether it was computed from the rows that are there.

    A figure that is made from another one stands on what that one stands on, as long as it is that one still.
    """
    versions = {str(Node(table, key)): found.data_version for table, found in scores.items()}
    uses: dict[str, list[bool]] = {}
    for table in CELL_SQL:
        figures = lake.stored(Node(table, key))
        if figures is None:
            continue
        inputs = figures.provenance.inputs
        own = [inputs[node] == version for node, version in versions.items() if node in inputs]
        for earlier, behind in list(uses.items()):
            if (node := str(Node(earlier, key))) in inputs:
                own += behind if inputs[node] == versions[node] else [False]
        uses[table] = own
        versions[str(Node(table, key))] = figures.data_version
    return uses


def mixed_cells(lake: Lake, keys: Iterable[str]) -> list[str]:
    """The cells whose scores and figures are of several checkpoints: a re-score is under way, or was cut off."""
    scored = {key: scored_from(lake, key) for key in keys}
    return [key for key, found in scored.items() if found is not None and found.digest is None]
