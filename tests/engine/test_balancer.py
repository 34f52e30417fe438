"""Several endpoints of one model, and limits of each: real servers, one of which dies, lags or is metered."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from resources.engine import Endpoint, EndpointDownError, EndpointRefusedError, EngineOptions, generate
from resources.engine.balancer import Balancer

QUICK = {"concurrency": 32, "backoff_base": 0.02, "backoff_cap": 0.1, "timeout": 10.0, "outage_failures": 4}


def endpoints(*servers, **settings) -> list[Endpoint]:
    return [Endpoint(server.base_url, "tiny", "digest", **settings) for server in servers]


def test_no_more_than_the_limit_hold_a_place_and_everyone_gets_one():
    async def drive() -> tuple[int, int]:
        options = EngineOptions(concurrency=5)
        async with Balancer([Endpoint("http://127.0.0.1:9/v1", "m")], options) as balancer:
            most = served = 0

            async def hold() -> None:
                nonlocal most, served
                channel = await balancer.place()
                most = max(most, balancer.in_flight)
                await asyncio.sleep(0)
                served += 1
                balancer.leave(channel)

            await asyncio.gather(*(hold() for _ in range(100)))
            return most, served

    assert asyncio.run(drive()) == (5, 100)


def test_a_cancelled_waiter_leaves_no_place_behind():
    async def drive() -> int:
        async with Balancer([Endpoint("http://127.0.0.1:9/v1", "m")], EngineOptions(concurrency=1)) as balancer:
            channel = await balancer.place()
            waiters = [asyncio.create_task(balancer.place()) for _ in range(3)]
            await asyncio.sleep(0)
            balancer.leave(channel)  # The first waiter has been told, but has not run yet.
            waiters[0].cancel()
            done, _ = await asyncio.wait(waiters, return_when=asyncio.ALL_COMPLETED, timeout=0.1)
            return sum(not waiter.cancelled() for waiter in done)

    assert asyncio.run(drive()) == 1


def test_the_load_goes_to_all_of_them_and_most_to_the_quickest(kit, serve, tmp_path):
    quick, slow = serve(latency=0.01), serve(latency=0.1)
    summary = generate(kit.ask(600), endpoints(quick, slow), tmp_path, EngineOptions(**QUICK))
    assert summary.ok == 600
    assert sum(slow.asked.values()) > 20
    assert sum(quick.asked.values()) > 2 * sum(slow.asked.values())


def test_one_of_two_that_dies_midway_costs_no_row_and_no_wait(kit, serve, tmp_path):
    stays, dies = serve(latency=0.01), kit.ChatServer(latency=0.01).start()
    notes: list[str | None] = []
    done: list[object] = []
    options = EngineOptions(**QUICK, give_up_seconds=0.5, max_attempts=4, progress_seconds=0.05)

    def work() -> None:
        pair = endpoints(stays, dies)
        done.append(generate(kit.ask(3000), pair, tmp_path, options, lambda progress: notes.append(progress.note)))

    thread = threading.Thread(target=work)
    thread.start()
    while sum(dies.asked.values()) < 100:
        time.sleep(0.005)
    dies.stop()
    thread.join(30)
    assert (done[0].ok, done[0].total) == (3000, 3000)
    assert len(kit.rows_of(tmp_path)) == 3000
    assert any("the others go on without it" in note for note in notes if note)


def test_one_that_comes_back_is_used_again(kit, serve, tmp_path):
    stays, comes = serve(latency=0.02), kit.ChatServer().start()
    port = comes.port
    comes.stop()
    back: list[object] = []

    def later() -> None:
        time.sleep(0.8)
        back.append(serve(port=port, latency=0.001))

    thread = threading.Thread(target=later)
    thread.start()
    pair = [*endpoints(stays), Endpoint(f"http://127.0.0.1:{port}/v1", "tiny", "digest")]
    assert generate(kit.ask(4000), pair, tmp_path, EngineOptions(**QUICK)).ok == 4000
    thread.join()
    assert sum(back[0].asked.values()) > 100


def test_all_of_them_away_is_one_clear_error_that_names_them(kit, serve, tmp_path):
    pair = [Endpoint(f"http://127.0.0.1:{port}/v1", "tiny", "digest") for port in (9, 11)]
    with pytest.raises(EndpointDownError, match=r"127.0.0.1:9/v1 .* and .*127.0.0.1:11/v1 .* have been down for"):
        generate(kit.ask(100), pair, tmp_path, EngineOptions(**QUICK, give_up_seconds=0.4))


def test_endpoints_of_different_models_are_refused(kit, tmp_path):
    pair = [Endpoint("http://a/v1", "m", "weights 1"), Endpoint("http://b/v1", "m", "weights 2")]
    with pytest.raises(EndpointRefusedError, match="same model"):
        generate(kit.ask(1), pair, tmp_path)


def test_requests_a_minute_are_kept_to(kit, serve, tmp_path):
    times: list[float] = []

    async def note(request, body, attempt) -> None:
        times.append(time.monotonic())

    generate(kit.ask(20), endpoints(serve(note), requests_per_minute=1200), tmp_path, EngineOptions(**QUICK))
    assert times[-1] - times[0] >= 19 * 0.05 * 0.9  # one in 50 ms


def test_tokens_a_minute_are_kept_to(kit, serve, tmp_path):
    server = serve()
    summary = generate(kit.ask(30), endpoints(server, tokens_per_minute=24_000), tmp_path, EngineOptions(**QUICK))
    tokens = summary.prompt_tokens + summary.completion_tokens
    assert summary.seconds >= 0.8 * tokens / 400  # 400 a second


def test_a_limit_that_makes_no_sense_is_refused():
    with pytest.raises(EndpointRefusedError, match="requests_per_minute is 0"):
        Endpoint("http://h/v1", "m", requests_per_minute=0)
