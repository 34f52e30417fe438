"""The engine's settings, each with its unit and a default for a server of one's own."""

from __future__ import annotations

from dataclasses import dataclass

from resources.engine.errors import EngineError
from resources.engine.rows import MOST_LENGTH_RETRIES


@dataclass(frozen=True)
class EngineOptions:
    """How a run goes about its requests.

    Attributes:
        concurrency: most requests under way at once.
        timeout: seconds for one attempt, from connecting to the last byte.
        max_attempts: attempts for one request; those lost to an outage do not count.
        retry_seconds: seconds after which a failed request is not tried again, outages not counted.
        backoff_base: seconds; the first wait is between 0 and this.
        backoff_cap: seconds; no wait is longer, unless the server asks.
        outage_failures: failures in a row after which the endpoint is probed.
        give_up_seconds: length of an outage that ends the run.
        refusals: refusals (key, model name, quota) before any success that end the run.
        commit_seconds: how long a finished row may wait for its commit.
        progress_seconds: how often progress is reported.
        expected: number of requests, if known; only for the time left.
        force: send all requests, whatever is on disk.
        length_retries: further draws, each with another seed, of a response that the token limit ended.
        batch_requests: most requests in one batch, where the endpoint takes batches.
        batch_bytes: most bytes of one batch's file.
        batch_poll_seconds: how often an open batch is asked about.
        batch_open: most batches open at once.

    Raises:
        EngineError: If a number makes no sense.
    """

    concurrency: int = 64
    timeout: float = 600.0
    max_attempts: int = 6
    retry_seconds: float = 3600.0
    backoff_base: float = 0.5
    backoff_cap: float = 60.0
    outage_failures: int = 8
    give_up_seconds: float = 600.0
    refusals: int = 5
    commit_seconds: float = 0.25
    progress_seconds: float = 2.0
    expected: int | None = None
    force: bool = False
    length_retries: int = 0
    batch_requests: int = 50_000
    batch_bytes: int = 100 << 20
    batch_poll_seconds: float = 30.0
    batch_open: int = 4

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_attempts", "outage_failures", "refusals", "batch_requests", "batch_open"):
            if getattr(self, name) < 1:
                raise EngineError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("timeout", "progress_seconds", "batch_poll_seconds"):
            if not getattr(self, name) > 0:
                raise EngineError(f"{name} is {getattr(self, name)}; it must be more than 0 seconds")
        if not 0 <= self.length_retries <= MOST_LENGTH_RETRIES:
            raise EngineError(f"length_retries is {self.length_retries}; it must be 0 to {MOST_LENGTH_RETRIES}")
        if not 0 < self.commit_seconds <= 0.5:
            raise EngineError(f"commit_seconds is {self.commit_seconds}; rows must be durable within half a second")
