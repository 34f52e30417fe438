"""Deadlines: whose time is over is ended, and whoever is cancelled for another reason stays cancelled."""

from __future__ import annotations

import asyncio
import time

import pytest

from resources.engine.deadlines import Deadlines


async def attempt(deadlines: Deadlines, work) -> str:
    task = deadlines.begin()
    try:
        await work
    except asyncio.CancelledError:
        if not deadlines.passed(task):
            raise
        return "late"
    finally:
        deadlines.end(task)
    return "done"


def test_what_lasts_too_long_is_ended_and_the_task_goes_on():
    async def drive() -> list[str]:
        deadlines = Deadlines(0.1)
        slow = [attempt(deadlines, asyncio.sleep(5)) for _ in range(3)]
        quick = [attempt(deadlines, asyncio.sleep(0)) for _ in range(3)]

        async def twice() -> str:
            first = await attempt(deadlines, asyncio.sleep(5))
            await asyncio.sleep(0.2)  # nothing of the first is left that would end this
            return first + await attempt(deadlines, asyncio.sleep(0))

        results = await asyncio.wait_for(asyncio.gather(*slow, *quick, twice()), 60)
        deadlines.close()
        return results

    assert asyncio.run(drive()) == ["late"] * 3 + ["done"] * 3 + ["latedone"]


def test_a_reply_that_comes_with_the_deadline_disturbs_nothing_later():
    async def drive() -> set[str]:
        deadlines, seen = Deadlines(0.05), set()
        for number in range(40):
            seen.add(await attempt(deadlines, asyncio.sleep(0.045 + number * 0.0005)))
            await asyncio.sleep(0)
        return seen

    assert asyncio.run(drive()) <= {"late", "done"}


def test_a_cancellation_from_outside_goes_through_even_at_the_deadline():
    async def drive() -> None:
        deadlines = Deadlines(0.05)
        task = asyncio.create_task(attempt(deadlines, asyncio.sleep(5)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        task = asyncio.create_task(attempt(deadlines, asyncio.sleep(5)))
        await asyncio.sleep(0)
        time.sleep(0.06)  # Both come before the task can run again.
        deadlines._look()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(drive())
