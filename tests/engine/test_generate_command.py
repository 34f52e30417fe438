"""`mbt generate`: what it prints, its exit codes, and that a user's mistake is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from aiohttp import web
from typer.testing import CliRunner

from mbt_assets.cli.generate import generate

APP = typer.Typer()
APP.command()(generate)


def invoke(server, requests: Path, out: Path, *more: str):
    command = [str(requests), "--base-url", server.base_url, "--model", "tiny", "--out", str(out), *more]
    return CliRunner().invoke(APP, command)


@pytest.fixture
def requests(kit, tmp_path) -> Path:
    path = tmp_path / "requests.jsonl"
    rows = [{"request_id": r.request_id, "messages": r.messages} for r in kit.ask(30)]
    rows[3]["sampling"] = {"max_tokens": 5, "seed": 9}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_all_rows_good_is_exit_code_0(kit, serve, requests, tmp_path):
    server = serve()
    done = invoke(server, requests, tmp_path / "out", "--temperature", "0.6", "--max-tokens", "100", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["total"], summary["ok"], summary["truncated"]) == (30, 30, 1)
    assert "30/30 done" in done.stderr
    assert "30 rows in" in done.stderr
    assert {body["temperature"] for body in server.bodies} == {0.6}
    assert sorted({body["max_tokens"] for body in server.bodies}) == [5, 100]
    assert len(kit.rows_of(tmp_path / "out")) == 30


def test_failed_rows_are_exit_code_1_and_kept(kit, serve, requests, tmp_path):
    async def fault(request: web.Request, body: dict, attempt: int) -> web.StreamResponse | None:
        if body["messages"][0]["content"] in ("question 3", "question 4"):
            return web.json_response({"error": {"message": "no"}}, status=400)
        return None

    done = invoke(serve(fault), requests, tmp_path / "out")
    assert done.exit_code == 1
    assert "2 rows failed (bad_request 2): see" in done.stderr
    assert len(kit.rows_of(tmp_path / "out")) == 30


def test_a_mistake_in_the_file_is_exit_code_2_and_nothing_is_sent(serve, requests, tmp_path):
    server = serve()
    with requests.open("a") as file:
        file.write("{oops\n")
    done = invoke(server, requests, tmp_path / "out")
    assert (done.exit_code, server.asked) == (2, {})
    assert done.stderr.startswith(f"error: {requests}, line 31: is not JSON")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set"),
        (["--base-url", "localhost"], "must be an http"),
        (["--timeout", "0"], "timeout is 0"),
    ],
)
def test_a_mistake_in_the_command_is_exit_code_2(serve, requests, tmp_path, more, words):
    done = invoke(serve(), requests, tmp_path / "out", *more)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.output


def test_an_endpoint_that_is_not_there_is_one_line(kit, requests, tmp_path):
    server = kit.ChatServer().start()
    server.stop()
    done = invoke(server, requests, tmp_path / "out", "--give-up", "0.5")
    assert done.exit_code == 1
    assert "error: http://127.0.0.1" in done.stderr
    assert "has been down for" in done.stderr
    assert "Traceback" not in done.output


def test_help_says_what_it_does():
    done = CliRunner().invoke(APP, ["--help"])
    assert done.exit_code == 0
    assert "--concurrency" in done.output


def test_several_endpoints_share_the_load(kit, serve, requests, tmp_path):
    servers = serve(latency=0.02), serve(latency=0.02)
    done = invoke(servers[0], requests, tmp_path / "out", "--base-url", servers[1].base_url, "--concurrency", "8")
    assert done.exit_code == 0, done.output
    assert all(sum(server.asked.values()) > 5 for server in servers)
    assert sum(sum(server.asked.values()) for server in servers) == 30


def test_further_draws_and_reasoning_are_asked_for_by_flags(kit, serve, requests, tmp_path):
    async def mute(request: web.Request, body: dict, attempt: int) -> web.Response | None:
        if body["messages"][0]["content"] == "question 7":
            return web.json_response({"choices": [{"message": {"content": "Paris."}, "finish_reason": "stop"}]})
        return None

    done = invoke(serve(mute), requests, tmp_path / "out", "--reasons", "--length-retries", "2")
    assert done.exit_code == 1
    assert "no_reasoning 1" in done.stderr
    assert kit.rows_of(tmp_path / "out")["r3"]["length_retries"] == 2  # the row whose limit is too low
