"""The engine against real servers: what it sends, what it keeps, and how it takes their faults."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest
from aiohttp import web
from processes import until

from resources.engine import (
    Endpoint,
    EndpointDownError,
    EndpointRefusedError,
    EngineError,
    EngineOptions,
    FolderBusyError,
    JournalError,
    Request,
    RequestError,
    generate,
    responses,
)


def refuse(status: int, message: str, share: int = 1, headers: dict | None = None, times: int = 1000):
    """A server that answers every `share`-th prompt with an error, the first `times` times."""

    async def fault(request: web.Request, body: dict, attempt: int) -> web.StreamResponse | None:
        number = int(body["messages"][-1]["content"].split()[-1])
        if number % share == 0 and attempt <= times:
            return web.json_response({"error": {"message": message}}, status=status, headers=headers)
        return None

    return fault


def test_one_row_per_request_with_what_the_server_said(kit, serve, tmp_path):
    server = serve()
    summary = kit.run(server, kit.ask(100, temperature=0.5, top_k=20), tmp_path)
    assert (summary.total, summary.sent, summary.ok, summary.failed) == (100, 100, 100, 0)
    rows = kit.rows_of(tmp_path)
    assert len(rows) == 100
    row = rows["r7"]
    assert row["response"] == "<think>\nabout question 7 at seed 1\n</think>\n\n<answer>question 7</answer>"
    assert (row["reasoning"], row["content"]) == ("about question 7 at seed 1", "<answer>question 7</answer>")
    assert (row["finish_reason"], row["error"], row["attempts"], row["model"]) == ("stop", None, 1, "tiny")
    assert row["prompt_tokens"] == 2
    assert row["latency_ms"] > 1
    assert server.bodies[0]["top_k"] == 20
    assert summary.completion_tokens == sum(row["completion_tokens"] for row in rows.values())


def test_a_storm_of_faults_costs_no_row(kit, serve, tmp_path):
    server = serve(kit.storm(0.25))
    summary = kit.run(server, kit.ask(400), tmp_path)
    assert (summary.ok, summary.failed) == (400, 0)
    rows = kit.rows_of(tmp_path)
    assert len(rows) == 400
    assert {row["attempts"] for row in rows.values()} > {1, 2}
    assert sum(server.asked.values()) == sum(row["attempts"] for row in rows.values())


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "maximum context length is 4096 tokens", "context_too_long"),
        (422, "top_k must be positive", "bad_request"),
    ],
)
def test_permanent_errors_are_recorded_and_never_sent_again(kit, serve, tmp_path, status, message, kind):
    server = serve(refuse(status, message, share=5))
    summary = kit.run(server, kit.ask(50), tmp_path)
    assert (summary.ok, summary.failed, summary.failures) == (40, 10, {kind: 10})
    row = kit.rows_of(tmp_path)["r5"]
    assert row["error"] == f"{kind}: {status}: {message}"
    assert (row["attempts"], row["transient"], row["response"]) == (1, False, None)
    again = kit.run(server, kit.ask(50), tmp_path)
    assert (again.sent, again.reused, again.failed) == (0, 50, 10)
    assert max(server.asked.values()) == 1


def test_what_failed_for_the_moment_is_sent_by_the_next_run(kit, serve, tmp_path):
    server = serve(refuse(500, "oops", share=5, times=3))
    summary = kit.run(server, kit.ask(50), tmp_path, max_attempts=3)
    assert (summary.ok, summary.failures) == (40, {"server_error": 10})
    row = kit.rows_of(tmp_path)["r5"]
    assert (row["error"], row["attempts"], row["transient"]) == ("server_error: 500: oops", 3, True)
    again = kit.run(server, kit.ask(50), tmp_path)
    assert (again.sent, again.reused, again.ok) == (10, 40, 50)
    assert len(kit.rows_of(tmp_path)) == 50


def test_a_server_that_stalls_is_given_up_on_in_time(kit, serve, tmp_path):
    async def stall(request: web.Request, body: dict, attempt: int) -> None:
        if body["messages"][-1]["content"] == "question 3":
            await asyncio.sleep(120)

    began = time.monotonic()
    summary = kit.run(serve(stall), kit.ask(20), tmp_path, timeout=0.3, max_attempts=2)
    assert (summary.ok, summary.failures) == (19, {"timeout": 1})
    assert time.monotonic() - began < 60
    assert kit.rows_of(tmp_path)["r3"]["error"] == "timeout: no reply within 0.3 s"


def test_retry_after_is_honoured(kit, serve, tmp_path):
    times: list[float] = []

    async def fault(request: web.Request, body: dict, attempt: int) -> web.StreamResponse | None:
        times.append(time.monotonic())
        if attempt == 1:
            return web.json_response({"error": {"message": "wait"}}, status=429, headers={"Retry-After": "0.6"})
        return None

    assert kit.run(serve(fault), kit.ask(1), tmp_path).ok == 1
    assert times[1] - times[0] >= 0.55


def test_concurrency_is_bounded_and_gives_way_to_an_overloaded_server(kit, serve, tmp_path):
    async def overloaded(request: web.Request, body: dict, attempt: int) -> web.StreamResponse | None:
        return web.Response(status=429) if server.in_flight > 8 else None

    server = serve(latency=0.02)
    kit.run(server, kit.ask(300), tmp_path / "free", concurrency=16)
    assert server.most_in_flight == 16
    server = serve(overloaded, latency=0.02)
    assert kit.run(server, kit.ask(600), tmp_path / "overloaded", concurrency=64, max_attempts=30).ok == 600
    assert sum(server.asked.values()) < 2 * 600


def test_an_outage_is_waited_out_and_costs_no_attempt(kit, serve, tmp_path):
    first = kit.ChatServer(latency=0.01).start()
    notes: list[str | None] = []
    endpoint = Endpoint(first.base_url, "tiny")
    options = EngineOptions(concurrency=8, max_attempts=2, progress_seconds=0.05, backoff_base=0.05, outage_failures=4)
    done: list[object] = []

    def work() -> None:
        done.append(generate(kit.ask(1500), endpoint, tmp_path, options, lambda p: notes.append(p.note)))

    thread = threading.Thread(target=work)
    thread.start()
    while sum(first.asked.values()) < 100:
        time.sleep(0.01)
    first.stop()
    assert until(lambda: any("is down" in note for note in notes if note))
    serve(port=first.port)
    thread.join(120)
    assert done[0].ok + done[0].failed == 1500
    assert done[0].failed <= 3  # Fewer than make the engine look whether the endpoint is there at all.


def test_an_endpoint_that_stays_away_is_one_clear_error_and_done_rows_stay(kit, serve, tmp_path):
    server = kit.ChatServer(latency=0.01).start()

    def stop_midway():
        for request in kit.ask(500):
            if request.request_id == "r300":
                server.stop()
            yield request

    with pytest.raises(EndpointDownError, match="has been down for"):
        kit.run(server, stop_midway(), tmp_path, give_up_seconds=0.5)
    asked = len(server.asked)
    assert asked > 50
    back = serve(port=server.port)
    summary = kit.run(back, kit.ask(500), tmp_path)
    assert (summary.ok, summary.total) == (500, 500)
    assert summary.reused >= asked - 64


def test_a_wrong_key_stops_the_run_and_never_shows(kit, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sk-very-secret")
    server = serve(refuse(401, "Incorrect API key provided: sk-very-secret"))
    endpoint = Endpoint(server.base_url, "tiny", api_key_env="TEST_KEY")
    with pytest.raises(EndpointRefusedError, match=r"refuses every request: 401.*\*\*\*") as error:
        generate(kit.ask(500), endpoint, tmp_path)
    assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
    assert sum(server.asked.values()) < 500
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "sk-very" not in str(error.value)
    assert b"sk-very" not in everything
    summary = kit.run(serve(), kit.ask(500), tmp_path)  # and is no verdict on the requests
    assert summary.ok == 500


def test_a_key_does_not_hide_that_a_model_does_not_reason(kit, serve, tmp_path, monkeypatch):
    async def mute(request: web.Request, body: dict, attempt: int) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}]})

    monkeypatch.setenv("TEST_KEY", "sk-very-secret")
    endpoint = Endpoint(serve(mute).base_url, "tiny", api_key_env="TEST_KEY", reasons=True)
    assert generate(kit.ask(2), endpoint, tmp_path).failures == {"no_reasoning": 2}


def test_a_missing_key_is_said_before_anything_is_sent(kit, serve, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(EndpointRefusedError, match="NO_SUCH_KEY is not set"):
        generate(kit.ask(1), Endpoint(serve().base_url, "tiny", api_key_env="NO_SUCH_KEY"), tmp_path)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", ""])
def test_a_base_url_that_is_none_is_refused(url):
    with pytest.raises(EngineError, match="must be an http"):
        Endpoint(url, "tiny")


def test_a_key_in_the_base_url_is_refused_and_not_shown():
    with pytest.raises(EngineError, match="environment variable") as error:
        Endpoint("http://user:sk-secret@h/v1", "tiny")
    assert "sk-secret" not in str(error.value)


def test_a_base_url_without_a_path_means_v1():
    assert Endpoint("http://h:1", "m").url("models") == "http://h:1/v1/models"
    assert Endpoint("http://h:1/api/v2/", "m").url("models") == "http://h:1/api/v2/models"


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"timeout": 0}, {"max_attempts": 0}, {"commit_seconds": 3}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(EngineError, match=next(iter(wrong))):
        EngineOptions(**wrong)


def test_a_request_asked_twice_is_refused_and_done_rows_stay(kit, serve, tmp_path):
    server = serve()
    twice = [*kit.ask(300), kit.ask(1)[0]]
    with pytest.raises(RequestError, match="'r0': asked twice"):
        kit.run(server, twice, tmp_path)
    assert kit.run(server, kit.ask(300), tmp_path).reused > 0


def test_an_error_of_the_iterator_comes_through_as_it_is(kit, serve, tmp_path):
    def broken():
        yield from kit.ask(100)
        raise LookupError("the question table is gone")

    with pytest.raises(LookupError, match="question table"):
        kit.run(serve(), broken(), tmp_path)


def test_an_error_of_the_progress_callback_ends_the_run(kit, serve, tmp_path):
    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    server = serve(latency=0.05)
    options = EngineOptions(concurrency=4, progress_seconds=0.5)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        generate(kit.ask(2000), Endpoint(server.base_url, "tiny", "digest"), tmp_path, options, interrupt)
    assert time.monotonic() - began < 20  # all replies would take 25 s
    answered = len(server.asked) - 4
    assert kit.run(server, kit.ask(answered), tmp_path).reused >= answered - 4


def test_two_engines_on_one_folder(kit, serve, tmp_path):
    server = serve(latency=0.05)
    first = threading.Thread(target=kit.run, args=(server, kit.ask(200), tmp_path), kwargs={"concurrency": 8})
    first.start()
    while not server.asked:
        time.sleep(0.01)
    with pytest.raises(FolderBusyError, match="another engine"):
        kit.run(server, kit.ask(200), tmp_path)
    first.join()
    assert len(kit.rows_of(tmp_path)) == 200


def test_several_threads_at_once(kit, serve, tmp_path):
    server = serve()
    summaries: dict[int, object] = {}

    def work(number: int) -> None:
        summaries[number] = kit.run(server, kit.ask(300, seed=number), tmp_path / str(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [summaries[number].ok for number in range(4)] == [300] * 4
    for number in range(4):
        assert f"at seed {number}" in kit.rows_of(tmp_path / str(number))["r0"]["response"]


def test_it_works_inside_a_running_event_loop(kit, serve, tmp_path):
    server = serve()

    async def caller() -> int:
        return kit.run(server, kit.ask(10), tmp_path).ok

    assert asyncio.run(caller()) == 10


def test_a_full_disk_is_one_clear_error_and_committed_rows_stay(kit, serve, tmp_path, monkeypatch):
    server, sync, syncs = serve(latency=0.05), os.fsync, []

    def fill_up(descriptor: int) -> None:
        syncs.append(descriptor)
        if len(syncs) > 6:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch, pytest.raises(JournalError, match="No space left"):
        patch.setattr(os, "fsync", fill_up)
        kit.run(server, kit.ask(5000), tmp_path, concurrency=8)
    summary = kit.run(server, kit.ask(200), tmp_path)
    assert (summary.ok, summary.reused > 0) == (200, True)


def test_progress_counts_up_to_the_end(kit, serve, tmp_path):
    seen = []
    options = EngineOptions(concurrency=8, progress_seconds=0.05, expected=200)
    generate(kit.ask(200), Endpoint(serve(latency=0.02).base_url, "tiny"), tmp_path, options, seen.append)
    assert len(seen) > 3
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == 200
    middle = seen[len(seen) // 2]
    assert middle.rate > 0
    assert middle.tokens_per_second > middle.rate
    assert middle.eta_seconds is not None
    assert middle.in_flight <= 8
    assert "/200 done" in middle.line()


def test_rows_are_durable_while_the_run_goes_on(kit, serve, tmp_path):
    async def stall(request: web.Request, body: dict, attempt: int) -> None:
        if body["messages"][-1]["content"] == "question 19":
            while not go.is_set():
                await asyncio.sleep(0.02)

    go = threading.Event()
    thread = threading.Thread(target=kit.run, args=(serve(stall), kit.ask(20), tmp_path), kwargs={"timeout": 600})
    thread.start()
    try:
        assert until(lambda: list((tmp_path / "responses").glob("*.parquet")))
    finally:
        go.set()
        thread.join()
    assert responses(tmp_path).collect().height == 20


def test_an_empty_run_leaves_an_empty_table(kit, serve, tmp_path):
    assert kit.run(serve(), [], tmp_path).total == 0
    assert kit.rows_of(tmp_path) == {}


def test_messages_of_any_size_and_script_come_back(kit, serve, tmp_path):
    prompts = ["ünï ☃ 数", "x" * 3_000_000, "\x00 nul", '"quotes" \\ and\nlines']
    requests = [Request(f"r{i}", [{"role": "user", "content": text}], {}) for i, text in enumerate(prompts)]
    assert kit.run(serve(), requests, tmp_path).ok == 4
    rows = kit.rows_of(tmp_path)
    assert [rows[f"r{i}"]["content"] for i in range(4)] == [f"<answer>{text}</answer>" for text in prompts]
