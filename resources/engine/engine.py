"""The engine: takes requests from an iterator, sends them, and ends with exactly one durable row for each.

The event loop lives in a thread of its own. The caller's thread waits, reports progress and is the one that an
interrupt reaches, so it does not matter which thread calls, nor how many do.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from resources.engine.balancer import Balancer
from resources.engine.client import Endpoint
from resources.engine.commits import GroupCommit
from resources.engine.errors import EndpointRefusedError
from resources.engine.feed import Feed
from resources.engine.flow import backoff
from resources.engine.intake import Intake
from resources.engine.journal import Journal
from resources.engine.keytable import KeyTable
from resources.engine.options import EngineOptions
from resources.engine.process import tuned
from resources.engine.progress import Meter, Progress, Summary
from resources.engine.replies import Completion, Failure
from resources.engine.requests import Prepared, Request, reseeded
from resources.engine.rows import make_row

if TYPE_CHECKING:
    from resources.engine.batch import BatchRun

ProgressCallback = Callable[[Progress], None]


def generate(
    requests: Iterable[Request],
    endpoints: Endpoint | Sequence[Endpoint],
    out_dir: Path | str,
    options: EngineOptions | None = None,
    progress: ProgressCallback | None = None,
) -> Summary:
    """Send every request that has no usable row yet, and leave one row per request in `out_dir/responses/*.parquet`.

    Failures of single requests are rows. What ends the run as a whole is raised; rows that are done stay stored
    then, and the same call takes them up again.

    Args:
        requests: The requests, ids unique; read in another thread, a little ahead of what is sent.
        endpoints: Where to send them: one endpoint, or several of the same model, among which the load is balanced.
        out_dir: A folder of the engine's own, made if missing, or the URL of one in an object store.
        options: Settings; None takes the defaults.
        progress: Called in the calling thread every `progress_seconds`, and once at the end.

    Returns:
        What was done.

    Raises:
        FolderBusyError: If another engine works on `out_dir`.
        RequestError: If a request is malformed or asked twice.
        EndpointDownError: If every endpoint stays away for the give-up time.
        EndpointRefusedError: If an endpoint refuses whatever is asked, or an API key is not set.
        JournalError: If `out_dir` cannot be written or read.
    """
    return Engine(endpoints, options or EngineOptions()).run(requests, out_dir, progress)


class Engine:
    """Sends requests to the endpoints of one model; `run` may be called any number of times, from any threads."""

    def __init__(self, endpoints: Endpoint | Sequence[Endpoint], options: EngineOptions) -> None:
        self.endpoints = (endpoints,) if isinstance(endpoints, Endpoint) else tuple(endpoints)
        self.options = options
        if len({(endpoint.model, endpoint.identity) for endpoint in self.endpoints}) != 1:
            raise EndpointRefusedError("the endpoints must be one or more of the same model, by name and digest")
        if len(self.endpoints) > 1 and any(endpoint.batch for endpoint in self.endpoints):
            raise EndpointRefusedError("batches go to one endpoint; name that one alone, or none with batch")

    def run(
        self, requests: Iterable[Request], out_dir: Path | str, progress: ProgressCallback | None = None
    ) -> Summary:
        """See `generate`."""
        for endpoint in self.endpoints:
            endpoint.api_key()
        with tuned(self.options.concurrency), Journal(out_dir) as journal:
            meter = Meter(self.options.expected)
            known = KeyTable() if self.options.force else journal.reusable()
            intake = Intake(requests, self.endpoints[0], known, meter, self.options.length_retries)
            run = self._start(intake, journal, meter, out_dir)
            _in_loop_thread(run.drive(), lambda: progress and progress(run.progress()), self.options.progress_seconds)
            journal.finish(intake.asked)
            if progress:
                progress(run.progress())
            return meter.summary()

    def _start(self, intake: Intake, journal: Journal, meter: Meter, out_dir: Path | str) -> _Run | BatchRun:
        """The run that suits the endpoints."""
        if not self.endpoints[0].batch:
            return _Run(self.endpoints, self.options, intake, journal, meter)
        # Only here: the package that speaks the Batch API takes longer to import than everything else.
        from resources.engine.batch import BatchRun

        return BatchRun(self.endpoints[0], self.options, intake, journal, meter, out_dir)


@dataclass(slots=True)
class _Draws:
    """What has become of one request so far.

    Attributes:
        body: what is sent.
        ready: monotonic time since which it waits for its next attempt.
        attempts: requests sent, less those that an outage took.
        failures: failed attempts since the last response or outage.
        spent: seconds of these and of the pauses after them.
        kept: the newest response, if the token limit ended it.
        latency_ms: of the last attempt.
        queue_ms: of waiting before it.
        length_retries: attempts with another seed.
        discarded_tokens: of the responses that these replaced.
    """

    body: bytes
    ready: float
    attempts: int = 0
    failures: int = 0
    spent: float = 0.0
    kept: Completion | None = None
    latency_ms: float = 0.0
    queue_ms: float = 0.0
    length_retries: int = 0
    discarded_tokens: int = 0


class _Run:
    """One run: a feeder, as many workers as may be under way at once, and the group commit."""

    def __init__(
        self, endpoints: Sequence[Endpoint], options: EngineOptions, intake: Intake, journal: Journal, meter: Meter
    ) -> None:
        self._options = options
        self._intake, self._journal, self._meter = intake, journal, meter
        self._model = endpoints[0].model
        self._balancer = Balancer(endpoints, options)

    def progress(self) -> Progress:
        """A snapshot; safe from any thread."""
        return self._meter.progress(self._balancer.in_flight, self._balancer.limit, self._balancer.note())

    async def drive(self) -> None:
        """Send everything and commit it; a cancelled run commits what is done before it ends."""
        self._feed = Feed(self._intake.chunk, ahead=min(2 * self._options.concurrency, 1024))
        self._commits = GroupCommit(self._journal.commit, self._options.commit_seconds)
        async with self._balancer:
            try:
                async with asyncio.TaskGroup() as keeping:
                    keeping.create_task(self._commits.run())
                    async with asyncio.TaskGroup() as work:
                        work.create_task(self._feed.run())
                        for _ in range(self._options.concurrency):
                            work.create_task(self._work())
                    self._commits.close()
            except BaseExceptionGroup as group:
                raise _first(group) from None

    async def _work(self) -> None:
        while (request := await self._feed.take()) is not None:
            draws = _Draws(request.body, time.monotonic())
            outcome = await self._answer(request, draws)
            row = make_row(
                request,
                self._model,
                outcome,
                draws.attempts,
                draws.latency_ms,
                draws.queue_ms,
                draws.length_retries,
                draws.discarded_tokens,
            )
            self._meter.add(row)
            await self._commits.add(row)

    async def _answer(self, request: Prepared, draws: _Draws) -> Completion | Failure:
        """Send a request until its outcome is final."""
        while True:
            outcome = await self._attempt(draws)
            if isinstance(outcome, Completion):
                if not outcome.truncated or draws.length_retries >= self._options.length_retries:
                    return outcome
                self._redraw(request, draws, outcome)
            elif outcome is not None:
                if (pause := self._pause(outcome, draws)) is None:
                    return _settled(draws, outcome)
                await asyncio.sleep(pause)

    async def _attempt(self, draws: _Draws) -> Completion | Failure | None:
        """Send it once, to whichever endpoint has most room; None if that turned out to be down."""
        channel = await self._balancer.place()
        try:
            outcome, began = await channel.send(draws.body)
            if outcome is None:
                return None
            channel.learn(outcome)
        finally:
            self._balancer.leave(channel)
        now = time.monotonic()
        draws.queue_ms, draws.latency_ms = (began - draws.ready) * 1000, (now - began) * 1000
        draws.ready, draws.attempts, draws.spent = now, draws.attempts + 1, draws.spent + now - began
        if isinstance(outcome, Failure):
            if outcome.meaning.refusal and channel.refused:
                # Whoever else there is may answer it.
                self._balancer.look_for_refusal()
                return None
            if outcome.meaning.outage and await channel.breaker.failed():
                draws.attempts, draws.failures, draws.spent = draws.attempts - 1, 0, 0.0
                return None
        return outcome

    def _redraw(self, request: Prepared, draws: _Draws, cut: Completion) -> None:
        """Make the next attempt one with another seed."""
        draws.kept, draws.failures, draws.spent = cut, 0, 0.0
        draws.length_retries += 1
        draws.discarded_tokens += cut.completion_tokens or 0
        draws.body = reseeded(request.body, request.digest, draws.length_retries)

    def _pause(self, failure: Failure, draws: _Draws) -> float | None:
        """Seconds until the next attempt after a failure; None if there is to be none."""
        draws.failures += 1
        pause = backoff(draws.failures, self._options.backoff_base, self._options.backoff_cap)
        draws.spent += pause
        over = draws.failures >= self._options.max_attempts or draws.spent > self._options.retry_seconds
        return None if over or not failure.meaning.retry else pause


def _in_loop_thread(work: Coroutine[Any, Any, None], report: Callable[[], object], every: float) -> None:
    """Run a coroutine in a loop and thread of its own; report from this one; pass interrupts and errors on."""
    loop, outcome = uvloop.new_event_loop(), Future[None]()
    task = loop.create_task(work)

    def live() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
            outcome.set_result(None)
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=live, name="engine-loop", daemon=True)
    thread.start()
    try:
        while not _over(outcome, every):
            report()
    finally:
        # Only an interrupt, or an error of the report itself, finds the loop still alive here.
        if not outcome.done():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
        _join(thread)
    outcome.result()


def _join(thread: threading.Thread) -> None:
    """Wait for a thread that is about to end, however often that is interrupted: it still writes to the folder."""
    interrupt: KeyboardInterrupt | None = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _settled(draws: _Draws, failure: Failure) -> Completion | Failure:
    """What becomes of a request whose last attempt failed: a response that was cut off is worth more than that."""
    if draws.kept is None:
        return failure
    # That draw was not answered: a later run may make it.
    draws.length_retries -= 1
    draws.discarded_tokens -= draws.kept.completion_tokens or 0
    return draws.kept


def _over(outcome: Future[None], seconds: float) -> bool:
    """Wait; True once there is an outcome, whatever it is."""
    try:
        outcome.exception(timeout=seconds)
    except TimeoutError:
        return False
    return True


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group of groups: the others follow from it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
