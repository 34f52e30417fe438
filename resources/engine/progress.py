"""Progress: the run's counts, and what a person wants to know of them."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from resources.engine.rows import Row

RATE_SECONDS = 15.0


@dataclass(frozen=True)
class Summary:
    """What a run did; rows reused from earlier runs count among total, ok, failed and truncated.

    Attributes:
        total: requests asked, so rows in `responses/`.
        reused: of these, rows that earlier runs had made.
        sent: of these, rows made by this run.
        ok: rows without error.
        failed: rows with one.
        truncated: rows without error that the token limit ended.
        prompt_tokens: tokens read for the rows sent.
        completion_tokens: tokens written for the rows sent.
        seconds: from start to end.
        failures: rows that failed in this run, by kind.
    """

    total: int = 0
    reused: int = 0
    sent: int = 0
    ok: int = 0
    failed: int = 0
    truncated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress(Summary):
    """A run under way; `total` counts the requests seen so far.

    Attributes:
        expected: requests that there will be, or None if nobody knows.
        in_flight: requests under way.
        limit: requests that may be under way now.
        rate: rows a second, lately.
        tokens_per_second: tokens written a second, lately.
        eta_seconds: seconds that are left at this rate, or None.
        note: what the run waits for, or None.
    """

    expected: int | None = None
    in_flight: int = 0
    limit: int = 0
    rate: float = 0.0
    tokens_per_second: float = 0.0
    eta_seconds: float | None = None
    note: str | None = None

    @property
    def done(self) -> int:
        """Rows that are made or reused."""
        return self.reused + self.sent

    def line(self) -> str:
        """One line for a log."""
        of = "" if self.expected is None else f"/{self.expected}"
        parts = [f"{self.done}{of} done", f"{self.rate:.1f}/s", f"{self.tokens_per_second:.0f} tokens/s"]
        parts.append(f"{self.in_flight} in flight (limit {self.limit})")
        if self.reused:
            parts.append(f"{self.reused} reused")
        if self.failed:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.failures.items()))
            parts.append(f"{self.failed} failed" + (f" ({kinds})" if kinds else ""))
        if self.truncated:
            parts.append(f"{self.truncated} truncated")
        if self.eta_seconds is not None:
            parts.append(f"{_duration(self.eta_seconds)} left")
        return " · ".join(parts) + (f" · {self.note}" if self.note else "")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Meter:
    """Counts a run. `reuse` is called by one thread, `add` by one other, the rest by any."""

    def __init__(self, expected: int | None) -> None:
        self._expected = expected
        self._start = time.monotonic()
        self._reused = self._reused_failed = self._reused_truncated = 0
        self._ok = self._failed = self._truncated = self._prompt = self._completion = 0
        self._failures: Counter[str] = Counter()
        self._samples: deque[tuple[float, int, int]] = deque([(self._start, 0, 0)])

    def reuse(self, *, failed: bool, truncated: bool) -> None:
        """Count a row that is on disk already."""
        self._reused += 1
        self._reused_failed += failed
        self._reused_truncated += truncated

    def add(self, row: Row) -> None:
        """Count a row that this run made."""
        if row.error_kind is not None:
            self._failed += 1
            self._failures[row.error_kind] += 1
            return
        self._ok += 1
        self._truncated += row.finish_reason == "length"
        self._prompt += row.prompt_tokens or 0
        self._completion += row.completion_tokens or 0

    def summary(self) -> Summary:
        """The counts as they stand."""
        sent = self._ok + self._failed
        return Summary(
            total=self._reused + sent,
            reused=self._reused,
            sent=sent,
            ok=self._ok + self._reused - self._reused_failed,
            failed=self._failed + self._reused_failed,
            truncated=self._truncated + self._reused_truncated,
            prompt_tokens=self._prompt,
            completion_tokens=self._completion,
            seconds=time.monotonic() - self._start,
            failures=dict(self._failures),
        )

    def progress(self, in_flight: int, limit: int, note: str | None) -> Progress:
        """The counts and the rates of the last seconds; called by one thread at regular times."""
        counts = self.summary()
        now = time.monotonic()
        self._samples.append((now, counts.sent, counts.completion_tokens))
        while len(self._samples) > 2 and now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()
        since, sent, tokens = self._samples[0]
        passed = max(now - since, 1e-9)
        rate = (counts.sent - sent) / passed
        left = None if self._expected is None else max(0, self._expected - counts.total)
        return Progress(
            **vars(counts),
            expected=self._expected,
            in_flight=in_flight,
            limit=limit,
            rate=rate,
            tokens_per_second=(counts.completion_tokens - tokens) / passed,
            eta_seconds=left / rate if left is not None and rate > 0 else None,
            note=note,
        )
