"""Serves the rule-based teacher and judge over the OpenAI chat protocol, as `vllm serve` serves the real ones.

Only HTTP belongs here: what is replied is decided in `mbt_assets.embedded`. Never imports torch.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette

from mbt_assets.embedded import VERSION, Reply, UnknownPromptError, judge, teacher
from mbt_assets.embedded.json_replies import as_json
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

MODELS: dict[str, Callable[[Sequence[Mapping[str, Any]], int], Reply]] = {
    "rule-teacher": teacher.reply,
    "rule-judge": judge.reply,
}
_TOKEN = re.compile(r"\S+")


def rules_app(latency_ms: float = 0.0) -> Starlette:
    """Make the application.

    Args:
        latency_ms: added to every completion, so that a client meets a server that takes its time.
    """

    async def complete(data: bytes) -> dict[str, Any]:
        body = _completion(data)
        if latency_ms:
            await asyncio.sleep(latency_ms / 1000)
        return body

    return build_app(complete, lambda: MODELS, VERSION)


def _completion(data: bytes) -> dict[str, Any]:
    """The body of a completion for the body of a request.

    Raises:
        RequestError: the request is malformed, for an unknown model, or its prompt is none of the project's.
    """
    asked = parsed(data)
    model, messages = asked["model"], asked["messages"]
    if model not in MODELS:
        raise RequestError(404, f"no model {model!r} here; there are: {', '.join(MODELS)}", "model", "model_not_found")
    if asked.get("n") not in (None, 1):
        raise RequestError(400, "'n' must be 1: send one request per rollout", "n")
    try:
        reply = MODELS[model](messages, asked.get("seed") or 0)
    except UnknownPromptError as error:
        message = f"{model} is a rule-based model and answers only this project's prompts: {error}"
        raise RequestError(400, message, "messages", "unknown_prompt") from None
    reply = _formatted(reply, asked.get("response_format"))
    reply = _stopped(reply, stop_strings(asked))
    reasoning, content, tokens, finish = _limited(reply, token_limit(asked))
    said = {"role": "assistant", "content": content, "reasoning": reasoning}
    prompt_tokens = sum(len(message["content"].split()) for message in messages)
    return completion(model, [choice(0, said, finish)], prompt_tokens, tokens)


def _formatted(reply: Reply, wanted: object) -> Reply:
    """The reply with its content as JSON, where the request asks for that."""
    kind = wanted.get("type") if isinstance(wanted, dict) else wanted
    if kind in (None, "text"):
        return reply
    if kind != "json_schema":
        raise RequestError(400, f"'response_format' {kind!r} is not served; json_schema is", "response_format")
    try:
        content = as_json(reply.content, wanted["json_schema"]["schema"])  # type: ignore[index]
    except (LookupError, TypeError, ValueError) as error:
        message = f"this reply does not fit the schema ({error!r}): only the forms of the judge's replies are served"
        raise RequestError(400, message, "response_format") from None
    return Reply(reply.reasoning, content)


def _stopped(reply: Reply, stops: Sequence[str]) -> Reply:
    """The reply with its content cut before the first stop string."""
    ends = [at for at in (reply.content.find(stop) for stop in stops if stop) if at >= 0]
    return Reply(reply.reasoning, reply.content[: min(ends)]) if ends else reply


def _limited(reply: Reply, limit: int | None) -> tuple[str | None, str | None, int, str]:
    """Reasoning, content, their tokens together, and why generation ended: `stop`, or `length` if `limit` cut it.

    A token is a run of characters that are no white space. Content is None if the limit came while reasoning.
    """
    reasoning = reply.reasoning or ""
    thought, said = len(reasoning.split()), len(reply.content.split())
    if limit is None or thought + said <= limit:
        return reply.reasoning, reply.content, thought + said, "stop"
    if thought >= limit:
        return _first_tokens(reasoning, limit), None, limit, "length"
    return reply.reasoning, _first_tokens(reply.content, limit - thought), limit, "length"


def _first_tokens(text: str, count: int) -> str:
    for number, match in enumerate(_TOKEN.finditer(text), start=1):
        if number == count:
            return text[: match.end()]
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server until it is told to end."""
    parser = argparse.ArgumentParser(description="Serve the rule-based teacher and judge as OpenAI chat models.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port; it is printed as READY http://…")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when the process that started this ends")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait this long before each completion")
    options = parser.parse_args(arguments)
    serve(rules_app(options.latency_ms), options.host, options.port, options.exit_with_parent)


if __name__ == "__main__":
    main()
