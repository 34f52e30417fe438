"""Flow: the limit finds what the endpoint bears, and an outage is waited out, up to a bound."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.engine import EndpointDownError
from resources.engine.flow import Breaker, Limiter, backoff


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


@given(st.integers(1, 300), st.lists(st.sampled_from(["acquire", "ok", "busy"]), max_size=300))
def test_the_limit_stays_between_one_and_the_ceiling_and_slots_are_counted(ceiling, steps):
    async def drive() -> None:
        limiter, held = Limiter(ceiling, time.monotonic), 0
        for step in steps:
            if step == "acquire" and limiter.in_flight < int(limiter.limit):
                await limiter.acquire()
                held += 1
            elif step != "acquire" and held:
                limiter.succeeded() if step == "ok" else limiter.congested()
                limiter.release()
                held -= 1
            assert limiter.in_flight == held
            assert 1 <= limiter.limit <= ceiling

    asyncio.run(drive())


def test_no_more_than_the_limit_hold_a_slot_and_everyone_gets_one():
    async def drive() -> tuple[int, int]:
        limiter, most, served = Limiter(5, time.monotonic), 0, 0

        async def hold() -> None:
            nonlocal most, served
            await limiter.acquire()
            most = max(most, limiter.in_flight)
            await asyncio.sleep(0)
            served += 1
            limiter.release()

        await asyncio.gather(*(hold() for _ in range(100)))
        return most, served

    assert asyncio.run(drive()) == (5, 100)


def test_a_cancelled_waiter_leaves_no_slot_behind():
    async def drive() -> int:
        limiter = Limiter(1, time.monotonic)
        await limiter.acquire()
        waiters = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        limiter.release()  # The first waiter owns the slot, but has not run yet.
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        return limiter.in_flight

    assert asyncio.run(drive()) == 0


def test_retry_after_holds_everyone_back():
    async def drive() -> float:
        limiter = Limiter(8, time.monotonic)
        limiter.congested(retry_after=0.2)
        began = time.monotonic()
        await asyncio.gather(limiter.acquire(), limiter.acquire())
        return time.monotonic() - began

    assert 0.2 <= asyncio.run(drive()) < 0.5


def breaker_with(answers: list[str | None], give_up: float = 5.0) -> tuple[Breaker, list[str | None]]:
    asked: list[str | None] = []

    async def probe() -> str | None:
        asked.append(answers.pop(0) if len(answers) > 1 else answers[0])
        return asked[-1]

    return Breaker(probe, threshold=3, give_up=give_up, where="http://x"), asked


def test_failures_in_a_row_are_probed_and_an_outage_is_waited_out():
    async def drive() -> tuple[list[bool], int]:
        breaker, asked = breaker_with(["refused", "refused", None])
        verdicts = [await breaker.failed() for _ in range(3)]
        await breaker.ready()
        return verdicts, len(asked)

    assert asyncio.run(drive()) == ([False, False, True], 3)


def test_an_endpoint_that_answers_is_not_down_whatever_its_requests_do():
    async def drive() -> list[bool]:
        breaker, _ = breaker_with([None])
        return [await breaker.failed() for _ in range(6)]

    assert asyncio.run(drive()) == [False] * 6


def test_a_sign_of_life_starts_the_count_anew():
    async def drive() -> int:
        breaker, asked = breaker_with([None])
        for _ in range(5):
            await breaker.failed()
            await breaker.failed()
            breaker.answered()
        return len(asked)

    assert asyncio.run(drive()) == 0


def test_an_outage_that_lasts_ends_in_one_clear_error():
    async def drive() -> str | None:
        breaker, _ = breaker_with(["connection refused"], give_up=0.3)
        waiting = [asyncio.create_task(breaker.failed()) for _ in range(5)]
        await asyncio.sleep(0.1)
        note = breaker.note
        for outcome in await asyncio.gather(*waiting[2:], breaker.ready(), return_exceptions=True):
            assert isinstance(outcome, EndpointDownError)
            assert "http://x has been down for" in str(outcome)
        return note

    assert "is down (connection refused); paused" in (asyncio.run(drive()) or "")


@pytest.mark.parametrize("ceiling", [1, 2])
def test_tiny_ceilings_work(ceiling):
    limiter = Limiter(ceiling, time.monotonic)
    for _ in range(10):
        limiter.congested()
    assert limiter.limit == 1
