"""Serves checkpoints on the CPU behind the OpenAI chat protocol: `python -m mbt_assets.payloads.serve_student`.

A model's name is the path of its folder below `--root`. Requests for one model are batched.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from mbt_assets import __version__
from mbt_assets.payloads.loopback import serve
from mbt_assets.payloads.openai_http import (
    RequestError,
    build_app,
    choice,
    completion,
    parsed,
    stop_strings,
    token_limit,
)
from mbt_assets.payloads.student_batching import Batcher, Checkpoints, Loaded
from mbt_assets.payloads.student_decoding import Row

MOST_CHOICES = 128
"""Most choices (`n`) of one request: they are decoded in one batch."""
NEUTRAL: Mapping[str, Any] = {
    "logprobs": False,
    "top_logprobs": 0,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "repetition_penalty": 1,
    "min_p": 0,
    "logit_bias": {},
    "tools": [],
    "response_format": {"type": "text"},
}


class StudentService:
    """Answers chat completions from checkpoints below a folder."""

    def __init__(self, root: Path, max_batch: int):
        self.checkpoints = Checkpoints(root)
        self.batcher = Batcher(max_batch)

    async def complete(self, data: bytes) -> dict[str, Any]:
        """The body of a completion for the body of a request.

        Raises:
            RequestError: the request is malformed, for an unknown model, or too long.
        """
        asked = parsed(data)
        loaded = await asyncio.to_thread(self.checkpoints.get, asked["model"])
        rows = rows_of(asked, loaded)
        done = await asyncio.wrap_future(self.batcher.submit(loaded, rows))
        choices = [
            choice(i, {"role": "assistant", "content": row.text}, row.finish_reason) for i, row in enumerate(done)
        ]
        return completion(asked["model"], choices, len(rows[0].prompt), sum(len(row.tokens) for row in done))


def rows_of(asked: Mapping[str, Any], loaded: Loaded) -> list[Row]:
    """The sequences that a request asks for: `n` of them, each with random numbers of its own.

    A request without a seed gets a fresh one. A token limit beyond the context is cut to what is left of it.

    Raises:
        RequestError: a parameter is out of range or not served, or the prompt fills the context.
    """
    _refuse_unserved(asked)
    prompt = _prompt(asked, loaded)
    room = loaded.context - len(prompt)
    if room < 1:
        message = f"this model's context is {loaded.context} tokens; the prompt alone has {len(prompt)}"
        raise RequestError(400, message, "messages", "context_length_exceeded")
    seed = asked.get("seed")
    settings: dict[str, Any] = {
        "limit": min(token_limit(asked) or room, room),
        "temperature": _number(asked, "temperature", 1.0, 0.0, 100.0),
        "top_p": _number(asked, "top_p", 1.0, 1e-9, 1.0),
        "top_k": max(int(_number(asked, "top_k", 0, -1, 10**9)), 0),
        "seed": secrets.randbits(63) if seed is None else seed,
        "stop": stop_strings(asked),
    }
    count = int(_number(asked, "n", 1, 1, MOST_CHOICES))
    return [Row(prompt, choice=i, **settings) for i in range(count)]


def _prompt(asked: Mapping[str, Any], loaded: Loaded) -> list[int]:
    try:
        encoded: Any = loaded.tokenizer.apply_chat_template(
            asked["messages"], add_generation_prompt=True, tokenize=True, return_dict=True
        )
    except (TemplateError, ValueError) as error:
        raise RequestError(400, f"the model's chat template refuses the messages: {error}", "messages") from error
    return list(encoded["input_ids"])


def _refuse_unserved(asked: Mapping[str, Any]) -> None:
    """Refuse parameters that would change the reply and are not served; those at their neutral value pass."""
    for name, neutral in NEUTRAL.items():
        if asked.get(name, neutral) not in (None, neutral):
            raise RequestError(400, f"{name!r} is not served; leave it out", name, "unsupported_parameter")


def _number(asked: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = asked.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise RequestError(400, f"{name!r} must be a number from {least:g} to {most:g}", name)
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server until it is told to end."""
    parser = argparse.ArgumentParser(description="Serve Hugging Face checkpoints on the CPU as OpenAI chat models.")
    parser.add_argument("--root", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port; it is printed as READY http://…")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--max-batch", type=int, default=64, help="most sequences decoded at once")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when the process that started this ends")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    service = StudentService(options.root, options.max_batch)
    app = build_app(service.complete, service.checkpoints.names, __version__)
    serve(app, options.host, options.port, options.exit_with_parent)


if __name__ == "__main__":
    main()
