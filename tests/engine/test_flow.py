"""Flow: the limit finds what the endpoint bears, and a rate is kept to in any minute."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.engine.flow import RETRY_AFTER_LIMIT, Limiter, Rate, Rates, backoff


def test_backoff_is_full_jitter_and_bounded():
    waits = [backoff(4, base=0.5, cap=60) for _ in range(2000)]
    assert 0 <= min(waits) < 0.1
    assert 3.9 < max(waits) <= 4.0
    assert max(backoff(500, base=0.5, cap=60) for _ in range(100)) <= 60


def test_the_limit_doubles_each_round_until_the_first_congestion():
    limiter = Limiter(1024, time.monotonic)
    for expected in (256, 512, 1024, 1024):
        limiter.in_flight = int(limiter.limit)
        for _ in range(limiter.in_flight):
            limiter.succeeded()
            limiter.in_flight = int(limiter.limit)
        assert limiter.limit == expected


def test_a_round_of_failures_halves_it_and_growth_is_slow_afterwards():
    limiter = Limiter(128, time.monotonic)
    for _ in range(128):
        limiter.congested()
    assert limiter.limit == 64
    limiter.in_flight = 64
    for _ in range(64):
        limiter.succeeded()
        limiter.in_flight = int(limiter.limit)
    assert 67 < limiter.limit < 69


def test_the_limit_does_not_grow_when_it_is_not_what_holds_requests_back():
    limiter = Limiter(1024, time.monotonic)
    limiter.in_flight = 3
    limiter.succeeded()
    assert limiter.limit == 128


@given(
    st.integers(1, 300),
    st.lists(st.sampled_from(["take", "ok", "busy", "wait", "tick"]), max_size=300),
    st.floats(0.1, 1e6),
)
def test_the_limit_stays_between_one_and_the_ceiling_whatever_comes(ceiling, steps, retry_after):
    now = 0.0
    limiter = Limiter(ceiling, lambda: now)
    for step in steps:
        if step == "take" and limiter.room:
            limiter.in_flight += 1
        elif step == "tick":
            now += 1.0
        elif step != "take" and limiter.in_flight:
            limiter.in_flight -= 1
            limiter.succeeded() if step == "ok" else limiter.congested(retry_after if step == "wait" else None)
        assert 1 <= limiter.limit <= ceiling
        assert 0 <= limiter.in_flight <= ceiling
        assert limiter.resume_at <= now + RETRY_AFTER_LIMIT
        if limiter.room:
            assert limiter.in_flight < limiter.limit
            assert limiter.resume_at <= now


def test_the_limit_settles_where_the_endpoint_has_room():
    """A server that bears 40 at once and refuses the rest: after a while it is offered about that many."""
    limiter, offered = Limiter(1024, time.monotonic), []
    for _ in range(2000):
        limiter.in_flight = sending = int(limiter.limit)
        for number in range(sending):
            limiter.succeeded() if number < 40 else limiter.congested()
        offered.append(sending)
    late = offered[500:]
    assert 35 <= sum(late) / len(late) <= 140


def test_after_a_retry_after_there_is_no_room_until_then():
    now = 100.0
    limiter = Limiter(8, lambda: now)
    limiter.congested(retry_after=5.0)
    assert not limiter.room
    assert limiter.note == "the endpoint asks to wait 5 s more"
    now = 105.0
    assert limiter.room
    assert limiter.note is None


@given(st.floats(1, 6000), st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 50)), min_size=1, max_size=200))
def test_no_minute_sees_more_than_its_share_and_one_use(per_minute, uses):
    now, starts = 0.0, []
    rate = Rate(per_minute, lambda: now)
    for pause, amount in uses:
        now += pause
        starts.append((now + rate.reserve(amount), amount))
    for begin, _ in starts:
        within = [amount for start, amount in starts if begin <= start < begin + 60]
        assert sum(within) <= per_minute * (1 + 1e-6) + max(within)


def test_tokens_are_corrected_by_what_the_server_counted():
    rates = Rates(None, 600, lambda: 0.0)
    wait, reserved = rates.reserve(400)  # 100 tokens of prompt, as far as one can tell
    assert (wait, reserved) == (0.0, 100.0)
    rates.used(reserved, 120, 180)  # 300 in truth, half a minute's share
    wait, reserved = rates.reserve(400)
    assert wait == pytest.approx(30.0)
    assert reserved == pytest.approx(100 + 180)  # a response is expected to be as long as the last


@pytest.mark.parametrize("ceiling", [1, 2])
def test_tiny_ceilings_work(ceiling):
    limiter = Limiter(ceiling, time.monotonic)
    for _ in range(10):
        limiter.congested()
    assert limiter.limit == 1
