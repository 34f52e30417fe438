"""Rows: what is kept of each request, as one declared schema, and which rows a later run may reuse."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import pyarrow as pa

from resources.engine.replies import KINDS, Completion, Failure
from resources.engine.requests import Prepared

_FOREVER = (1 << 31) - 1
_COMPLETION_FIELDS = tuple(field.name for field in dataclasses.fields(Completion))


class Row(NamedTuple):
    """One request's outcome; the fields are the columns of `responses/*.parquet`, in order.

    Attributes:
        request_id: the request's name.
        response: the full text, reasoning included; NULL when the request failed, like the next three.
        reasoning: the reasoning alone; NULL also where there is none.
        content: what follows the reasoning.
        finish_reason: the server's word.
        prompt_tokens: as the server counts; NULL where it does not say, like the next three.
        completion_tokens: reasoning included.
        reasoning_tokens: of completion_tokens.
        cached_tokens: of prompt_tokens.
        error: `kind: status: the server's words`; NULL when it went well.
        error_kind: a key of `replies.KINDS`; NULL when it went well.
        transient: whether a later run sends the request again.
        attempts: requests that were sent for this row.
        latency_ms: of the last attempt, milliseconds.
        request_digest: see `requests.request_digest`.
        max_tokens: the token limit asked for; NULL where the server's own held.
        model: the name asked for.
    """

    request_id: str
    response: str | None
    reasoning: str | None
    content: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None
    error: str | None
    error_kind: str | None
    transient: bool
    attempts: int
    latency_ms: float
    request_digest: str
    max_tokens: int | None
    model: str

    @property
    def size(self) -> int:
        """Bytes that the row takes in memory, about."""
        return 1000 + 2 * len(self.response or "")


SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("response", pa.string()),
        pa.field("reasoning", pa.string()),
        pa.field("content", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("reasoning_tokens", pa.int64()),
        pa.field("cached_tokens", pa.int64()),
        pa.field("error", pa.string()),
        pa.field("error_kind", pa.string()),
        pa.field("transient", pa.bool_(), nullable=False),
        pa.field("attempts", pa.int64(), nullable=False),
        pa.field("latency_ms", pa.float64(), nullable=False),
        pa.field("request_digest", pa.string(), nullable=False),
        pa.field("max_tokens", pa.int64()),
        pa.field("model", pa.string(), nullable=False),
    ]
)

REUSE_COLUMNS = (
    "request_id",
    "request_digest",
    "finish_reason",
    "max_tokens",
    "completion_tokens",
    "error_kind",
    "transient",
)
"""Columns that `Reuse.of` needs, in its order after the first two."""


def make_row(request: Prepared, model: str, outcome: Completion | Failure, attempts: int, latency_ms: float) -> Row:
    """Make the row of a request whose outcome is final."""
    row = Row(
        request_id=request.request_id,
        response=None,
        reasoning=None,
        content=None,
        finish_reason=None,
        prompt_tokens=None,
        completion_tokens=None,
        reasoning_tokens=None,
        cached_tokens=None,
        error=None,
        error_kind=None,
        transient=False,
        attempts=attempts,
        latency_ms=latency_ms,
        request_digest=request.digest,
        max_tokens=request.max_tokens,
        model=model,
    )
    if isinstance(outcome, Failure):
        error = f"{outcome.kind}: {outcome.message}"
        return row._replace(error=error, error_kind=outcome.kind, transient=outcome.meaning.resend)
    return row._replace(**{name: getattr(outcome, name) for name in _COMPLETION_FIELDS})


class Reuse(NamedTuple):
    """When a row on disk answers a request of the same digest: its token limit lies in `[lowest, highest]`.

    Attributes:
        lowest: tokens; a complete response would have been cut off below its own length.
        highest: tokens; a truncated response says nothing about a higher limit than its own.
        failed: the row is an error.
        truncated: the token limit ended the response.
    """

    lowest: int
    highest: int
    failed: bool
    truncated: bool

    @classmethod
    def of(
        cls,
        finish_reason: str | None,
        max_tokens: int | None,
        completion_tokens: int | None,
        error_kind: str | None,
        transient: bool,
    ) -> Reuse:
        """Read a row's terms from its columns."""
        limit = _FOREVER if max_tokens is None else min(max_tokens, _FOREVER)
        if transient:
            return cls(_FOREVER, 0, True, False)
        if error_kind is not None:
            # Whether a prompt fits depends on the tokens that are to follow it; other refusals do not.
            return cls(limit, limit, True, False) if _limit_matters(error_kind) else cls(0, _FOREVER, True, False)
        truncated = finish_reason == "length"
        return cls(min(completion_tokens or 0, limit), limit if truncated else _FOREVER, False, truncated)

    def covers(self, max_tokens: int | None) -> bool:
        """Whether the row is what a request with this token limit would be answered with."""
        return self.lowest <= (_FOREVER if max_tokens is None else min(max_tokens, _FOREVER)) <= self.highest

    def packed(self) -> int:
        """As one 64-bit number."""
        return self.lowest | self.highest << 31 | self.failed << 62 | self.truncated << 63

    @classmethod
    def unpacked(cls, number: int) -> Reuse:
        """The inverse of `packed`."""
        return cls(number & _FOREVER, number >> 31 & _FOREVER, bool(number >> 62 & 1), bool(number >> 63))


def _limit_matters(error_kind: str) -> bool:
    return error_kind not in KINDS or error_kind in ("bad_request", "context_too_long")
