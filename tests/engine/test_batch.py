"""The Batch API path: the same rows as the direct path, and no batch paid twice, whatever happens between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer
from processes import until

from resources.engine import (
    Endpoint,
    EndpointDownError,
    EndpointRefusedError,
    EngineError,
    EngineOptions,
    JournalError,
    Summary,
    batch_client,
    generate,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def batches(kit, monkeypatch) -> Iterator[Callable[..., BatchServer]]:
    """Start servers that stop with the test."""
    monkeypatch.setattr(batch_client, "SETTLE_SECONDS", 0.2)
    servers: list[BatchServer] = []

    def start(**settings: Any) -> BatchServer:
        servers.append(BatchServer(kit.reply_to, **settings).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def run(server: BatchServer, requests: Any, folder: Path | str, progress: Any = None, **options: Any) -> Summary:
    settings = {"batch_poll_seconds": 0.03, "backoff_base": 0.02, "backoff_cap": 0.1, "timeout": 60.0, **options}
    endpoint = Endpoint(server.base_url, "tiny", "digest", batch=True)
    return generate(requests, endpoint, folder, EngineOptions(**settings), progress)


def same(row: dict) -> dict:
    """A row less what batches and single calls do not share."""
    return {name: value for name, value in row.items() if name not in ("latency_ms", "queue_ms", "attempts")}


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "batches").iterdir())


def number_of(body: dict) -> int:
    return int(body["messages"][-1]["content"].split()[-1])


def test_the_rows_are_those_of_the_direct_path(kit, serve, batches, tmp_path):
    requests = kit.ask(60, temperature=0.5) + kit.ask(80, max_tokens=5)[60:]
    requests[3].messages[0]["content"] = "line\u2028separator \x0b ünï ☃"

    def cut(body: dict, execution: int) -> tuple[int, dict] | None:
        number = body["messages"][-1]["content"].split()[-1]
        return (400, {"error": {"message": "too odd"}}) if number == "7" else None

    async def fault(request, body: dict, attempt: int):
        from aiohttp import web

        return web.json_response(cut(body, 1)[1], status=400) if cut(body, 1) else None

    server = batches()
    server.line_fault = cut
    summary = run(server, requests, tmp_path / "batch")
    direct = kit.run(serve(fault), requests, tmp_path / "direct")
    assert (summary.total, summary.sent, summary.ok, summary.failed) == (80, 80, 79, 1)
    assert (summary.truncated, summary.failures) == (direct.truncated, direct.failures)
    assert (summary.prompt_tokens, summary.completion_tokens) == (direct.prompt_tokens, direct.completion_tokens)
    rows, others = kit.rows_of(tmp_path / "batch"), kit.rows_of(tmp_path / "direct")
    assert {name: same(row) for name, row in rows.items()} == {name: same(row) for name, row in others.items()}
    assert {row["attempts"] for row in rows.values()} == {1}
    assert {row["latency_ms"] for row in rows.values()} == {2000.0}
    assert len(server.batches) == 1
    assert left(tmp_path / "batch") == []
    assert not any("authorization" in headers for headers in server.headers)


def test_requests_with_one_digest_are_kept_apart(kit, batches, tmp_path):
    requests = kit.ask(10)
    for request in requests:
        request.messages[0]["content"] = "the same"
    assert run(batches(), requests, tmp_path).ok == 10
    assert len(kit.rows_of(tmp_path)) == 10


def test_a_rerun_sends_nothing_and_a_change_only_itself(kit, batches, tmp_path):
    server = batches()
    run(server, kit.ask(50), tmp_path)
    again = run(server, kit.ask(50), tmp_path)
    assert (again.sent, again.reused, len(server.batches)) == (0, 50, 1)
    requests = kit.ask(50)
    requests[5] = kit.ask(6, seed=2)[5]
    changed = run(server, requests, tmp_path)
    assert (changed.sent, changed.reused, len(server.batches)) == (1, 49, 2)
    assert "at seed 2" in kit.rows_of(tmp_path)["r5"]["response"]


def test_force_sends_everything_again(kit, batches, tmp_path):
    server = batches()
    run(server, kit.ask(30), tmp_path)
    forced = run(server, kit.ask(30), tmp_path, force=True)
    assert (forced.sent, forced.reused) == (30, 0)
    assert set(server.executed.values()) == {2}
    assert len(kit.rows_of(tmp_path)) == 30


@pytest.mark.parametrize("limit", [{"batch_requests": 40}, {"batch_bytes": 8000}])
def test_many_requests_are_several_batches_and_few_of_them_open(kit, batches, tmp_path, limit):
    server = batches(seconds=0.1)
    notes: list[str] = []
    options = {"batch_open": 2, "progress_seconds": 0.01, **limit}
    summary = run(server, kit.ask(200), tmp_path, lambda progress: notes.append(progress.note or ""), **options)
    assert summary.ok == 200
    assert set(server.executed.values()) == {1}
    assert 5 <= len(server.batches) <= 8
    sizes = [len(server.lines(batch)) for batch in server.batches.values()]
    assert max(sizes) <= 45
    assert any(note.startswith("2 batches of ") and note.endswith(" completed (server's count)") for note in notes)
    assert not any(note.startswith("3 batches") for note in notes)


def test_what_fails_for_the_moment_goes_into_the_next_batch(kit, batches, tmp_path):
    def fault(body: dict, execution: int) -> tuple[int, Any] | None:
        number = number_of(body)
        if number % 10 == 3:
            return 400, {"error": {"message": "maximum context length is 4096 tokens"}}
        if number % 10 == 4 and execution <= 2:
            return 429, {"error": {"message": "slow down"}}
        if number % 10 == 5:
            return 500, "oops"
        return None

    server = batches()
    server.line_fault = fault
    summary = run(server, kit.ask(40), tmp_path, max_attempts=3)
    assert summary.failures == {"context_too_long": 4, "server_error": 4}
    assert (summary.ok, summary.sent) == (32, 40)
    rows = kit.rows_of(tmp_path)
    assert (rows["r4"]["attempts"], rows["r4"]["error"]) == (3, None)
    assert (rows["r5"]["attempts"], rows["r5"]["error"]) == (3, "server_error: 500: oops")
    assert rows["r3"]["error"] == "context_too_long: 400: maximum context length is 4096 tokens"
    assert (rows["r3"]["attempts"], rows["r5"]["transient"], rows["r3"]["transient"]) == (1, True, False)
    assert [len(server.lines(batch)) for batch in server.batches.values()] == [40, 8, 8]
    server.line_fault = None
    assert run(server, kit.ask(40), tmp_path).sent == 4


def test_of_an_expired_batch_the_rest_is_sent_again(kit, batches, tmp_path):
    server = batches()
    server.expire = [25, 5]
    assert run(server, kit.ask(60), tmp_path).ok == 60
    assert [len(server.lines(batch)) for batch in server.batches.values()] == [60, 35, 30]
    assert set(server.executed.values()) == {1}
    server.expire = [0]
    expired = run(server, kit.ask(5, seed=2), tmp_path, max_attempts=1)
    assert expired.failures == {"timeout": 5}
    assert kit.rows_of(tmp_path)["r0"]["error"].startswith("timeout: batch_expired: This request could not")


def test_of_a_cancelled_batch_the_rest_is_sent_again(kit, batches, tmp_path):
    server = batches(seconds=1.0)

    def cancel() -> None:
        batch = next(iter(server.batches.values()))
        if batch["status"] == "in_progress":
            batch["status"], server.seconds = "cancelling", 0.0
            server.hooks.clear()

    server.hooks["retrieve"] = cancel
    assert run(server, kit.ask(300), tmp_path).ok == 300
    assert [batch["status"] for batch in server.batches.values()] == ["cancelled", "completed"]
    assert set(server.executed.values()) == {1}


def test_length_retries_draw_again_with_another_seed(kit, batches, tmp_path):
    server = batches()
    server.answer = lambda body: {
        **(reply := kit.reply_to(body)),
        "choices": [{**reply["choices"][0], "finish_reason": "length" if number_of(body) < 4 else "stop"}],
    }
    summary = run(server, kit.ask(10), tmp_path, length_retries=2)
    assert (summary.ok, summary.truncated, summary.sent) == (10, 4, 10)
    rows = kit.rows_of(tmp_path)
    assert [rows[f"r{i}"]["length_retries"] for i in (0, 4)] == [2, 0]
    assert rows["r0"]["discarded_tokens"] == 2 * rows["r4"]["completion_tokens"]
    seeds = [line["body"]["seed"] for batch in server.batches.values() for line in server.lines(batch)[:1]]
    assert len(set(seeds)) == 3
    assert run(server, kit.ask(10), tmp_path, length_retries=2).sent == 0


def test_a_cut_off_response_outlives_the_failure_of_a_later_draw(kit, batches, tmp_path):
    server = batches()
    server.line_fault = lambda body, execution: (400, {"error": {"message": "no"}}) if execution > 1 else None
    summary = run(server, kit.ask(6, max_tokens=3), tmp_path, length_retries=1)
    assert (summary.ok, summary.truncated, summary.sent, summary.failed) == (6, 6, 6, 0)
    assert summary.completion_tokens == 18
    assert kit.rows_of(tmp_path)["r0"]["finish_reason"] == "length"


def test_a_batch_that_fails_validation_is_one_error_with_the_servers_words(kit, batches, tmp_path):
    server = batches()
    server.refuse = [[{"code": "invalid", "message": "Unknown parameter 'top_q'.", "line": 3, "param": "body"}]]
    with pytest.raises(EngineError, match=r"refuses batch .* request 'r2': Unknown parameter 'top_q'"):
        run(server, kit.ask(10), tmp_path)
    assert run(server, kit.ask(10), tmp_path).ok == 10
    assert left(tmp_path) == []


def test_a_full_queue_is_waited_for(kit, batches, tmp_path):
    full = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
    server = batches(seconds=0.2)
    server.refuse = [[], [full], []]
    assert run(server, kit.ask(100), tmp_path, batch_requests=50).ok == 100
    assert [batch["status"] for batch in server.batches.values()] == ["completed", "failed", "completed"]
    server.refuse = [[full]]
    with pytest.raises(EngineError, match="Enqueued token limit"):
        run(server, kit.ask(10, seed=2), tmp_path)


def test_faults_of_the_moment_are_waited_out(kit, batches, tmp_path):
    server = batches(seconds=0.1)
    server.faults.update(upload=1, create=2, retrieve=2, content=1, half=1, lost=1)
    assert run(server, kit.ask(50), tmp_path).ok == 50
    assert len(server.batches) == 1
    assert set(server.executed.values()) == {1}


@pytest.mark.parametrize("keep_metadata", [True, False])
def test_a_lost_answer_to_create_does_not_create_twice(kit, batches, tmp_path, keep_metadata):
    server = batches()
    for seed in range(8):  # more batches than fit on one page of the server's list
        run(server, kit.ask(1, seed=seed), tmp_path)
    server.keep_metadata = keep_metadata
    server.faults["lost"] = 1
    assert run(server, kit.ask(50, seed=9), tmp_path).ok == 50
    assert len(server.batches) == 9


def test_a_server_that_stays_away_is_one_error_and_its_batches_are_picked_up(kit, batches, tmp_path):
    server = batches(seconds=0.2)
    stopped = threading.Event()

    def away() -> None:
        server.hooks.clear()
        stopped.set()

    server.hooks["retrieve"] = away
    threading.Thread(target=lambda: stopped.wait(60) and server.stop(), daemon=True).start()
    with pytest.raises(EndpointDownError, match="go on at the server"):
        run(server, kit.ask(50), tmp_path, give_up_seconds=0.3)
    server.start()
    assert run(server, kit.ask(50), tmp_path).ok == 50
    assert len(server.batches) == 1


def test_the_rows_may_go_to_an_object_store(kit, batches, tmp_path):
    server, url = batches(), f"memory://{tmp_path.name}"
    assert run(server, kit.ask(50), url, batch_requests=20).ok == 50
    assert run(server, kit.ask(50), url).reused == 50


def test_batches_go_to_one_endpoint(tmp_path):
    endpoints = [Endpoint(f"http://127.0.0.1:{port}/v1", "tiny", batch=True) for port in (1, 2)]
    with pytest.raises(EndpointRefusedError, match="one endpoint"):
        generate([], endpoints, tmp_path)


def test_a_server_without_a_batch_api_is_one_clear_error(kit, serve, tmp_path):
    with pytest.raises(EndpointRefusedError, match="run without batch"):
        run(serve(), kit.ask(3), tmp_path)


def test_a_refused_key_is_one_error_and_never_shows(kit, batches, tmp_path, monkeypatch):
    from aiohttp import web

    async def refuse(server: BatchServer, request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": f"bad {request.headers['Authorization']}"}}, status=401)

    monkeypatch.setenv("TEST_KEY", "sk-very-secret")
    monkeypatch.setattr(BatchServer, "_upload", refuse)
    server = batches()
    endpoint = Endpoint(server.base_url, "tiny", api_key_env="TEST_KEY", extra_headers={"X-Team": "a"}, batch=True)
    with pytest.raises(EndpointRefusedError, match=r"401: bad Bearer \*\*\*") as error:
        generate(kit.ask(3), endpoint, tmp_path)
    assert "sk-very" not in str(error.value)
    assert server.headers[0]["x-team"] == "a"


# Resuming. The engine runs in a process of its own, which the server kills at the moment in question.

RUN = """
import sys
from pathlib import Path
from resources.engine import Endpoint, EngineOptions, Request, batch_client, batch_results, generate
batch_client.SETTLE_SECONDS, batch_results.COMMIT_ROWS = 0.2, 100
url, folder, count, seed, poll, force = sys.argv[1:]
requests = (
    Request(f"r{i}", [{"role": "user", "content": f"question {i}"}], {"seed": int(seed)}) for i in range(int(count))
)
options = EngineOptions(batch_poll_seconds=float(poll), batch_requests=700, force=force == "force")
generate(requests, Endpoint(url, "tiny", "digest", batch=True), Path(folder), options)
"""


def start(server: BatchServer, folder: Path, count: int, seed: int = 1, poll: float = 0.03, force: str = ""):
    command = [sys.executable, "-c", RUN, server.base_url, str(folder), str(count), str(seed), str(poll), force]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)


def killed(server: BatchServer, folder: Path, when: str, nth: int = 1, **asked: Any) -> None:
    """Run until `when` happens at the server for the nth time, and kill the process at that moment."""
    process, times = start(server, folder, **asked), 0

    def kill() -> None:
        nonlocal times
        times += 1
        if times == nth:
            # Half of a batch's results have been sent: some of them are to be kept before it ends.
            assert when != "half" or until(lambda: any((folder / "responses").glob("*.parquet")))
            process.kill()
            process.wait()

    server.hooks[when] = kill
    _, err = process.communicate(timeout=120)
    server.hooks.clear()
    assert process.returncode == -signal.SIGKILL, err.decode()


@pytest.mark.parametrize(
    ("when", "nth", "batches_after"),
    [
        ("upload", 1, 2),  # nothing created
        ("create", 1, 2),  # created, the answer never seen
        ("create", 2, 2),
        ("created", 1, 2),
        ("retrieve", 5, 2),
        ("half", 1, 2),
    ],
)
def test_killed_at_any_moment_each_request_is_run_once(kit, batches, tmp_path, when, nth, batches_after):
    server = batches(seconds=0.3)
    # A batch that is looked at in vain five times takes as long as that.
    server.held = when == "retrieve"
    killed(server, tmp_path, when, nth, count=1200)
    server.held = False
    summary = run(server, kit.ask(1200), tmp_path, batch_requests=700)
    assert (summary.ok, summary.total) == (1200, 1200)
    assert (summary.reused > 0) == (when == "half")  # what was collected before the kill is there
    assert set(server.executed.values()) == {1}
    assert len(server.executed) == 1200
    assert len(server.batches) == batches_after
    rows = kit.rows_of(tmp_path)
    assert len(rows) == 1200
    assert rows["r1199"]["content"] == "<answer>question 1199</answer>"
    assert left(tmp_path) == []


def test_killed_again_and_again(kit, batches, tmp_path):
    server = batches(seconds=0.2)
    for when, nth in (("create", 1), ("retrieve", 1), ("half", 1)):
        killed(server, tmp_path, when, nth, count=1200)
    assert run(server, kit.ask(1200), tmp_path, batch_requests=700).ok == 1200
    assert set(server.executed.values()) == {1}


def test_killed_at_each_step_each_request_is_run_once(batches, tmp_path):
    server = batches()
    command = [sys.executable, str(ROOT / "tests/engine/kill_each_batch_step.py"), server.base_url, str(tmp_path), "9"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 8
    assert set(server.executed.values()) == {1}


def test_what_changed_while_it_was_under_way_is_not_taken(kit, batches, tmp_path):
    server = batches(seconds=0.2)
    killed(server, tmp_path, "created", count=100)
    requests = [*kit.ask(50), *kit.ask(60, seed=2)[50:], *kit.ask(110, max_tokens=3)[60:]]
    assert run(server, requests, tmp_path).ok == 110
    rows = kit.rows_of(tmp_path)
    assert ["at seed 2" in rows[f"r{i}"]["response"] for i in (0, 49, 50, 59)] == [False, False, True, True]
    assert [rows[f"r{i}"]["finish_reason"] for i in (49, 60, 99, 109)] == ["stop", "length", "length", "length"]
    assert sorted(len(server.lines(batch)) for batch in server.batches.values()) == [60, 100]


def test_a_batch_that_nobody_asks_for_any_more_is_cancelled_and_not_waited_for(kit, batches, tmp_path):
    server = batches(seconds=30)
    killed(server, tmp_path, "retrieve", count=100)
    server.seconds = 0.0
    assert run(server, kit.ask(100, seed=2), tmp_path).ok == 100
    assert [batch["status"] for batch in server.batches.values()] == ["cancelling", "completed"]
    assert left(tmp_path) == []


def test_force_too_takes_what_is_under_way(kit, batches, tmp_path):
    server = batches(seconds=0.2)
    run(server, kit.ask(100), tmp_path)
    killed(server, tmp_path, "created", count=100, force="force")
    assert run(server, kit.ask(100), tmp_path, force=True).sent == 100
    assert set(server.executed.values()) == {2}


def test_another_base_url_does_not_lose_what_is_under_way(kit, batches, tmp_path):
    server, other = batches(), batches()
    killed(server, tmp_path, "created", count=10)
    with pytest.raises(EngineError, match=f"submitted to {server.base_url}, not to {other.base_url}"):
        run(other, kit.ask(10), tmp_path)
    assert run(server, kit.ask(10), tmp_path).ok == 10


def test_a_batch_that_the_server_forgot_is_one_clear_error(kit, batches, tmp_path):
    server = batches()
    killed(server, tmp_path, "retrieve", count=10)
    server.batches.clear()
    with pytest.raises(EngineError, match="remove that file, and its requests are sent"):
        run(server, kit.ask(10), tmp_path)
    for path in (tmp_path / "batches").glob("*-ledger.json"):
        path.unlink()
    assert run(server, kit.ask(10), tmp_path).ok == 10


@pytest.mark.parametrize("name", ["ledger.json", "index.jsonl", "requests.jsonl"])
def test_a_damaged_file_is_one_clear_error(kit, batches, tmp_path, name):
    server = batches()
    killed(server, tmp_path, "retrieve", count=10)
    (path,) = (tmp_path / "batches").glob(f"*-{name}")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(JournalError, match="and paid"):
        run(server, kit.ask(10), tmp_path)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped_it_ends_at_once_and_says_that_batches_go_on(kit, batches, tmp_path, name):
    server = batches(seconds=1.0)
    path = tmp_path / "requests.jsonl"
    rows = ({"request_id": r.request_id, "messages": r.messages, "sampling": r.sampling} for r in kit.ask(100))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = "import typer; from mbt_assets.cli.generate import generate; typer.run(generate)"
    command = [sys.executable, "-c", code, str(path), "--base-url", server.base_url, "--model", "tiny", "--batch"]
    command += ["--model-digest", "digest", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    retrieved = threading.Event()
    server.hooks["retrieve"] = retrieved.set
    assert retrieved.wait(120)
    began = time.monotonic()
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 25  # it looks at its batch once in 30 s
    assert (process.returncode, "Traceback" in err) == (130, False), err
    assert "go on at the server" in err
    assert run(server, kit.ask(100), tmp_path / "out").ok == 100
    assert (len(server.batches), set(server.executed.values())) == (1, {1})


MEASURE = """
import resource, sys
from pathlib import Path
from resources.engine import Endpoint, EngineOptions, Request, generate
def requests(count):
    for i in range(count):
        yield Request(f"r{i}", [{"role": "user", "content": f"{i} " + "word " * 600}], {"seed": i})
count = int(sys.argv[2])
options = EngineOptions(batch_requests=500, batch_open=2, batch_poll_seconds=0.02)
summary = generate(requests(count), Endpoint(sys.argv[1], "tiny", batch=True), Path(sys.argv[3]), options)
assert summary.ok == count, summary
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_requests(batches, tmp_path):
    server, peaks = batches(), []
    for count in (1_000, 5_000):
        command = [sys.executable, "-c", MEASURE, server.base_url, str(count), str(tmp_path / str(count))]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] + 25, peaks


def test_the_direct_path_does_not_import_the_package():
    code = "import sys, resources.engine; from resources.engine import engine; assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
