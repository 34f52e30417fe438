"""Several endpoints of one model, and limits of each: real servers, one of which dies, lags or is metered."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from aiohttp import web

from resources.engine import Endpoint, EndpointDownError, EndpointRefusedError, EngineOptions, generate
from resources.engine.balancer import Balancer

QUICK = {"concurrency": 32, "backoff_base": 0.02, "backoff_cap": 0.1, "timeout": 60.0, "outage_failures": 4}


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
    quick, slow = serve(latency=0.05), serve(latency=0.5)
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


def test_one_of_two_that_refuses_everything_is_left_out(kit, serve, tmp_path):
    """A key that is withdrawn midway: errors come fast, and would draw all the requests to them."""

    async def withdrawn(request, body, attempt):
        if sum(refuses.asked.values()) > 50:
            return web.json_response({"error": {"message": "key withdrawn"}}, status=401)
        return None

    works, refuses = serve(latency=0.02), serve(withdrawn)
    notes: list[str | None] = []
    options = EngineOptions(**QUICK, progress_seconds=0.05)
    pair = endpoints(works, refuses)
    summary = generate(kit.ask(1500), pair, tmp_path, options, lambda progress: notes.append(progress.note))
    assert summary.total == 1500
    assert summary.failed < 100
    assert any("is asked no more" in note for note in notes if note)
    assert generate(kit.ask(1500), endpoints(works), tmp_path, options).ok == 1500


def test_a_key_withdrawn_from_the_only_endpoint_ends_the_run(kit, serve, tmp_path):
    async def withdrawn(request, body, attempt):
        if sum(server.asked.values()) > 50:
            return web.json_response({"error": {"message": "key withdrawn"}}, status=401)
        return None

    server = serve(withdrawn)
    with pytest.raises(EndpointRefusedError, match="key withdrawn"):
        generate(kit.ask(2000), endpoints(server), tmp_path, EngineOptions(**QUICK))
    assert sum(server.asked.values()) < 500


def test_a_wrong_address_is_no_verdict_on_the_requests(kit, serve, tmp_path):
    async def moved(request, body, attempt):
        return web.Response(status=308, headers={"Location": "https://elsewhere/"})

    with pytest.raises(EndpointRefusedError, match="308"):
        generate(kit.ask(20), endpoints(serve(moved)), tmp_path, EngineOptions(**QUICK))
    assert generate(kit.ask(20), endpoints(serve()), tmp_path, EngineOptions(**QUICK)).ok == 20


def test_an_outage_costs_a_single_request_nothing_either(kit, serve, tmp_path):
    """One request under way: it has fewer attempts than it takes failures to call an endpoint down."""
    server = kit.ChatServer().start()
    port = server.port
    server.stop()
    done: list[object] = []
    options = EngineOptions(concurrency=1, backoff_base=0.01, backoff_cap=0.02)

    def work() -> None:
        done.append(generate(kit.ask(3), Endpoint(f"http://127.0.0.1:{port}/v1", "tiny", "digest"), tmp_path, options))

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1.0)
    serve(port=port)
    thread.join(30)
    assert (done[0].ok, done[0].failed) == (3, 0)


def test_waiting_for_a_turn_is_not_trying(kit, serve, tmp_path):
    async def first_fails(request, body, attempt):
        return web.Response(status=500) if attempt == 1 else None

    options = EngineOptions(**{**QUICK, "concurrency": 16}, retry_seconds=0.3)

    def all_are_answered(number: int) -> bool:
        metered = endpoints(serve(first_fails), requests_per_minute=1200)
        # 32 turns of 50 ms, most of them waited for.
        return generate(kit.ask(16), metered, tmp_path / str(number), options).ok == 16

    # A machine that stands still for a moment makes one attempt take too long, but not each time.
    assert any(all_are_answered(number) for number in range(4))


def test_a_pause_that_the_server_asks_for_holds_back_those_who_wait_for_their_turn(kit, serve, tmp_path):
    times: list[float] = []

    async def pause(request, body, attempt):
        times.append(time.monotonic())
        if len(times) == 1:
            return web.json_response({"error": {"message": "wait"}}, status=429, headers={"Retry-After": "0.8"})
        return None

    metered = endpoints(serve(pause), requests_per_minute=1200)

    def pause_seen(seed: int) -> bool:
        times.clear()
        assert generate(kit.ask(8, seed=seed), metered, tmp_path / str(seed), EngineOptions(**QUICK)).ok == 8
        return times[1] - times[0] >= 0.75

    # Turns that come while the first reply is still under way know nothing of the pause.
    assert any(pause_seen(seed) for seed in range(4))


def test_endpoints_of_different_models_are_refused(kit, tmp_path):
    pair = [Endpoint("http://a/v1", "m", "weights 1"), Endpoint("http://b/v1", "m", "weights 2")]
    with pytest.raises(EndpointRefusedError, match="same model"):
        generate(kit.ask(1), pair, tmp_path)


def test_requests_a_minute_are_kept_to(kit, serve, tmp_path):
    times: list[float] = []

    async def note(request, body, attempt) -> None:
        times.append(time.monotonic())

    began = time.monotonic()
    generate(kit.ask(20), endpoints(serve(note), requests_per_minute=1200), tmp_path, EngineOptions(**QUICK))
    assert times[-1] - began >= 19 * 0.05 * 0.9  # one in 50 ms


def test_tokens_a_minute_are_kept_to(kit, serve, tmp_path):
    server = serve()
    summary = generate(kit.ask(30), endpoints(server, tokens_per_minute=24_000), tmp_path, EngineOptions(**QUICK))
    tokens = summary.prompt_tokens + summary.completion_tokens
    assert summary.seconds >= 0.8 * tokens / 400  # 400 a second


def test_a_limit_that_makes_no_sense_is_refused():
    with pytest.raises(EndpointRefusedError, match="requests_per_minute is 0"):
        Endpoint("http://h/v1", "m", requests_per_minute=0)
