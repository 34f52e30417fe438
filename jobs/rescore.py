"""Which cells to score again after a checkpoint or a scorer changed. Pure: it compares, it does not remember."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CellState:
    """What a re-scoring decision about one cell needs.

    Attributes:
        key: the cell's partition key.
        checkpoint_digest: digest of the variant's registered checkpoint; None where there is none yet.
        scored_digest: checkpoint digest that the stored scores were computed from; None where there are none.
        scorer_version: versions of the scorers now.
        scored_version: versions that the stored scores were computed by.
    """

    key: str
    checkpoint_digest: str | None
    scored_digest: str | None
    scorer_version: str
    scored_version: str | None

    @property
    def stale(self) -> bool:
        """Scored once, but from other weights or by another scorer than now."""
        if self.checkpoint_digest is None or self.scored_digest is None:
            return False
        return (self.checkpoint_digest, self.scorer_version) != (self.scored_digest, self.scored_version)

    @property
    def target(self) -> str:
        """Names what the cell has to be scored for; the same until digest or version change again."""
        return f"{self.key}:{(self.checkpoint_digest or '')[:16]}:{self.scorer_version}"


@dataclass(frozen=True)
class History:
    """Earlier requests for one target: how many were made, and whether one is still under way."""

    attempts: int = 0
    running: bool = False


@dataclass(frozen=True)
class Rescore:
    """One request: the cell, what it is for, and which attempt it is (from 1)."""

    key: str
    target: str
    attempt: int

    @property
    def run_key(self) -> str:
        """Unique per cell, digest, scorer version and attempt."""
        return f"{self.target}:{self.attempt}"


def decide(
    cells: Iterable[CellState], history: Mapping[str, History], *, max_attempts: int, max_requests: int
) -> tuple[list[Rescore], list[str]]:
    """The cells to request now.

    Args:
        cells: every cell of the study.
        history: earlier requests by target.
        max_attempts: requests per target at most.
        max_requests: requests of this tick at most; the rest comes with the next.

    Returns:
        The requests, and the keys of stale cells that are given up after too many attempts.
    """
    requests: list[Rescore] = []
    given_up: list[str] = []
    for cell in cells:
        past = history.get(cell.target, History())
        if not cell.stale or past.running:
            continue
        if past.attempts >= max_attempts:
            given_up.append(cell.key)
        elif len(requests) < max_requests:
            requests.append(Rescore(cell.key, cell.target, past.attempts + 1))
    return requests, given_up
