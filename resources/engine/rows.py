"""Rows: what is kept of each request, as one declared schema, and which rows a later run may reuse."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from resources.engine.replies import KINDS, THINK_CLOSE, THINK_OPEN, Completion, Failure
from resources.engine.requests import Prepared

if TYPE_CHECKING:
    import polars as pl

_LIMIT_BITS, _RETRY_BITS = 23, 7
_FOREVER = (1 << _LIMIT_BITS) - 1
"""Tokens; a limit at or above this is none."""

MOST_LENGTH_RETRIES = (1 << _RETRY_BITS) - 1


class Row(NamedTuple):
    """One request's outcome; the fields are the columns of `responses/*.parquet`, in order.

    Attributes:
        request_id: the request's name.
        response: the full text, reasoning included; NULL when the request failed, like the next two.
        reasoning: the reasoning alone; NULL also where there is none.
        reasoned: whether there is reasoning.
        finish_reason: the server's word.
        prompt_tokens: as the server counts; NULL where it does not say, like the next three.
        completion_tokens: reasoning included.
        reasoning_tokens: of completion_tokens.
        cached_tokens: of prompt_tokens.
        error: `kind: status: the server's words`; NULL when it went well.
        error_kind: a key of `replies.KINDS`; NULL when it went well.
        transient: whether a later run sends the request again.
        attempts: requests that were sent for this row.
        length_retries: answered draws with another seed, made because the token limit had ended a response.
        discarded_tokens: tokens of the responses that were given up for that.
        queue_ms: milliseconds that the request waited for its turn before the last attempt.
        latency_ms: of the last attempt, milliseconds from sending it to the last byte.
        request_digest: see `requests.request_digest`.
        max_tokens: the token limit asked for; NULL where the server's own held.
        model: the name asked for.
    """

    request_id: str
    response: str | None
    reasoning: str | None
    reasoned: bool
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None
    error: str | None
    error_kind: str | None
    transient: bool
    attempts: int
    length_retries: int
    discarded_tokens: int
    queue_ms: float
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
        pa.field("reasoned", pa.bool_(), nullable=False),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("reasoning_tokens", pa.int64()),
        pa.field("cached_tokens", pa.int64()),
        pa.field("error", pa.string()),
        pa.field("error_kind", pa.string()),
        pa.field("transient", pa.bool_(), nullable=False),
        pa.field("attempts", pa.int64(), nullable=False),
        pa.field("length_retries", pa.int64(), nullable=False),
        pa.field("discarded_tokens", pa.int64(), nullable=False),
        pa.field("queue_ms", pa.float64(), nullable=False),
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
    "length_retries",
    "reasoned",
)
"""Columns that `Reuse.of` needs, in its order after the first two."""


def make_row(
    request: Prepared,
    model: str,
    outcome: Completion | Failure,
    attempts: int,
    latency_ms: float,
    queue_ms: float = 0.0,
    length_retries: int = 0,
    discarded_tokens: int = 0,
) -> Row:
    """Make the row of a request whose outcome is final.

    Args:
        request: The request.
        model: The name asked for.
        outcome: What came of it.
        attempts: Requests sent.
        latency_ms: Of the last one, milliseconds.
        queue_ms: Milliseconds of waiting before the last one.
        length_retries: Attempts with another seed.
        discarded_tokens: Tokens of responses that these replaced.
    """
    effort = (attempts, length_retries, discarded_tokens, queue_ms, latency_ms)
    asked = (request.digest, request.max_tokens, model)
    if isinstance(outcome, Completion):
        reasoned = outcome.reasoning is not None
        said = (outcome.response, outcome.reasoning, reasoned, outcome.finish_reason, *outcome.tokens)
        return Row(request.request_id, *said, None, None, False, *effort, *asked)
    error = f"{outcome.kind}: {outcome.message}"
    nothing = (None, None, False, None, None, None, None, None)
    return Row(request.request_id, *nothing, error, outcome.kind, outcome.meaning.resend, *effort, *asked)


def with_content(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Add `content`, what follows the reasoning in `response`: it is not stored twice."""
    import polars as pl

    response = pl.col("response")
    after = response.str.splitn(THINK_CLOSE, 2).struct.field("field_1").str.strip_chars()
    unfinished = response.str.contains(THINK_OPEN, literal=True)
    closed = response.str.contains(THINK_CLOSE, literal=True)
    return rows.with_columns(
        pl.when(closed).then(after).when(unfinished).then(pl.lit("")).otherwise(response).alias("content")
    )


