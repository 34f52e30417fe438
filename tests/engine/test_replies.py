"""Replies: reasoning in all the places where servers put it, and what each failure means."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.engine.replies import KINDS, WORDS_LIMIT, Completion, Failure, read_reply, retry_after


def reply(finish_reason: str = "stop", usage: object = None, **message: object) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}], "usage": usage}).encode()


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_that_the_server_separates_is_put_back_into_the_response(field):
    read = read_reply(200, {}, reply(content="\n\n<answer>x</answer>", **{field: "\nThink.\n"}))
    assert (read.reasoning, read.content) == ("Think.", "<answer>x</answer>")
    assert read.response == "<think>\nThink.\n</think>\n\n<answer>x</answer>"


@pytest.mark.parametrize(
    ("content", "reasoning", "rest"),
    [
        ("<think>\nThink.\n</think>\n\nx", "Think.", "x"),
        ("Think.\n</think>\n\nx", "Think.", "x"),
        ("<think>\nThink and never", "Think and never", ""),
        ("<think>\n\n</think>\n\nx", None, "x"),
        ("x", None, "x"),
        ("", None, ""),
    ],
)
def test_reasoning_in_tags_is_taken_apart_and_the_response_left_as_it_is(content, reasoning, rest):
    read = read_reply(200, {}, reply(content=content))
    assert (read.response, read.reasoning, read.content) == (content, reasoning, rest)


def test_reasoning_cut_off_by_the_limit_stays_open():
    read = read_reply(200, {}, reply("length", content=None, reasoning="Think and"))
    assert (read.response, read.content, read.finish_reason) == ("<think>\nThink and", "", "length")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (reply(content="Paris."), "no_reasoning"),
        (reply(content="<think>\n\n</think>\n\nParis."), "no_reasoning"),
        (reply(content="", reasoning=""), "no_reasoning"),
        (reply("length", content="I think that"), None),
        (reply(content="Hm.</think>Paris."), None),
        (reply(content="Paris.", reasoning_content="Hm."), None),
    ],
)
def test_a_model_that_should_reason_and_does_not_has_failed(body, kind):
    read = read_reply(200, {}, body, reasons=True)
    assert (read.kind if isinstance(read, Failure) else None) == kind
    assert isinstance(read_reply(200, {}, body), Completion)


def test_tokens_are_read_where_the_server_counts_them():
    usage = {
        "prompt_tokens": 5, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 3},
        "prompt_tokens_details": {"cached_tokens": 4},
    }  # fmt: skip
    read = read_reply(200, {}, reply(content="x", usage=usage))
    assert (read.prompt_tokens, read.completion_tokens, read.reasoning_tokens, read.cached_tokens) == (5, 7, 3, 4)
    read = read_reply(200, {}, reply(content="x", usage={"prompt_tokens": "5", "prompt_tokens_details": None}))
    assert (read.prompt_tokens, read.completion_tokens) == (None, None)


def error(message: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error("temperature must be positive"), "bad_request"),
        (400, error("This model's maximum context length is 4096 tokens"), "context_too_long"),
        (400, error("too long", "context_length_exceeded"), "context_too_long"),
        (
            400,
            error("The decoder prompt (length 9000) is longer than the maximum model length of 8192."),
            "context_too_long",
        ),
        (
            400,
            error("You passed 9000 input tokens. However, the model's context length is only 8192 tokens"),
            "context_too_long",
        ),
        (413, error("the request exceeds the available context size"), "context_too_long"),
        (400, error("flagged", "content_filter"), "content_filter"),
        (401, error("bad key"), "unauthorized"),
        (403, b"", "forbidden"),
        (404, error("no such model"), "not_found"),
        (413, b"", "bad_request"),
        (422, json.dumps({"detail": [{"loc": ["body"]}]}).encode(), "bad_request"),
        (307, b"", "redirect"),
        (204, b"", "no_choices"),
        (405, b"", "not_found"),
        (408, b"", "timeout"),
        (429, error("slow down"), "rate_limited"),
        (429, error("no money", "insufficient_quota"), "quota"),
        (500, b"\xff\xfe", "server_error"),
        (503, b"<html>", "unavailable"),
        (200, b"<html>maintenance</html>", "html"),
        (200, b"\xff\xfe\x00", "not_utf8"),
        (200, reply(content="x").replace(b'"x"', b'"\xff"'), "not_utf8"),
        (200, b'{"choices": [{"mess', "not_json"),
        (200, b"", "not_json"),
        (200, b'{"choices": []}', "no_choices"),
        (200, b'{"choices": [{"message": null}]}', "no_choices"),
        (200, b"[]", "no_choices"),
        (200, error("gone wrong"), "no_choices"),
        (200, reply("content_filter", content=""), "content_filter"),
        (200, reply(content=None, refusal="I cannot"), "refusal"),
    ],
)
def test_each_failure_has_its_kind(status, body, kind):
    read = read_reply(status, {}, body)
    assert isinstance(read, Failure)
    assert read.kind == kind
    assert str(status) in read.message or kind in ("content_filter", "refusal")


def test_what_can_change_is_sent_again_and_what_cannot_is_not():
    assert {kind for kind, meaning in KINDS.items() if meaning.retry} == {
        "rate_limited", "server_error", "unavailable", "timeout", "connection", "incomplete", "html", "not_utf8",
        "not_json", "no_choices",
    }  # fmt: skip
    assert {kind for kind, meaning in KINDS.items() if not meaning.resend} == {
        "bad_request", "context_too_long", "content_filter", "refusal",
    }  # fmt: skip


def test_the_servers_words_are_kept_but_bounded():
    read = read_reply(400, {}, error("bad  \n temperature " + "x" * 10_000))
    assert read.message.startswith("400: bad temperature xxx")
    assert len(read.message) <= WORDS_LIMIT + 5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After-Ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1e999"}, None),
        ({"Retry-After-Ms": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_seconds(headers, seconds):
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date():
    then = int(time.time()) + 30
    before = then - time.time()
    seconds = retry_after({"Retry-After": formatdate(then, usegmt=True)})
    assert then - time.time() <= seconds <= before
    assert retry_after({"Retry-After": formatdate(time.time() - 30, usegmt=True)}) == 0.0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "reasoning", "finish_reason", "usage", "error", "prompt_tokens",
                 "refusal", "text", "code", "detail", "completion_tokens_details"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)  # fmt: skip


@given(st.sampled_from([200, 302, 400, 404, 429, 500, 503]), st.binary(max_size=200) | json_values.map(json.dumps))
def test_no_reply_is_fatal(status, body):
    body = body if isinstance(body, bytes) else body.encode()
    read = read_reply(status, {"Retry-After": "x"}, body)
    assert isinstance(read, Completion | Failure)
    if isinstance(read, Completion):
        assert isinstance(read.response, str)
        assert read.content in read.response
