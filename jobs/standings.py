"""How base models, registered checkpoints and scored cells stand, read from the lake and from where the weights lie."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from jobs.rescore import Standing, Step
from mbt_assets.identities import digest_of
from mbt_assets.recipes import scorer_version
from mbt_assets.registry import Weights, base_now, scored_from, weights_now
from partitions.grid import RETESTS, SCORES, Grid, Node, registry_origin, split_key
from partitions.model_sources import HubSource
from partitions.study import Study, base_of, split_variant
from resources.artifacts import Artifacts
from resources.checkpoints import CheckpointError
from resources.home import Home
from resources.lake import LakeError

HUB_EVERY_S = 600.0
"""A revision on the Hub is asked for at most this often."""
UNFINISHED = "unfinished"
"""Stands for the digest of a cell whose scores are of several checkpoints, or whose figures are older than they."""


def scorer_versions() -> str:
    """All scorer versions as one short digest."""
    return digest_of({asset: scorer_version(asset) for asset in (*SCORES, RETESTS)})[:12]


class Standings:
    """Looks at a study again and again; answers of the Hub are kept for a while, since every tick would ask.

    Args:
        study: the study.
        artifacts: finds what is stored.
        home: where its files lie.
    """

    def __init__(self, study: Study, artifacts: Artifacts, home: Home):
        self.study = study
        self.grid = Grid(study)
        self.artifacts = artifacts
        self.home = home
        self._asked: dict[str, tuple[float, Weights | CheckpointError]] = {}

    def now(self) -> list[Standing]:
        """One standing per base model, checkpoint and cell that was ever scored, and of the Hub's and disk's state."""
        keys = self.grid.keys("cell_metrics")
        with ThreadPoolExecutor(8) as pool:
            found = dict(zip(keys, pool.map(self._scored, keys), strict=True))
        # Rows that were imported stay what they are, whatever becomes of the checkpoint.
        imported = self.artifacts.imported_cells()
        scored = {split_key(key)[1] for key, made in found.items() if isinstance(made, str) and key not in imported}
        weights = {slug: self._weights(slug) for slug in self.grid.variants if slug in scored}
        bases = dict.fromkeys(base_of(slug) for slug in weights if _rests_on_base(slug))
        return [
            *(self._base(slug) for slug in bases),
            *(self._checkpoint(slug, now) for slug, now in weights.items()),
            *self._cells({key: made for key, made in found.items() if key not in imported}, weights),
            *self._imported_cells({key: made for key, made in found.items() if key in imported}),
        ]

    def _base(self, slug: str) -> Standing:
        return self._registered("base", Node("base_models", slug), self._weights(slug), ())

    def _checkpoint(self, slug: str, now: Weights | CheckpointError) -> Standing:
        needs = (base_of(slug),) if _rests_on_base(slug) else ()
        return self._registered("checkpoint", Node("checkpoints", slug), now, needs)

    def _registered(self, step: Step, node: Node, now: Weights | CheckpointError, needs: tuple[str, ...]) -> Standing:
        try:
            stored = next(iter(self.artifacts.lake.values(node, "digest")), None)
        except LakeError as error:
            return Standing(step, node.key, "", "", needs, str(error))
        return _standing(step, node.key, now, stored, needs=needs)

    def _cells(
        self, found: dict[str, str | LakeError | None], weights: dict[str, Weights | CheckpointError]
    ) -> Iterator[Standing]:
        versions = scorer_versions()
        for key, made in found.items():
            slug = split_key(key)[1]
            if isinstance(made, LakeError):
                yield Standing("cell", key, "", "", (slug,), str(made))
            elif made is not None:
                yield _standing("cell", key, weights[slug], made, versions=versions, needs=(slug,))

    def _imported_cells(self, found: dict[str, str | LakeError | None]) -> Iterator[Standing]:
        """Cells of imported rollouts: outdated where others were imported since, or a scorer has changed."""
        versions = scorer_versions()
        for key, made in found.items():
            if isinstance(made, LakeError):
                yield Standing("cell", key, "", "", (), str(made))
            elif made is not None:
                digests = self.artifacts.lake.values(Node("validation_rollouts", key), "checkpoint_digest")
                yield Standing("cell", key, f"{''.join(sorted(digests))}:{versions}", made)

    def _weights(self, slug: str) -> Weights | CheckpointError:
        """What a variant's weights are now, or why that cannot be told."""
        model, mode = split_variant(slug)
        if not _rests_on_base(slug):
            entry = self.study.models[model].external.get(mode)
            source = entry.source if entry else None
            return self._kept(slug, source, partial(weights_now, self.study, self.artifacts.lake, self.home, slug))
        return self._kept(
            model, self.study.models[model].source, partial(base_now, self.study, self.artifacts.lake, self.home, model)
        )

    def _kept(self, name: str, source: object, ask: Callable[[], Weights]) -> Weights | CheckpointError:
        known = self._asked.get(name)
        if isinstance(source, HubSource) and known and time.monotonic() < known[0] + HUB_EVERY_S:
            return known[1]
        try:
            answer: Weights | CheckpointError = ask()
        except (CheckpointError, LakeError, OSError) as error:
            answer = CheckpointError(str(error))
        self._asked[name] = (time.monotonic(), answer)
        return answer

    def _scored(self, key: str) -> str | LakeError | None:
        """Digest and scorer versions that a cell's figures were made from; None where it was never scored."""
        try:
            made = scored_from(self.artifacts.lake, key)
        except LakeError as error:
            return error
        if made is None:
            return None
        digest = made.digest if made.digest and made.current else UNFINISHED
        return f"{digest}:{digest_of({RETESTS: scorer_version(RETESTS)} | made.scorers)[:12]}"


def _rests_on_base(slug: str) -> bool:
    origin = registry_origin(slug)
    return origin is not None and origin.asset == "base_models"


def _standing(
    step: Step,
    key: str,
    now: Weights | CheckpointError,
    found: str | None,
    *,
    versions: str = "",
    needs: tuple[str, ...] = (),
) -> Standing:
    if isinstance(now, CheckpointError):
        return Standing(step, key, "", found, needs, str(now))
    wanted = f"{now.digest}:{versions}" if versions else now.digest
    return Standing(step, key, wanted, found, needs)
