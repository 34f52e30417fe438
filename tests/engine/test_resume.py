"""Resuming: a rerun sends what is missing or changed and nothing else, however the last run ended."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from resources.engine import Endpoint, Summary, generate

ROOT = Path(__file__).parents[2]
MBT_GENERATE = "import typer; from mbt_assets.cli.generate import generate; typer.run(generate)"


def test_a_rerun_sends_nothing(kit, serve, tmp_path):
    server = serve()
    kit.run(server, kit.ask(200), tmp_path)
    before = kit.rows_of(tmp_path)
    summary = kit.run(server, kit.ask(200), tmp_path)
    assert (summary.sent, summary.reused, summary.ok) == (0, 200, 200)
    assert kit.rows_of(tmp_path) == before


def test_only_what_changed_is_sent_and_replaced(kit, serve, tmp_path):
    server = serve()
    kit.run(server, kit.ask(200), tmp_path)
    requests = kit.ask(200)
    requests[50:60] = kit.ask(60, seed=2)[50:]
    summary = kit.run(server, requests, tmp_path)
    assert (summary.sent, summary.reused) == (10, 190)
    rows = kit.rows_of(tmp_path)
    assert {row_id for row_id, row in rows.items() if "at seed 2" in row["response"]} == {
        f"r{i}" for i in range(50, 60)
    }
    back = kit.run(server, kit.ask(200), tmp_path)
    assert (back.sent, back.reused) == (10, 190)


def test_what_is_no_longer_asked_for_goes_and_what_is_new_comes(kit, serve, tmp_path):
    server = serve()
    kit.run(server, kit.ask(100), tmp_path)
    summary = kit.run(server, kit.ask(150)[80:], tmp_path)
    assert (summary.total, summary.sent, summary.reused) == (70, 50, 20)
    assert set(kit.rows_of(tmp_path)) == {f"r{i}" for i in range(80, 150)}


def test_another_model_digest_reuses_nothing(kit, serve, tmp_path):
    from resources.engine import Endpoint, generate

    url = serve().base_url
    generate(kit.ask(20), Endpoint(url, "tiny", "weights 1"), tmp_path)
    assert generate(kit.ask(20), Endpoint(url, "renamed", "weights 1"), tmp_path).reused == 20
    assert generate(kit.ask(20), Endpoint(url, "tiny", "weights 2"), tmp_path).sent == 20


def test_a_raised_token_limit_sends_only_what_was_truncated(kit, serve, tmp_path):
    server = serve()

    def ask(limit: int) -> list:
        requests = kit.ask(15, max_tokens=limit)
        for request in requests[:5]:
            request.messages[0]["content"] = "word " * 50
        return requests

    summary = kit.run(server, ask(30), tmp_path)
    assert (summary.ok, summary.truncated) == (15, 5)
    summary = kit.run(server, ask(1000), tmp_path)
    assert (summary.sent, summary.reused, summary.truncated) == (5, 10, 0)
    assert {row["finish_reason"] for row in kit.rows_of(tmp_path).values()} == {"stop"}


def test_once_the_model_should_reason_rows_without_reasoning_are_sent_again(kit, serve, tmp_path):
    def fault_for(mute: range):
        async def fault(request: web.Request, body: dict, attempt: int) -> web.Response | None:
            if int(body["messages"][-1]["content"].split()[-1]) not in mute:
                return None
            return web.json_response({"choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}]})

        return fault

    def run(server, reasons: bool) -> Summary:
        return generate(kit.ask(30), Endpoint(server.base_url, "tiny", "digest", reasons=reasons), tmp_path)

    server = serve(fault_for(range(10)))
    assert run(server, False).ok == 30
    summary = run(server, True)
    assert (summary.reused, summary.sent, summary.failures) == (20, 10, {"no_reasoning": 10})
    assert "Paris." in kit.rows_of(tmp_path)["r3"]["error"]
    summary = run(serve(), True)  # The server's reasoning parser is switched on.
    assert (summary.reused, summary.sent, summary.ok) == (20, 10, 30)


def test_force_sends_everything(kit, serve, tmp_path):
    server = serve()
    kit.run(server, kit.ask(50), tmp_path)
    summary = kit.run(server, kit.ask(50), tmp_path, force=True)
    assert (summary.sent, summary.reused) == (50, 0)
    assert len(kit.rows_of(tmp_path)) == 50


def write_requests(path: Path, requests: list) -> Path:
    rows = ({"request_id": r.request_id, "messages": r.messages, "sampling": r.sampling} for r in requests)
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return path


def start(server, requests: Path, folder: Path, *more: str, python: list[str] | None = None) -> subprocess.Popen:
    command = [*(python or [sys.executable, "-c", MBT_GENERATE]), str(requests), "--base-url", server.base_url]
    command += ["--model", "tiny", "--model-digest", "digest", "--out", str(folder), "--concurrency", "16", *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def same(row: dict) -> dict:
    """A row less what no two runs share."""
    return {name: value for name, value in row.items() if name not in ("latency_ms", "queue_ms", "attempts")}


def rough(seed: int):
    """A fifth of the attempts is refused for now, one in twenty breaks, one in fifty loses its connection."""
    dice = random.Random(seed)

    async def fault(request: web.Request, body: dict, attempt: int) -> web.StreamResponse | None:
        number = dice.random()
        if number < 0.2:
            return web.json_response({"error": {"message": "slow down"}}, status=429)
        if number < 0.25:
            return web.Response(status=500, text="oops")
        if number < 0.27:
            request.transport.close()
            return web.Response()
        return None

    return fault


def test_killed_twenty_times_in_a_storm_it_ends_as_if_undisturbed(kit, serve, tmp_path):
    """Two endpoints that fail at random, one of which dies midway, and an engine that is killed again and again."""
    requests, dice = kit.ask(3000), random.Random(5)
    stays, dies = serve(rough(1), latency=0.02), kit.ChatServer(rough(2), latency=0.02).start()
    path = write_requests(tmp_path / "requests.jsonl", requests)
    second = ("--base-url", dies.base_url, "--max-attempts", "40", "--concurrency", "8")

    def answered() -> int:
        return sum(stays.asked.values()) + sum(dies.asked.values())

    for kill in range(20):
        before = answered()
        process = start(stays, path, tmp_path / "killed", *second)
        while answered() == before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        time.sleep(dice.uniform(0.0, 0.4))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"kill {kill} came too late"
        if kill == 10:
            dies.stop()
    last = start(stays, path, tmp_path / "killed", *second, "--concurrency", "64", "--json")
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    summary = orjson.loads(out)
    assert (summary["total"], summary["ok"]) == (3000, 3000)
    assert summary["reused"] > 0
    kit.run(serve(), requests, tmp_path / "undisturbed")
    killed, undisturbed = kit.rows_of(tmp_path / "killed"), kit.rows_of(tmp_path / "undisturbed")
    assert len(killed) == 3000
    assert all(same(row) == same(undisturbed[request_id]) for request_id, row in killed.items())


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped_it_commits_what_it_has_and_says_so(kit, serve, tmp_path, name):
    server = serve(latency=0.05)
    path = write_requests(tmp_path / "requests.jsonl", kit.ask(5000))
    process = start(server, path, tmp_path / "out")
    while sum(server.asked.values()) < 200:
        time.sleep(0.005)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert sum(server.asked.values()) < 1000  # of 5000
    assert process.returncode == 130, err
    assert "are kept" in err
    assert "Traceback" not in err
    answered = sum(server.asked.values())
    summary = kit.run(server, kit.ask(answered), tmp_path / "out")
    assert summary.total == answered


def test_the_command_line_refuses_a_folder_in_use(kit, serve, tmp_path):
    server = serve(latency=0.5)
    path = write_requests(tmp_path / "requests.jsonl", kit.ask(5000))
    first = start(server, path, tmp_path / "out")
    while not server.asked:
        time.sleep(0.005)
    second = start(server, path, tmp_path / "out")
    _, err = second.communicate(timeout=120)
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert f"pid {first.pid} " in err


MEASURE = """
import resource, sys
from pathlib import Path
from resources.engine import Endpoint, EngineOptions, Request, generate
def requests(count):
    for i in range(count):
        yield Request(f"r{i}", [{"role": "user", "content": f"{i} " + "word " * 600}], {"seed": i})
count = int(sys.argv[2])
summary = generate(requests(count), Endpoint(sys.argv[1], "tiny"), Path(sys.argv[3]), EngineOptions(concurrency=64))
assert summary.ok == count, summary
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_requests(serve, tmp_path):
    server = serve(latency=0.0, remember=False)
    peaks = []
    for count in (2_000, 12_000):
        command = [sys.executable, "-c", MEASURE, server.base_url, str(count), str(tmp_path / str(count))]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] + 100, peaks
