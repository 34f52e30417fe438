"""The server of the rule-based models, as a process of its own and through the real `openai` client."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import openai
import orjson
import pytest

from mbt_assets import prompts
from mbt_assets.benchmarks import trails
from mbt_assets.scoring import mqi

COMMAND = [sys.executable, "-m", "mbt_assets.payloads.serve_rules"]
LEAST_RATE = 800  # requests per second that the server promises for small prompts
CLIENTS = 32


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[str]:
    """A running server; yields its address."""
    process = subprocess.Popen([*COMMAND, "--exit-with-parent", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        ready, address = process.stdout.readline().split()
        assert ready == "READY"
        yield address
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def question() -> dict:
    return next(trails.generate("train", 1, seed=1))


def ask(client: openai.OpenAI, question: dict, name: str = "answer", **options):
    model = options.pop("model", "rule-teacher")
    messages = prompts.render(name, **question, trace="", solution="", prediction="city0")
    return client.chat.completions.create(model=model, messages=messages, **options)


def test_the_teacher_answers_with_its_reasoning_apart(client, question):
    reply = ask(client, question, temperature=0.6, top_p=0.95, seed=43, extra_body={"top_k": 20})
    [choice] = reply.choices
    assert choice.message.content == f"<answer>{question['answer']}</answer>"
    assert question["answer"] in choice.message.reasoning
    assert choice.finish_reason == "stop"
    words = len(choice.message.reasoning.split()) + len(choice.message.content.split())
    assert reply.usage.completion_tokens == words
    assert reply.usage.prompt_tokens == len(prompts.render("answer", **question)[0]["content"].split())
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + words


def test_the_judge_gives_content_only(client, question):
    message = ask(client, question, "verdict", model="rule-judge").choices[0].message
    assert message.content in ("A", "B")
    assert message.reasoning is None


def test_it_lists_its_models_and_its_health(client, address):
    assert [model.id for model in client.models.list()] == ["rule-teacher", "rule-judge"]
    assert httpx.get(f"{address}/health", timeout=60).status_code == 200


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_limit_in_the_reasoning_leaves_no_content(client, question, limit: str):
    reply = ask(client, question, **{limit: 7})
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].message.content is None
    assert len(reply.choices[0].message.reasoning.split()) == 7
    assert reply.usage.completion_tokens == 7


def test_a_limit_in_the_content_cuts_the_content(client, question):
    full = ask(client, question, "mbt_s").choices[0].message
    limit = len(full.reasoning.split()) + 5
    reply = ask(client, question, "mbt_s", max_tokens=limit)
    assert reply.choices[0].finish_reason == "length"
    assert full.content.startswith(reply.choices[0].message.content)
    assert len(reply.choices[0].message.content.split()) == 5


def test_a_limit_that_is_just_enough_is_no_limit(client, question):
    full = ask(client, question)
    assert ask(client, question, max_tokens=full.usage.completion_tokens).choices[0].finish_reason == "stop"


def test_a_stop_string_ends_the_content(client, question):
    assert ask(client, question, stop=["</answer>"]).choices[0].message.content == f"<answer>{question['answer']}"


def test_an_unknown_model_is_not_found(client, question):
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-oss-120b' here; there are: rule-teacher, rule-judge"):
        ask(client, question, model="gpt-oss-120b")


def test_a_foreign_prompt_is_refused_for_good(client):
    with pytest.raises(openai.BadRequestError, match="answers only this project's prompts") as caught:
        client.chat.completions.create(model="rule-teacher", messages=[{"role": "user", "content": "Tell me a joke."}])
    assert caught.value.code == "unknown_prompt"


def test_a_prompt_for_the_other_model_is_refused(client, question):
    with pytest.raises(openai.BadRequestError, match="send it to the rule teacher"):
        ask(client, question, model="rule-judge")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"{}", "model"),
        (b'{"model": 7}', "model"),
        (b'{"model": "rule-judge"}', "messages"),
        (b'{"model": "rule-judge", "messages": []}', "messages"),
        (b'{"model": "rule-judge", "messages": ["hi"]}', "messages"),
        (b'{"model": "rule-judge", "messages": [{"role": "user"}]}', "messages"),
        (b'{"model": "rule-judge", "messages": [{"role": "user", "content": "x"}], "n": 2}', "n"),
        (b'{"model": "rule-judge", "messages": [{"role": "user", "content": "x"}], "stream": true}', "stream"),
        (b'{"model": "rule-judge", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens"),
        (b'{"model": "rule-judge", "messages": [{"role": "user", "content": "x"}], "max_tokens": "9"}', "max_tokens"),
        (b'{"model": "rule-judge", "messages": [{"role": "user", "content": "x"}], "seed": 1.5}', "seed"),
        (b'{"model": "rule-judge", "messages": [{"role": "user", "content": "x"}], "stop": [1]}', "stop"),
        (b'{"model": "rule-judge", "messages": [{"role": "user", "content": "x"}]}', "messages"),
    ],
)
def test_a_malformed_request_is_refused_in_openais_form(address, body: bytes, param: str | None):
    reply = httpx.post(f"{address}/v1/chat/completions", content=body, timeout=60)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


def test_other_paths_and_methods_are_refused_in_openais_form(address):
    assert (
        httpx.get(f"{address}/v1/embeddings", timeout=60).json()["error"]["message"]
        == "GET /v1/embeddings: no such route or method"
    )
    assert httpx.get(f"{address}/v1/chat/completions", timeout=60).status_code == 405


def test_a_line_of_a_megabyte_is_served(client, question):
    documents = [*question["documents"], {"title": "long", "sentences": ["word " * 200_000]}]
    reply = ask(client, question | {"documents": documents})
    assert reply.choices[0].message.content == f"<answer>{question['answer']}</answer>"


def test_it_is_fast_enough_to_never_be_what_one_waits_for(address):
    questions = trails.generate("train", 100, seed=2)
    bodies = [
        orjson.dumps({"model": "rule-teacher", "messages": prompts.render("answer", **question), "max_tokens": 256})
        for question in questions
    ]
    assert any(asyncio.run(rate(address, bodies, 1500)) > LEAST_RATE for _ in range(20))


async def rate(address: str, bodies: list[bytes], count: int) -> float:
    """Requests per second over raw keep-alive connections, so that the client costs little."""
    host, port = address.removeprefix("http://").split(":")
    pending = iter(range(count))

    async def work() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in pending:
            body = bodies[number % len(bodies)]
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answered = await reader.readuntil(b"\r\n\r\n")
            assert answered.startswith(b"HTTP/1.1 200")
            length = int(answered.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return count / (time.perf_counter() - started)


def test_latency_is_added_to_each_reply_and_replies_overlap(question):
    with served("--latency-ms", "300") as address:

        async def ask_many() -> None:
            messages = prompts.render("answer", **question)
            async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
                await asyncio.gather(
                    *(client.chat.completions.create(model="rule-teacher", messages=messages) for _ in range(20))
                )

        def seconds() -> float:
            started = time.perf_counter()
            asyncio.run(ask_many())
            return time.perf_counter() - started

        # One after the other they would take six seconds each time.
        assert 0.3 <= min(seconds() for _ in range(3)) < 4


def test_a_taken_port_is_one_clear_line(address):
    port = address.rsplit(":", 1)[1]
    ended = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert ended.stderr.strip() == f"cannot serve on 127.0.0.1:{port}: Address already in use; take another port"


def test_sigterm_ends_it_cleanly():
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("READY ")
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors


STARTER = """
import subprocess, sys, threading
started = []
def start():
    started.append(subprocess.Popen([sys.executable, "-m", "mbt_assets.payloads.serve_rules", "--exit-with-parent"],
                                    stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True))
    print(started[0].stdout.readline().strip(), started[0].pid, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
sys.stdin.read()
"""


def test_it_outlives_the_thread_that_started_it_but_not_the_process():
    parent = subprocess.Popen([sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _, address, pid = parent.stdout.readline().split()
    time.sleep(1)
    assert httpx.get(f"{address}/health", timeout=60).status_code == 200
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{address}/health", timeout=60)
        except httpx.TransportError:
            return
        time.sleep(0.1)
    os.kill(int(pid), signal.SIGKILL)
    pytest.fail("the server still answers after its parent was killed")


def test_torch_is_not_imported():
    code = "import sys, mbt_assets.payloads.serve_rules; print('torch' in sys.modules, 'dagster' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]


SCHEMA = mqi.FORM.request("json_schema")["response_format"]


def test_the_judge_answers_as_json_where_a_schema_asks_for_it(client: openai.OpenAI, question: dict):
    plain = ask(client, question, "mqi", model="rule-judge").choices[0].message.content
    content = ask(client, question, "mqi", model="rule-judge", response_format=SCHEMA).choices[0].message.content
    assert list(orjson.loads(content)) == ["L_OBS", "PHASES", "CONFIDENCE"]
    assert mqi.FORM.text(content, "json_schema") == plain


@pytest.mark.parametrize(
    ("template", "wanted"),
    [("mqi", {"type": "json_object"}), ("verdict", SCHEMA), ("mqi", {"type": "json_schema", "json_schema": {}})],
)
def test_a_format_that_is_not_served_is_refused(client: openai.OpenAI, question: dict, template: str, wanted: dict):
    with pytest.raises(openai.BadRequestError, match=r"response_format|does not fit"):
        ask(client, question, template, model="rule-judge", response_format=wanted)
