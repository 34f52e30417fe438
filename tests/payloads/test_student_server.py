"""The student server as a process of its own, through the real `openai` client, with an untrained student."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

COMMAND = [sys.executable, "-m", "mbt_assets.payloads.serve_student"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
MODEL = "tiny/blank"


@contextlib.contextmanager
def served(root, *arguments):
    process = subprocess.Popen(
        [*COMMAND, "--root", str(root), *arguments], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        ready, address = process.stdout.readline().split()
        assert ready == "READY"
        yield address
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@pytest.fixture(scope="module")
def root(blank_student):
    folder = blank_student.parent.parent
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "config.json").write_text("{}")
    shutil.copytree(blank_student, folder.parent / "outside", dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def address(root):
    with served(root, "--exit-with-parent", "--max-batch", "16") as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def ask(client, asked):
    def ask(number=0, **options):
        settings = {"model": MODEL, "max_tokens": 12, "temperature": 1.0, "seed": 1, **options}
        return client.chat.completions.create(messages=asked[number][1], **settings)

    return ask


def said(completion):
    return [choice.message.content for choice in completion.choices]


def test_health_and_models(address, client):
    assert httpx.get(f"{address}/health", timeout=60).json()["status"] == "ok"
    assert MODEL in [model.id for model in client.models.list()]


def test_usage_and_finish_reason_of_a_limited_reply(ask, asked, blank_student):
    from transformers import AutoTokenizer

    done = ask(max_tokens=5)
    prompt = AutoTokenizer.from_pretrained(blank_student).apply_chat_template(
        asked[0][1], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert done.choices[0].finish_reason == "length"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (len(prompt), 5)
    assert done.usage.total_tokens == len(prompt) + 5
    assert ask(max_completion_tokens=3, max_tokens=9).usage.completion_tokens == 3


def test_a_seed_fixes_the_reply_and_no_seed_leaves_it_open(ask):
    assert said(ask(seed=5)) == said(ask(seed=5))
    assert len({said(ask(seed=seed))[0] for seed in range(8)}) == 8
    assert said(ask(seed=None)) != said(ask(seed=None))


def test_a_reply_does_not_depend_on_who_is_in_the_batch(ask):
    alone = [said(ask(number, seed=number)) for number in range(24)]
    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(lambda number: said(ask(number, seed=number)), range(24)))
    assert sum(a == b for a, b in zip(alone, together, strict=True)) >= 23  # float sums may differ once


def test_n_choices_differ_and_are_counted_together(ask):
    done = ask(n=4, max_tokens=6)
    assert len(set(said(done))) == 4
    assert [choice.index for choice in done.choices] == [0, 1, 2, 3]
    assert done.usage.completion_tokens == 24


def test_temperature_0_and_top_k_1_take_the_likeliest_token(ask):
    greedy = said(ask(temperature=0, seed=1))
    assert greedy == said(ask(temperature=0, seed=2)) == said(ask(extra_body={"top_k": 1}, seed=3))
    assert greedy == said(ask(top_p=1e-6, seed=4))


def test_greedy_decoding_is_that_of_transformers(ask, asked, blank_student):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(blank_student), AutoModelForCausalLM.from_pretrained(blank_student)
    prompt = tokenizer.apply_chat_template(
        asked[2][1], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    new = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert said(ask(2, temperature=0)) == [tokenizer.decode(new, skip_special_tokens=True)]


def test_a_stop_string_ends_the_reply_and_is_cut_off(ask):
    text = said(ask(max_tokens=12))[0]
    words = text.split()
    done = ask(max_tokens=12, stop=["no such word", words[4]])
    assert done.choices[0].finish_reason == "stop"
    assert said(done)[0] == text[: text.index(words[4])]
    assert done.usage.completion_tokens < 12


def test_a_long_prompt_of_unknown_words_is_answered_beside_short_ones(client, ask):
    long = [{"role": "user", "content": "Quadratic " * 1500}]
    with ThreadPoolExecutor(4) as pool:
        short = [pool.submit(ask, number) for number in range(3)]
        done = client.chat.completions.create(model=MODEL, messages=long, max_tokens=4, seed=1)
        assert all(reply.result().choices for reply in short)
    assert done.usage.prompt_tokens > 1500


def test_a_prompt_longer_than_the_context_is_refused_for_good(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 9000}])
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("name", ["tiny/none", "", "../outside", "/etc", "tiny/../../outside", "a\0b", "tiny"])
def test_an_unknown_model_or_one_outside_the_root_is_not_found(ask, name):
    with pytest.raises(openai.NotFoundError) as refused:
        ask(model=name)
    assert refused.value.code == "model_not_found"


def test_a_checkpoint_that_cannot_be_loaded_says_so_and_the_server_goes_on(ask):
    with pytest.raises(openai.InternalServerError, match="cannot be loaded"):
        ask(model="broken")
    assert ask().choices


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"extra_body": {"top_k": -2}}, "top_k"),
        ({"extra_body": {"top_k": "many"}}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 10**6}, "n"),
        ({"seed": "x"}, "seed"),
        ({"stop": [1]}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"extra_body": {"messages": []}}, "messages"),
        ({"extra_body": {"stream": True}}, "stream"),
    ],
)
def test_a_bad_parameter_is_named(ask, options, param):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(**options)
    assert refused.value.param == param


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": 1}', b'{"model": "tiny/blank"}', b"\xff"])
def test_a_body_that_is_no_request_is_refused(address, body):
    reply = httpx.post(f"{address}/v1/chat/completions", content=body, timeout=60)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


def test_a_client_that_leaves_frees_its_place(address, asked, ask):
    body = {"model": MODEL, "messages": asked[0][1], "max_tokens": 4000, "n": 64}
    with contextlib.suppress(httpx.ReadTimeout):
        httpx.post(f"{address}/v1/chat/completions", json=body, timeout=0.5)
    started = time.monotonic()
    assert ask().choices
    assert time.monotonic() - started < 30  # the abandoned rows would take far longer


def test_it_ends_with_the_process_that_started_it(root):
    script = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen({[*COMMAND, '--root', str(root), '--exit-with-parent']!r}, stdout=subprocess.PIPE)\n"
        "print(p.pid, p.stdout.readline().decode().split()[1], flush=True)\n"
        "sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    _, address = parent.stdout.readline().split()
    assert httpx.get(f"{address}/health", timeout=60).status_code == 200
    parent.send_signal(signal.SIGKILL)
    parent.wait(60)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{address}/health", timeout=1)
        except httpx.TransportError:
            return
        time.sleep(0.1)
    pytest.fail("the server outlived its parent")
