"""The rule-based judge behind a real HTTP server that a test can spoil: garbage, refusals, lost replies."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter

from aiohttp import web
from threaded_server import ThreadedServer

from mbt_assets.embedded import judge
from mbt_assets.embedded.json_replies import as_json

SEEDS_APART = 1_000_000

WORD_GARBAGE = (
    lambda reply: "",
    lambda reply: f"Sure! I would say {reply}.",
    lambda reply: "MAYBE",
    lambda reply: json.dumps([reply]),
    lambda reply: reply[: len(reply) // 2],
)
LINE_GARBAGE = (
    *WORD_GARBAGE,
    lambda reply: "\n".join(line for line in reply.splitlines() if not line.startswith("CONFIDENCE")),
    lambda reply: reply.replace("CONFIDENCE: ", "CONFIDENCE: 7"),
)
GARBAGE = {
    "answer grading": WORD_GARBAGE,
    "answer hit": WORD_GARBAGE,
    "metacognitive quality": LINE_GARBAGE,
    "reach and redundancy": (
        *LINE_GARBAGE,
        lambda reply: f"ANSWER_PARAGRAPH_MARKER: [[M9999]]\n{reply.partition(chr(10))[2]}",
    ),
}
"""What a judge may write instead of each kind of reply: nothing, prose, another word, JSON that nobody asked for, half
of it, a key left out, a number out of range, a marker beyond the trace."""


class JudgeServer(ThreadedServer):
    """Answers as `rule-judge` does, unless `spoil` says otherwise.

    Attributes:
        asked: bodies of all requests, in the order in which they came.
        spoil: from a request's body and the judge's reply to what is sent: a text, or a response of another kind.
    """

    def __init__(self, spoil=lambda body, reply: reply):
        super().__init__(0)
        self.asked = []
        self.spoil = spoil

    def application(self):
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._complete)
        return app

    async def _models(self, request):
        return web.json_response({"data": [{"id": "rule-judge"}]})

    async def _complete(self, request):
        body = await request.json()
        self.asked.append(body)
        reply = judge.reply(body["messages"]).content
        if "response_format" in body:
            reply = as_json(reply, body["response_format"]["json_schema"]["schema"])
        said = self.spoil(body, reply)
        return said if isinstance(said, web.Response) else answer(said)

    @property
    def tasks(self):
        """How many requests there were of each kind."""
        return Counter(map(task_of, self.asked))


def answer(content, prompt_tokens=100, completion_tokens=10, finish_reason="stop"):
    """A chat completion."""
    message = {"role": "assistant", "content": content}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return web.json_response({"choices": [choice], "usage": usage})


def refusal(message, code=None, status=400):
    """An error as OpenAI and vLLM send it."""
    return web.json_response({"error": {"message": message, "code": code}}, status=status)


def task_of(body):
    """The kind of question that a request is."""
    return body["messages"][-1]["content"].partition("\n")[0].removeprefix("Task: ")


def draw_of(body):
    """Which draw of its question a request is, from 0."""
    return body["seed"] // SEEDS_APART


def share_of(body):
    """A number in [0, 1) that follows from a request alone, so that the same request always fares the same."""
    text = json.dumps([body["messages"], body["seed"]]).encode()
    return int(hashlib.sha256(text).hexdigest()[:8], 16) / 2**32


def garbled(share):
    """A `spoil` that garbles a seeded share of the replies, in varied ways."""

    def spoil(body, reply):
        lot = share_of(body)
        return random.Random(lot).choice(GARBAGE[task_of(body)])(reply) if lot < share else reply

    return spoil
