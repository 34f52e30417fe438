"""What to do after a checkpoint or a scorer changed. Pure: it compares tables, it does not remember.

A change is worked off in three steps, each of which waits for the one before: a base model is resolved again, a
variant's checkpoint is registered again, its scored cells are rolled out and scored again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Step = Literal["base", "checkpoint", "cell"]
STEPS: tuple[Step, ...] = ("base", "checkpoint", "cell")


@dataclass(frozen=True)
class Standing:
    """How one base model, registered checkpoint or scored cell stands.

    Attributes:
        step: which of the three it is.
        key: its partition key.
        wanted: what it would be made from now: a digest, for a cell with `:` and the versions of its scorers.
        found: what it was made from; None where it was never made, which is nothing to be made again.
        needs: keys of the step before that it waits for.
        problem: why `wanted` cannot be told; nothing is asked for then.
    """

    step: Step
    key: str
    wanted: str
    found: str | None
    needs: tuple[str, ...] = ()
    problem: str = ""

    @property
    def outdated(self) -> bool:
        """Made once, but from something else than now."""
        return not self.problem and self.found is not None and self.found != self.wanted

    @property
    def weights_changed(self) -> bool:
        """Outdated because of its weights, not of its scorers alone."""
        return self.outdated and self.wanted.partition(":")[0] != (self.found or "").partition(":")[0]

    @property
    def target(self) -> str:
        """Names what has to be done; the same until what is wanted changes again."""
        return f"{self.step}:{self.key}:{self.wanted}"


@dataclass(frozen=True)
class History:
    """Earlier requests for one target.

    Attributes:
        attempts: how many there were since the last one that succeeded: weights may come back to what they were.
        total: how many there ever were.
        running: whether one is still under way.
        ended: Unix time at which the last one ended.
    """

    attempts: int = 0
    total: int = 0
    running: bool = False
    ended: float = 0.0


@dataclass(frozen=True)
class Limits:
    """Bounds of what is asked for.

    Attributes:
        attempts: requests of one target at most.
        per_tick: requests of one tick at most.
        pause_s: seconds from a failed attempt to the next; twice as many after each further one.
    """

    attempts: int = 3
    per_tick: int = 20
    pause_s: float = 300.0

    def pause_after(self, attempts: int) -> float:
        """Seconds to wait after so many attempts."""
        return self.pause_s * 2 ** max(attempts - 1, 0)


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        step: what is to be done.
        key: for which partition.
        target: what it is for.
        attempt: which attempt it is since the last that succeeded, from 1.
        number: which request for this target it is at all, from 1.
    """

    step: Step
    key: str
    target: str
    attempt: int
    number: int

    @property
    def run_key(self) -> str:
        """Unique per target and request."""
        return f"{self.target}:{self.number}"


@dataclass(frozen=True)
class Decision:
    """What one tick does.

    Attributes:
        requests: to be made now.
        changed: variants whose checkpoint is another than their scores or the registry say.
        running: keys under way.
        waiting: keys that wait: for an earlier step, for the end of a pause, or for the next tick's share.
        given_up: keys that failed too often.
        problems: key and reason of each whose weights could not be looked at.
    """

    requests: tuple[Request, ...]
    changed: tuple[str, ...]
    running: tuple[str, ...]
    waiting: tuple[str, ...]
    given_up: tuple[str, ...]
    problems: tuple[tuple[str, str], ...]

    @property
    def message(self) -> str:
        """The tick in one line."""
        cells = sum(request.step == "cell" for request in self.requests)
        others = len(self.requests) - cells
        parts = [
            f"{_counted(len(self.changed), 'checkpoint')} changed",
            *([f"{_counted(others, 'registration')} requested"] if others else []),
            f"{_counted(cells, 'cell')} requested",
            f"{len(self.waiting)} waiting",
            *([f"{len(self.running)} running"] if self.running else []),
            *([f"{len(self.given_up)} given up: {', '.join(self.given_up)}"] if self.given_up else []),
            *(f"{key} cannot be looked at: {why}" for key, why in self.problems),
        ]
        return ", ".join(parts)


def decide(standings: Iterable[Standing], history: Mapping[str, History], limits: Limits, now: float) -> Decision:
    """What to ask for now.

    Args:
        standings: every base model, registered checkpoint and cell of the study.
        history: earlier requests by target.
        limits: bounds.
        now: Unix time.
    """
    known = list(standings)
    # Outdated or unknown: what is made from it would be made from the wrong thing.
    open_keys = {(at.step, at.key) for at in known if at.outdated or at.problem}
    requests: list[Request] = []
    running, waiting, given_up = [], [], []
    for at in sorted((at for at in known if at.outdated), key=lambda at: STEPS.index(at.step)):
        past = history.get(at.target, History())
        before = STEPS[max(STEPS.index(at.step) - 1, 0)]
        if past.running:
            running.append(at.key)
        elif any((before, need) in open_keys for need in at.needs):
            waiting.append(at.key)
        elif past.attempts >= limits.attempts:
            given_up.append(at.key)
        elif len(requests) >= limits.per_tick or (past.total and now < past.ended + limits.pause_after(past.attempts)):
            waiting.append(at.key)
        else:
            requests.append(Request(at.step, at.key, at.target, past.attempts + 1, past.total + 1))
    changed = dict.fromkeys(at.key.rpartition("|")[2] for at in known if at.weights_changed)
    problems: dict[str, str] = {}
    for at in known:
        # Told once: the cells of a checkpoint have its problem too.
        if at.problem:
            problems.setdefault(at.problem, at.key)
    return Decision(
        tuple(requests),
        tuple(changed),
        tuple(running),
        tuple(waiting),
        tuple(given_up),
        tuple((key, why) for why, key in problems.items()),
    )


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
