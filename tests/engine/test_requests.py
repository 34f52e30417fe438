"""Requests: what makes two of them the same, and how files of them are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from resources.engine import Request, RequestError, read_requests, request_digest
from resources.engine.requests import Preparer, count_requests

HELLO = Request("a", [{"role": "user", "content": "Hello"}], {"temperature": 0.6, "seed": 42, "max_tokens": 100})


def test_the_token_limit_and_the_id_do_not_count():
    longer = replace(HELLO, request_id="b", sampling={**HELLO.sampling, "max_tokens": 200})
    assert request_digest("weights", longer) == request_digest("weights", HELLO)
    unlimited = replace(HELLO, sampling={"seed": 42, "temperature": 0.6})
    assert request_digest("weights", unlimited) == request_digest("weights", HELLO)


@pytest.mark.parametrize(
    "other",
    [
        replace(HELLO, sampling={**HELLO.sampling, "seed": 43}),
        replace(HELLO, sampling={**HELLO.sampling, "temperature": 0.7}),
        replace(HELLO, sampling={**HELLO.sampling, "top_k": 20}),
        replace(HELLO, messages=[{"role": "user", "content": "Hello!"}]),
        replace(HELLO, messages=[{"role": "system", "content": "Hello"}]),
    ],
)
def test_everything_else_counts(other):
    assert request_digest("weights", other) != request_digest("weights", HELLO)
    assert request_digest("other weights", HELLO) != request_digest("weights", HELLO)


def test_the_order_of_keys_does_not_count():
    turned = Request("a", [{"content": "Hello", "role": "user"}], dict(reversed(HELLO.sampling.items())))
    assert request_digest("weights", turned) == request_digest("weights", HELLO)


def test_sampling_goes_to_the_top_level_of_the_body():
    request = replace(HELLO, sampling={"top_k": 20, "reasoning_effort": "high", "stop": ["\n"], "max_tokens": 7})
    body = json.loads(Preparer("tiny", "weights")(request).body)
    assert body == {
        "model": "tiny", "messages": HELLO.messages, "top_k": 20, "reasoning_effort": "high", "stop": ["\n"],
        "max_tokens": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (replace(HELLO, messages=[]), "at least one message"),
        (replace(HELLO, messages=[{"content": "no role"}]), "`role`"),
        (replace(HELLO, sampling={"n": 4}), "`sampling` may not hold n"),
        (replace(HELLO, sampling={"stream": True}), "may not hold stream"),
        (replace(HELLO, sampling={"max_tokens": 0}), "at least 1"),
        (replace(HELLO, sampling={"max_tokens": "many"}), "whole number"),
        (replace(HELLO, sampling={"stop": {1, 2}}), "cannot be written as JSON"),
        (replace(HELLO, request_id=""), "request_id"),
        (replace(HELLO, request_id="\ud800"), "valid Unicode"),
        (replace(HELLO, messages=[{"role": "user", "content": "\ud800"}]), "cannot be written as JSON"),
    ],
)
def test_a_malformed_request_is_refused(request_, words):
    with pytest.raises(RequestError, match=words):
        Preparer("tiny", "weights")(request_)


ROW = {"request_id": "a", "messages": HELLO.messages, "sampling": HELLO.sampling}


def jsonl(folder: Path, *lines: object) -> Path:
    path = folder / "requests.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_a_jsonl_file_is_read_in_order(tmp_path):
    path = jsonl(tmp_path, ROW, "", {**ROW, "request_id": 7}, {"request_id": "c", "messages": HELLO.messages})
    assert [request.request_id for request in read_requests(path)] == ["a", "7", "c"]
    assert next(read_requests(path)) == HELLO
    assert count_requests(path) == 3


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([ROW, '{"request_id": "b", '], "line 2: is not JSON"),
        ([ROW, [1, 2]], "line 2: must be an object"),
        ([ROW, {"request_id": "b"}], "line 2: lacks `messages`"),
        ([ROW, {**ROW, "request_id": "b", "messages": "Hello"}], "line 2: `messages` must be a list"),
        ([ROW, {**ROW, "request_id": "b", "sampling": [1]}], "line 2: `sampling` must be an object"),
        ([ROW, {**ROW, "request_id": "b"}, ROW], "line 3: request_id 'a' is taken by row 1"),
        ([""], "holds no requests"),
    ],
)
def test_a_mistake_in_a_file_names_file_and_line(tmp_path, lines, words):
    path = jsonl(tmp_path, *lines)
    with pytest.raises(RequestError) as error:
        count_requests(path)
    assert str(path) in str(error.value)
    assert words in str(error.value)


def test_a_missing_file_is_one_clear_error(tmp_path):
    for name in ("none.jsonl", "none.parquet"):
        with pytest.raises(RequestError, match="cannot be read"):
            count_requests(tmp_path / name)


@pytest.mark.parametrize("as_text", [False, True])
def test_a_parquet_file_is_read_like_jsonl(tmp_path, as_text):
    rows = [{**ROW, "request_id": f"r{i}"} for i in range(3000)]
    rows[5] = {**rows[5], "sampling": {"seed": 1}}
    if as_text:
        rows = [{**r, "messages": json.dumps(r["messages"]), "sampling": json.dumps(r["sampling"])} for r in rows]
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(tmp_path / "requests.parquet")
    requests = list(read_requests(tmp_path / "requests.parquet"))
    assert [request.request_id for request in requests] == [f"r{i}" for i in range(3000)]
    assert requests[0] == replace(HELLO, request_id="r0")
    assert requests[5].sampling == {"seed": 1}


def test_a_mistake_in_a_parquet_file_names_the_row(tmp_path):
    rows = [ROW, {**ROW, "request_id": "b", "messages": None}]
    pl.DataFrame(rows).write_parquet(tmp_path / "requests.parquet")
    with pytest.raises(RequestError, match="row 2: lacks `messages`"):
        count_requests(tmp_path / "requests.parquet")
    (tmp_path / "text.parquet").write_text("not Parquet")
    with pytest.raises(RequestError, match="cannot be read as Parquet"):
        count_requests(tmp_path / "text.parquet")
