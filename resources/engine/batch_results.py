"""Batch results: the lines of a finished batch's files as outcomes, and the outcomes as rows or as tries again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from resources.engine.batch_disk import DiskBatch
from resources.engine.batch_spool import Entry, number_of
from resources.engine.client import Endpoint
from resources.engine.journal import Journal
from resources.engine.options import EngineOptions
from resources.engine.progress import Meter
from resources.engine.replies import Completion, Failure, read_reply, words
from resources.engine.rows import Row, make_row

if TYPE_CHECKING:
    from openai.types import Batch

COMMIT_ROWS = 512
COMMIT_BYTES = 4 << 20
"""Rows are committed whenever so many are gathered: few syncs, little memory, little lost to a kill."""

SAME, RESEEDED = 1, 2

_CODE_KINDS = {"batch_expired": "timeout", "batch_cancelled": "unavailable", "request_timeout": "timeout"}
_STATUS_KINDS = {"expired": "timeout", "cancelled": "unavailable"}


def read_line(line: bytes, *, reasons: bool = False) -> tuple[str, Completion | Failure] | None:
    """Read one line of a batch's output or error file.

    Args:
        line: The line's JSON.
        reasons: As `read_reply` takes it.

    Returns:
        Its `custom_id` and what became of the request; None for a line that says nothing about any.
    """
    try:
        result = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    custom_id = result.get("custom_id") if isinstance(result, dict) else None
    return (custom_id, _outcome(result, reasons)) if isinstance(custom_id, str) else None


def _outcome(result: dict[str, Any], reasons: bool) -> Completion | Failure:
    response, error = result.get("response"), result.get("error")
    if isinstance(response, dict) and isinstance(status := response.get("status_code"), int):
        return read_reply(status, {}, orjson.dumps(response.get("body")), reasons=reasons)
    if isinstance(error, dict):
        code, message = str(error.get("code")), error.get("message")
        kind = _CODE_KINDS.get(code, "server_error")
        return Failure(kind, f"{code}: {words(message if isinstance(message, str) else orjson.dumps(error))}")
    return Failure("incomplete", f"a result without response and error: {words(orjson.dumps(result))}")


def left_out(state: Batch) -> Failure:
    """What became of requests that a batch ended without a word about."""
    kind = _STATUS_KINDS.get(state.status, "incomplete")
    return Failure(kind, f"the batch is {state.status}, and its files say nothing of this request")


def latency_ms(state: Batch) -> float:
    """Milliseconds from a batch's submission to its end, as the server says; 0 if it does not."""
    ended = state.completed_at or state.expired_at or state.cancelled_at
    began = state.created_at
    return max(0.0, (ended - began) * 1000.0) if isinstance(ended, int) and isinstance(began, int) else 0.0


def _cut_off(prompt_tokens: int | None, completion_tokens: int | None) -> Completion:
    """A response whose row is committed already, as far as it is counted."""
    return Completion(
        response="",
        reasoning=None,
        finish_reason="length",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        reasoning_tokens=None,
        cached_tokens=None,
    )


class Collection:
    """Takes the results of one batch, in any order and any number of times, and commits a row for each request.

    Attributes:
        entries: the batch's lines; those to be sent again as they go into the next batch.
        again: for each line 0, `SAME` or `RESEEDED`: whether and how its request goes into another batch.
    """

    def __init__(
        self,
        batch: DiskBatch,
        state: Batch,
        endpoint: Endpoint,
        options: EngineOptions,
        journal: Journal,
        meter: Meter,
        wanted: Callable[[Entry], bool],
    ) -> None:
        """Begin with none of the batch's results.

        Args:
            batch: The batch.
            state: What the server says of it.
            endpoint: Where it ran.
            options: The run's settings.
            journal: Where rows are committed.
            meter: Where they are counted.
            wanted: Whether a line's row is still asked for.
        """
        self.entries = list(batch.entries())
        self.again = bytearray(len(self.entries))
        self._seen = bytearray(len(self.entries))
        self._state, self._model, self._latency = state, batch.submitted.model, latency_ms(state)
        self._endpoint, self._options = endpoint, options
        self._journal, self._meter, self._wanted = journal, meter, wanted
        self._rows: list[Row] = []
        self._final: list[Row] = []
        self._bytes = 0

    def take(self, line: bytes) -> None:
        """Take a line of a result file; one that was taken before changes nothing.

        Raises:
            JournalError: If the disk refuses.
        """
        read = read_line(line, reasons=self._endpoint.reasons)
        if read is None:
            return
        custom_id, outcome = read
        number = number_of(custom_id, self.entries)
        if number is not None and not self._seen[number]:
            self._settle(number, outcome)

    def finish(self) -> None:
        """Settle what no line spoke of, and commit what is gathered.

        Raises:
            JournalError: If the disk refuses.
        """
        for number, seen in enumerate(self._seen):
            if not seen:
                self._settle(number, left_out(self._state))
        self._commit()

    def _settle(self, number: int, outcome: Completion | Failure) -> None:
        """Decide what becomes of a line's request, as the direct path does."""
        self._seen[number] = 1
        if not self._wanted(entry := self.entries[number]):
            return
        entry = entry._replace(attempts=entry.attempts + 1)
        if isinstance(outcome, Completion):
            self._completed(number, entry, outcome)
        elif outcome.meaning.retry and entry.failures + 1 < self._options.max_attempts:
            self._send_again(number, entry._replace(failures=entry.failures + 1), SAME)
        elif entry.kept is None:
            self._add(self._row(entry, outcome), final=True)
        else:
            # A response that was cut off is worth more than a later draw's failure; its row is there already.
            self._final.append(self._row(entry, _cut_off(*entry.kept)))

    def _completed(self, number: int, entry: Entry, outcome: Completion) -> None:
        final = not outcome.truncated or entry.length_retries >= self._options.length_retries
        self._add(self._row(entry, outcome), final=final)
        if not final:
            tokens = outcome.completion_tokens
            again = entry._replace(
                failures=0,
                length_retries=entry.length_retries + 1,
                discarded_tokens=entry.discarded_tokens + (tokens or 0),
                kept=(outcome.prompt_tokens, tokens),
            )
            self._send_again(number, again, RESEEDED)

    def _send_again(self, number: int, entry: Entry, how: int) -> None:
        self.entries[number], self.again[number] = entry, how

    def _row(self, entry: Entry, outcome: Completion | Failure) -> Row:
        effort = (entry.attempts, self._latency, 0.0, entry.length_retries, entry.discarded_tokens)
        return make_row(entry.request(), self._model, outcome, *effort)

    def _add(self, row: Row, *, final: bool) -> None:
        self._rows.append(row)
        if final:
            self._final.append(row)
        self._bytes += row.size
        if len(self._rows) >= COMMIT_ROWS or self._bytes >= COMMIT_BYTES:
            self._commit()

    def _commit(self) -> None:
        self._journal.commit(self._rows)
        for row in self._final:
            self._meter.add(row)
        self._rows, self._final, self._bytes = [], [], 0
