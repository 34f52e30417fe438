"""The circuit breaker: what counts as an outage, and what ends it."""

from __future__ import annotations

import asyncio

from resources.engine.breaker import Breaker


def breaker_with(answers: list[str | None]) -> tuple[Breaker, list[str | None]]:
    asked: list[str | None] = []

    async def probe() -> str | None:
        asked.append(answers.pop(0) if len(answers) > 1 else answers[0])
        return asked[-1]

    return Breaker(probe, threshold=3), asked


def test_failures_in_a_row_are_probed_and_an_outage_is_waited_out():
    async def drive() -> None:
        breaker, asked = breaker_with(["refused", "refused", None])
        changes: list[bool] = []
        back = asyncio.Event()

        def changed() -> None:
            changes.append(breaker.closed)
            if breaker.closed:
                back.set()

        breaker.on_change = changed
        assert [await breaker.failed() for _ in range(3)] == [False, False, True]
        assert not breaker.closed
        assert breaker.down_since is not None
        assert await breaker.failed()  # whoever comes late is not to blame either
        await asyncio.wait_for(back.wait(), 60)
        assert (breaker.down_since, changes, len(asked)) == (None, [False, False, True], 3)

    asyncio.run(drive())


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
