"""The re-scoring decision: rules by example, and by random histories of changes, failures and lost ticks."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jobs.rescore import History, Limits, Standing, decide

LIMITS = Limits(attempts=3, per_tick=9, pause_s=100)


def cell(key, wanted="new:v1", found="old:v1", **fields):
    return Standing("cell", key, wanted, found, **fields)


def keys(decision):
    return [request.key for request in decision.requests]


def test_a_cell_scored_from_other_weights_is_requested_once_per_digest_version_and_attempt():
    decision = decide([cell("d|v")], {}, LIMITS, 0)
    (request,) = decision.requests
    assert request.run_key == "cell:d|v:new:v1:1"
    assert decision.message == "1 checkpoint changed, 1 cell requested, 0 waiting"


def test_a_cell_scored_by_another_version_is_requested_though_no_checkpoint_changed():
    decision = decide([cell("d|v", wanted="new:v2", found="new:v1")], {}, LIMITS, 0)
    assert keys(decision) == ["d|v"]
    assert decision.message == "0 checkpoints changed, 1 cell requested, 0 waiting"


def test_what_is_current_or_was_never_scored_is_left_alone():
    decision = decide([cell("a", found="new:v1"), cell("b", found=None)], {}, LIMITS, 0)
    assert decision.requests == ()
    assert decision.message == "0 checkpoints changed, 0 cells requested, 0 waiting"


def test_a_request_under_way_is_not_repeated():
    state = cell("d|v")
    decision = decide([state], {state.target: History(1, 1, running=True)}, LIMITS, 0)
    assert (decision.requests, decision.running) == ((), ("d|v",))


def test_pauses_between_attempts_grow_and_attempts_end():
    state = cell("d|v")

    def asked(attempts, now):
        return decide([state], {state.target: History(attempts, attempts, ended=1000.0)}, LIMITS, now)

    assert (asked(1, 1099).requests, asked(1, 1099).waiting) == ((), ("d|v",))
    assert asked(1, 1100).requests[0].run_key.endswith(":2")
    assert asked(2, 1199).requests == ()
    assert asked(2, 1200).requests[0].run_key.endswith(":3")
    over = asked(3, 10**9)
    assert (over.requests, over.given_up) == ((), ("d|v",))
    assert over.message == "1 checkpoint changed, 0 cells requested, 0 waiting, 1 given up: d|v"


def test_weights_that_come_back_to_what_they_were_are_no_failed_attempt():
    state = cell("d|v")
    history = {state.target: History(attempts=0, total=7, ended=1000.0)}
    assert decide([state], history, LIMITS, 1050).waiting == ("d|v",), "it is no loop without a pause either"
    (request,) = decide([state], history, LIMITS, 1100).requests
    assert (request.attempt, request.number, request.run_key) == (1, 8, "cell:d|v:new:v1:8")


def test_another_digest_starts_the_count_anew():
    old, new = cell("d|v", wanted="b:v1"), cell("d|v", wanted="c:v1")
    assert keys(decide([new], {old.target: History(3, 3)}, LIMITS, 0)) == ["d|v"]


def test_a_tick_asks_for_a_bounded_number_and_the_next_goes_on():
    cells = [cell(f"d|v{i}") for i in range(5)]
    limits = replace(LIMITS, per_tick=2)
    first = decide(cells, {}, limits, 0)
    assert (keys(first), len(first.waiting)) == (["d|v0", "d|v1"], 3)
    history = {request.target: History(1, 1, running=True) for request in first.requests}
    assert keys(decide(cells, history, limits, 0)) == ["d|v2", "d|v3"]


def test_cells_wait_until_their_checkpoint_is_registered_and_that_for_its_base():
    base = Standing("base", "m__base", "b2", "b1")
    registered = Standing("checkpoint", "m__base", "b2", "b1", needs=("m__base",))
    scored = cell("d|m__base", wanted="b2:v1", found="b1:v1", needs=("m__base",))
    first = decide([scored, registered, base], {}, LIMITS, 0)
    assert [(request.step, request.key) for request in first.requests] == [("base", "m__base")]
    assert first.message == "1 checkpoint changed, 1 registration requested, 0 cells requested, 2 waiting"
    second = decide([scored, registered, replace(base, found="b2")], {}, LIMITS, 0)
    assert [request.step for request in second.requests] == ["checkpoint"]
    third = decide([scored, replace(registered, found="b2"), replace(base, found="b2")], {}, LIMITS, 0)
    assert [request.step for request in third.requests] == ["cell"]


def test_weights_that_cannot_be_looked_at_are_told_and_hold_back_their_own_cells_alone():
    broken = Standing("checkpoint", "m__mbt-s", "", "old", problem="model.safetensors is damaged")
    cells = [cell("d|m__mbt-s", needs=("m__mbt-s",)), cell("d|m__mbt-r", needs=("m__mbt-r",))]
    decision = decide([broken, *cells], {}, LIMITS, 0)
    assert keys(decision) == ["d|m__mbt-r"]
    assert decision.message.endswith("1 waiting, m__mbt-s cannot be looked at: model.safetensors is damaged")


VARIANTS = ("v1", "v2", "v3")
CELLS = tuple(f"{dataset}|{variant}" for dataset in "ab" for variant in VARIANTS)


class World(RuleBasedStateMachine):
    """Checkpoints that change, runs that fail, ticks that are lost; after a quiet time every cell is fresh."""

    def __init__(self):
        super().__init__()
        self.now, self.count = 0.0, 0
        self.weights = dict.fromkeys(VARIANTS, "w0")
        self.registered = dict(self.weights)
        self.versions = "s0"
        self.scored = dict.fromkeys(CELLS, "w0:s0")
        self.runs = []  # (request, state, ended)
        self.limits = Limits(attempts=3, per_tick=4, pause_s=10)

    def standings(self):
        checkpoints = [Standing("checkpoint", v, self.weights[v], self.registered[v]) for v in VARIANTS]
        return checkpoints + [
            Standing("cell", key, f"{self.weights[key[2:]]}:{self.versions}", self.scored[key], needs=(key[2:],))
            for key in CELLS
        ]

    def history(self):
        found = {}
        for run in self.runs:
            past = found.get(run["request"].target, History())
            running = past.running or run["state"] == "running"
            attempts = 0 if run["state"] == "success" else past.attempts + 1
            found[run["request"].target] = History(attempts, past.total + 1, running, max(past.ended, run["ended"]))
        return found

    def tick(self):
        before = {(at.step, at.key): at for at in self.standings()}
        history = self.history()
        decision = decide(before.values(), history, self.limits, self.now)
        assert len(decision.requests) <= self.limits.per_tick
        for request in decision.requests:
            at, past = before[request.step, request.key], history.get(request.target, History())
            assert at.outdated, "a fresh one is never asked for"
            assert not past.running
            assert request.attempt == past.attempts + 1 <= self.limits.attempts
            assert request.number == past.total + 1
            assert past.total == 0 or self.now >= past.ended + self.limits.pause_after(past.attempts)
            if request.step == "cell":
                assert self.registered[request.key[2:]] == self.weights[request.key[2:]]
        return decision.requests

    def end(self, run, succeeds):
        step, key, target = run["request"].step, run["request"].key, run["request"].target
        succeeds = succeeds and (step == "checkpoint" or self.lands(key, target))
        if succeeds and step == "checkpoint":
            self.registered[key] = self.weights[key]
        elif succeeds:
            self.scored[key] = f"{self.registered[key[2:]]}:{self.versions}"
        run.update(state="success" if succeeds else "failed", ended=self.now)

    def lands(self, key, target):
        """Scores land only if the checkpoint that is registered is still the one that answered."""
        registered = self.registered[key[2:]]
        return registered == self.weights[key[2:]] and target == f"cell:{key}:{registered}:{self.versions}"

    @property
    def running(self):
        return [run for run in self.runs if run["state"] == "running"]

    @rule(variant=st.sampled_from(VARIANTS))
    def weights_change(self, variant):
        self.count += 1
        self.weights[variant] = f"w{self.count}"

    @rule(variant=st.sampled_from(VARIANTS))
    def weights_change_back(self, variant):
        self.weights[variant] = self.registered[variant]

    @rule()
    def scorer_changes(self):
        self.count += 1
        self.versions = f"s{self.count}"

    @rule(lost=st.booleans())
    def ticks(self, lost):
        requests = self.tick()
        if not lost:
            self.runs += [{"request": request, "state": "running", "ended": 0.0} for request in requests]

    @rule(seconds=st.sampled_from([1, 15, 60]))
    def time_passes(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.running)
    @rule(choice=st.randoms(use_true_random=False), succeeds=st.booleans())
    def a_run_ends(self, choice, succeeds):
        self.end(choice.choice(self.running), succeeds)

    @invariant()
    def nobody_is_asked_for_twice_at_once(self):
        targets = [run["request"].target for run in self.running]
        assert len(targets) == len(set(targets))

    def teardown(self):
        for _ in range(60):
            for run in self.running:
                self.end(run, True)
            self.now += 100
            self.runs += [{"request": r, "state": "running", "ended": 0.0} for r in self.tick()]
        given_up = {target for target, past in self.history().items() if past.attempts >= self.limits.attempts}
        for at in self.standings():
            # Only what failed as often as it may stays behind, and what waits for it.
            excused = at.target in given_up or any(
                f"checkpoint:{need}:{self.weights[need]}" in given_up for need in at.needs
            )
            assert not at.outdated or excused, at


TestRandomHistories = World.TestCase
TestRandomHistories.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_without_failures_nothing_is_ever_given_up():
    world = World()
    world.weights |= {"v1": "w1", "v3": "w3"}
    world.teardown()
    assert world.scored == {key: f"{world.weights[key[2:]]}:s0" for key in CELLS}
    assert {run["request"].attempt for run in world.runs} == {1}
    assert len([run for run in world.runs if run["request"].step == "cell"]) == 4


@pytest.mark.parametrize("attempts", [1, 2])
def test_the_cap_is_the_number_of_attempts(attempts):
    state = cell("d|v")
    decision = decide([state], {state.target: History(attempts, attempts)}, Limits(attempts=attempts), 10**9)
    assert (decision.requests, decision.given_up) == ((), ("d|v",))
