"""Replies: what a chat-completions server may answer, and what each answer means for its request.

Pure functions from status, headers and bytes to a `Completion` or a `Failure`; nothing here is fatal.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
WORDS_LIMIT = 400
"""Characters of the server's own words that a row keeps."""

_CONTEXT = re.compile(
    r"context[ _](?:length|window|size)|maximum context|max_model_len|prompt is too long|too many (?:input )?tokens"
    r"|longer than the maximum|reduce the length",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class FailureKind:
    """What a kind of failure means.

    Attributes:
        retry: this run sends the request again.
        resend: a later run sends it again; else the row is as good as an answer.
        congestion: the endpoint has too much to do; fewer requests at once may help.
        outage: it may be down altogether.
        refusal: it may refuse every request, whatever is asked.
    """

    retry: bool = False
    resend: bool = False
    congestion: bool = False
    outage: bool = False
    refusal: bool = False


KINDS: dict[str, FailureKind] = {
    "rate_limited": FailureKind(retry=True, resend=True, congestion=True),
    "server_error": FailureKind(retry=True, resend=True, congestion=True),
    "unavailable": FailureKind(retry=True, resend=True, congestion=True, outage=True),
    "timeout": FailureKind(retry=True, resend=True, congestion=True, outage=True),
    "connection": FailureKind(retry=True, resend=True, congestion=True, outage=True),
    "incomplete": FailureKind(retry=True, resend=True, congestion=True, outage=True),
    "html": FailureKind(retry=True, resend=True),
    "not_utf8": FailureKind(retry=True, resend=True),
    "not_json": FailureKind(retry=True, resend=True),
    "no_choices": FailureKind(retry=True, resend=True),
    "no_reasoning": FailureKind(resend=True),
    "bad_request": FailureKind(),
    "context_too_long": FailureKind(),
    "content_filter": FailureKind(),
    "refusal": FailureKind(),
    "unauthorized": FailureKind(resend=True, refusal=True),
    "forbidden": FailureKind(resend=True, refusal=True),
    "not_found": FailureKind(resend=True, refusal=True),
    "redirect": FailureKind(resend=True, refusal=True),
    "quota": FailureKind(resend=True, refusal=True),
}
"""Every kind of failure that a row may carry."""

_STATUS_KINDS = {
    401: "unauthorized",
    402: "quota",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    407: "forbidden",
    408: "timeout",
    409: "server_error",
    425: "server_error",
    429: "rate_limited",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}


@dataclass(frozen=True, slots=True)
class Completion:
    """A response as the model gave it.

    Attributes:
        response: the full text, reasoning included.
        reasoning: the reasoning alone, stripped; None where there is none.
        finish_reason: the server's word: `stop`, `length`, …
        prompt_tokens: tokens read, as the server counts; None where it does not say, like the others.
        completion_tokens: tokens written, reasoning included.
        reasoning_tokens: of these, tokens of reasoning.
        cached_tokens: of the prompt's, tokens taken from a cache.
    """

    response: str
    reasoning: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None

    @property
    def tokens(self) -> tuple[int | None, int | None, int | None, int | None]:
        """The four counts, in the order above."""
        return self.prompt_tokens, self.completion_tokens, self.reasoning_tokens, self.cached_tokens

    @property
    def content(self) -> str:
        """What follows the reasoning."""
        return content_of(self.response)

    @property
    def truncated(self) -> bool:
        """Whether the token limit ended it."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no response.

    Attributes:
        kind: a key of `KINDS`.
        message: status and the server's words, bounded.
        retry_after: seconds that the server asks to wait, or None.
    """

    kind: str
    message: str
    retry_after: float | None = None

    @property
    def meaning(self) -> FailureKind:
        """What the kind means."""
        return KINDS[self.kind]


def read_reply(status: int, headers: Mapping[str, str], body: bytes, *, reasons: bool = False) -> Completion | Failure:
    """Read one HTTP reply to a chat-completions request.

    Args:
        status: HTTP status.
        headers: HTTP headers, keys in any case if the mapping ignores case.
        body: The whole body.
        reasons: The model is one that reasons, so that a whole response without reasoning is a failure.
    """
    if status != 200:
        return _read_error(status, headers, body)
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _not_json(body)
    choice = _first_choice(reply)
    if choice is None:
        return Failure("no_choices", f"200 without choices: {words(body)}")
    outcome = _read_choice(choice, reply.get("usage"), body)
    # A template may open the reasoning in the prompt: what was cut off before it closed shows no tag.
    if reasons and isinstance(outcome, Completion) and outcome.reasoning is None and not outcome.truncated:
        return Failure("no_reasoning", f"200 with a response without reasoning: {words(outcome.response)}")
    return outcome


def _not_json(body: bytes) -> Failure:
    """Say what a body is that should be JSON."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return Failure("not_utf8", f"200 with a body that is not UTF-8 (byte {error.start}): {words(body)}")
    if text.lstrip()[:1] == "<":
        return Failure("html", f"200 with a page instead of JSON: {words(text)}")
    return Failure("not_json", f"200 with a body that is not JSON: {words(text)}")


def _first_choice(reply: Any) -> dict[str, Any] | None:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    return choices[0]


def _read_choice(choice: dict[str, Any], usage: Any, body: bytes) -> Completion | Failure:
    message = choice.get("message")
    if not isinstance(message, dict):
        return Failure("no_choices", f"200 with a choice without message: {words(body)}")
    content, finish = _text(message.get("content")), choice.get("finish_reason")
    reasoning = _text(message.get("reasoning")) or _text(message.get("reasoning_content"))
    if finish == "content_filter":
        return Failure("content_filter", f"stopped by the server's content filter: {words(content or '')}")
    if not content and (refusal := _text(message.get("refusal"))):
        return Failure("refusal", f"the model refused: {words(refusal)}")
    response, reasoning = with_tags(content or "", reasoning, truncated=finish == "length")
    return Completion(response, reasoning, finish if isinstance(finish, str) else None, *_counts(usage))


def with_tags(content: str, reasoning: str | None, *, truncated: bool = False) -> tuple[str, str | None]:
    """Bring reasoning that the server separates, and reasoning in think tags, to one form.

    Args:
        content: The message's content.
        reasoning: The message's reasoning field; None or empty if the server has none.
        truncated: Whether the token limit ended the response.

    Returns:
        `(response, reasoning)`. Separated reasoning gets its tags back in the response; the closing one is left out
        where the limit fell into the reasoning.
    """
    if reasoning and reasoning.strip():
        reasoning, content = reasoning.strip(), content.strip()
        opening = f"{THINK_OPEN}\n{reasoning}"
        return opening if truncated and not content else f"{opening}\n{THINK_CLOSE}\n\n{content}", reasoning
    closed = content.find(THINK_CLOSE)
    opened = content.find(THINK_OPEN, 0, closed if closed >= 0 else None)
    if opened < 0 and closed < 0:
        return content, None
    # No opening tag: the chat template had written it at the end of the prompt.
    start = opened + len(THINK_OPEN) if opened >= 0 else 0
    return content, content[start : closed if closed >= 0 else None].strip() or None


def content_of(response: str) -> str:
    """What follows the reasoning in a response; text without any tag is all content."""
    _, closed, after = response.partition(THINK_CLOSE)
    return after.strip() if closed else "" if THINK_OPEN in response else response


def _text(value: Any) -> str | None:
    """A message field's text; some servers send a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    return None


def _counts(usage: Any) -> tuple[int | None, int | None, int | None, int | None]:
    if not isinstance(usage, dict):
        return None, None, None, None
    return (
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        _count(usage.get("completion_tokens_details"), "reasoning_tokens"),
        _count(usage.get("prompt_tokens_details"), "cached_tokens"),
    )


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else None


def _read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    message, code = _server_words(body)
    kind = _STATUS_KINDS.get(status) or _kind_of_class(status)
    if code == "insufficient_quota":
        kind = "quota"
    elif kind == "bad_request" and (code == "context_length_exceeded" or _CONTEXT.search(message)):
        kind = "context_too_long"
    elif kind == "bad_request" and code == "content_filter":
        kind = "content_filter"
    return Failure(kind, f"{status}: {message}", retry_after(headers))


def _kind_of_class(status: int) -> str:
    if status >= 500:
        return "server_error"
    if status >= 400:
        return "bad_request"
    # What lies elsewhere, or says nothing, is a fault of the address, not of the request.
    return "redirect" if status >= 300 else "no_choices"


def _server_words(body: bytes) -> tuple[str, str | None]:
    """The message and code of an error body, whatever its shape."""
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return words(body), None
    error = reply.get("error", reply) if isinstance(reply, dict) else reply
    if not isinstance(error, dict):
        return words(error if isinstance(error, str) else body), None
    message = error.get("message") or error.get("detail")
    code = error.get("code")
    return words(message if isinstance(message, str) else body), code if isinstance(code, str) else None


def words(text: str | bytes) -> str:
    """One bounded line of what a server said."""
    if isinstance(text, bytes):
        text = text[: 4 * WORDS_LIMIT].decode("utf-8", "replace")
    line = " ".join(text[: 4 * WORDS_LIMIT].split())
    return line if len(line) <= WORDS_LIMIT else line[: WORDS_LIMIT - 1] + "…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` (a number, or an HTTP date) or `Retry-After-Ms` ask for; None if neither does."""
    milliseconds, value = headers.get("Retry-After-Ms"), headers.get("Retry-After")
    try:
        if milliseconds is not None:
            seconds = float(milliseconds) / 1000
        elif value is not None:
            seconds = float(value) if value.strip()[:1].isdigit() else _seconds_until(value)
        else:
            return None
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