class Reuse(NamedTuple):
    """When a row on disk answers a request of the same digest.

    Attributes:
        lowest: tokens; a complete response would have been cut off below its own length.
        highest: tokens; a truncated response says nothing about a higher limit than its own.
        fewest_retries: length retries that it took.
        most_retries: length retries that it had; a truncated response says nothing about more.
        failed: the row is an error.
        truncated: the token limit ended the response.
        reasoned: there is reasoning in it.
    """

    lowest: int
    highest: int
    fewest_retries: int
    most_retries: int
    failed: bool
    truncated: bool
    reasoned: bool

    @classmethod
    def of(
        cls,
        finish_reason: str | None,
        max_tokens: int | None,
        completion_tokens: int | None,
        error_kind: str | None,
        transient: bool,
        length_retries: int = 0,
        reasoned: bool = False,
    ) -> Reuse:
        """Read a row's terms from its columns."""
        limit = _FOREVER if max_tokens is None or max_tokens > _FOREVER else max_tokens
        if transient:
            return cls(_FOREVER, 0, 0, 0, True, False, False)
        if error_kind is not None:
            # Whether a prompt fits depends on the tokens that are to follow it; other refusals do not.
            bounds = (limit, limit) if _limit_matters(error_kind) else (0, _FOREVER)
            return cls(*bounds, 0, MOST_LENGTH_RETRIES, True, False, False)
        retries = min(length_retries, MOST_LENGTH_RETRIES)
        if finish_reason == "length":
            length = limit if completion_tokens is None else min(completion_tokens, limit)
            return cls(length, limit, retries, retries, False, True, reasoned)
        most = MOST_LENGTH_RETRIES
        return cls(min(completion_tokens or 0, limit), _FOREVER, retries, most, False, False, reasoned)

    def covers(self, max_tokens: int | None, length_retries: int = 0, *, reasons: bool = False) -> bool:
        """Whether the row is what a request would be answered with.

        Args:
            max_tokens: The request's token limit.
            length_retries: Further draws that it has.
            reasons: A whole response without reasoning is none.
        """
        if reasons and not (self.reasoned or self.truncated or self.failed):
            return False
        limit = _FOREVER if max_tokens is None or max_tokens > _FOREVER else max_tokens
        return self.lowest <= limit <= self.highest and self.fewest_retries <= length_retries <= self.most_retries

    def packed(self) -> int:
        """As one 64-bit number."""
        retries = self.fewest_retries | self.most_retries << _RETRY_BITS
        bounds = self.lowest | self.highest << _LIMIT_BITS | retries << 2 * _LIMIT_BITS
        return bounds | self.reasoned << 61 | self.failed << 62 | self.truncated << 63

    @classmethod
    def unpacked(cls, number: int) -> Reuse:
        """The inverse of `packed`."""
        retries = number >> 2 * _LIMIT_BITS
        return cls(
            number & _FOREVER,
            number >> _LIMIT_BITS & _FOREVER,
            retries & MOST_LENGTH_RETRIES,
            retries >> _RETRY_BITS & MOST_LENGTH_RETRIES,
            bool(number >> 62 & 1),
            bool(number >> 63),
            bool(number >> 61 & 1),
        )


@functools.lru_cache(1 << 14)
def packed_reuse(*columns: Any) -> int:
    """`Reuse.of(...).packed()`, remembered: among many rows the same terms come again and again."""
    return Reuse.of(*columns).packed()


def _limit_matters(error_kind: str) -> bool:
    return error_kind not in KINDS or error_kind in ("bad_request", "context_too_long")
