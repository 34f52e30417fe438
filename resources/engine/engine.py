"""The engine: takes requests from an iterator, sends them, and ends with exactly one durable row for each.

The event loop lives in a thread of its own. The caller's thread waits, reports progress and is the one that an
interrupt reaches, so it does not matter which thread calls, nor how many do.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from resources.engine.client import ChatClient, Endpoint
from resources.engine.commits import GroupCommit
from resources.engine.errors import EndpointRefusedError
from resources.engine.flow import Breaker, Limiter, backoff
from resources.engine.intake import Intake
from resources.engine.journal import Journal
from resources.engine.keytable import KeyTable
from resources.engine.options import EngineOptions
from resources.engine.progress import Meter, Progress, Summary
from resources.engine.replies import Completion, Failure
from resources.engine.requests import Prepared, Request
from resources.engine.rows import make_row

ProgressCallback = Callable[[Progress], None]
_OPEN_FILES = 16384


def generate(
    requests: Iterable[Request],
    endpoint: Endpoint,
    out_dir: Path,
    options: EngineOptions | None = None,
    progress: ProgressCallback | None = None,
) -> Summary:
    """Send every request that has no usable row yet, and leave one row per request in `out_dir/responses/*.parquet`.

    Failures of single requests are rows. What ends the run as a whole is raised; rows that are done stay on disk
    then, and the same call takes them up again.

    Args:
        requests: The requests, ids unique; read in another thread, a little ahead of what is sent.
        endpoint: Where to send them.
        out_dir: A folder of the engine's own, made if missing.
        options: Settings; None takes the defaults.
        progress: Called in the calling thread every `progress_seconds`, and once at the end.

    Returns:
        What was done.

    Raises:
        FolderBusyError: If another engine works on `out_dir`.
        RequestError: If a request is malformed or asked twice.
        EndpointDownError: If the endpoint stays away for the give-up time.
        EndpointRefusedError: If the endpoint refuses whatever is asked, or the API key is not set.
        JournalError: If `out_dir` cannot be written or read.
    """
    return Engine(endpoint, options or EngineOptions()).run(requests, Path(out_dir), progress)


class Engine:
    """Sends requests to one endpoint; `run` may be called any number of times, at once in different threads."""

    def __init__(self, endpoint: Endpoint, options: EngineOptions) -> None:
        self.endpoint = endpoint
        self.options = options

    def run(self, requests: Iterable[Request], out_dir: Path, progress: ProgressCallback | None = None) -> Summary:
        """See `generate`."""
        self.endpoint.api_key()
        _allow_open_files(max(_OPEN_FILES, 2 * self.options.concurrency))
        with Journal(out_dir) as journal:
            meter = Meter(self.options.expected)
            known = KeyTable() if self.options.force else journal.reusable()
            intake = Intake(requests, self.endpoint, known, meter)
            run = _Run(self.endpoint, self.options, intake, journal, meter)
            _in_loop_thread(run.drive(), lambda: progress and progress(run.progress()), self.options.progress_seconds)
            journal.finish(intake.asked)
            if progress:
                progress(run.progress())
            return meter.summary()


class _Run:
    """One run: a feeder, as many workers as may be under way at once, and the group commit."""

    def __init__(
        self, endpoint: Endpoint, options: EngineOptions, intake: Intake, journal: Journal, meter: Meter
    ) -> None:
        self._endpoint, self._options = endpoint, options
        self._intake, self._journal, self._meter = intake, journal, meter
        self._limiter = Limiter(options.concurrency, time.monotonic)
        self._breaker: Breaker | None = None
        self._refusals: int | None = 0

    def progress(self) -> Progress:
        """A snapshot; safe from any thread."""
        note = self._breaker.note if self._breaker else None
        return self._meter.progress(self._limiter.in_flight, int(self._limiter.limit), note or self._limiter.note)

    async def drive(self) -> None:
        """Send everything and commit it; a cancelled run commits what is done before it ends."""
        self._queue: asyncio.Queue[Prepared | None] = asyncio.Queue(min(2 * self._options.concurrency, 1024))
        self._commits = GroupCommit(self._journal.commit, self._options.commit_seconds)
        async with ChatClient(self._endpoint, self._options.timeout) as self._client:
            limits = (self._options.outage_failures, self._options.give_up_seconds)
            self._breaker = Breaker(self._client.probe, *limits, self._endpoint.base_url)
            try:
                async with asyncio.TaskGroup() as keeping:
                    keeping.create_task(self._commits.run())
                    async with asyncio.TaskGroup() as work:
                        work.create_task(self._feed())
                        for _ in range(self._options.concurrency):
                            work.create_task(self._work())
                    self._commits.close()
            except BaseExceptionGroup as group:
                raise _first(group) from None
            finally:
                self._breaker.close()

    async def _feed(self) -> None:
        # A thread of its own: reading, digesting and writing JSON must not hold up the replies.
        thread = ThreadPoolExecutor(1, thread_name_prefix="engine-intake")
        try:
            loop = asyncio.get_running_loop()
            while (chunk := await loop.run_in_executor(thread, self._intake.chunk)) is not None:
                for request in chunk:
                    await self._queue.put(request)
            await self._queue.put(None)
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while (request := await self._queue.get()) is not None:
            outcome, attempts, latency = await self._answer(request)
            row = make_row(request, self._endpoint.model, outcome, attempts, latency)
            self._meter.add(row)
            await self._commits.add(row)
        # The end is for the other workers too; there is room again, as this one has just taken it out.
        self._queue.put_nowait(None)

    async def _answer(self, request: Prepared) -> tuple[Completion | Failure, int, float]:
        """Send a request until its outcome is final; outcome, attempts and milliseconds of the last one."""
        attempts, began = 0, time.monotonic()
        while True:
            outcome, latency = await self._attempt(request)
            attempts += 1
            if isinstance(outcome, Completion) or not outcome.meaning.retry:
                return outcome, attempts, latency
            if outcome.meaning.outage and await self._breaker_of().failed():
                attempts, began = attempts - 1, time.monotonic()
                continue
            pause = backoff(attempts, self._options.backoff_base, self._options.backoff_cap)
            spent = time.monotonic() - began + pause
            if attempts >= self._options.max_attempts or spent > self._options.retry_seconds:
                return outcome, attempts, latency
            await asyncio.sleep(pause)

    async def _attempt(self, request: Prepared) -> tuple[Completion | Failure, float]:
        await self._breaker_of().ready()
        await self._limiter.acquire()
        began = time.monotonic()
        try:
            outcome = await self._client.send(request.body)
            self._learn(outcome)
        finally:
            self._limiter.release()
        return outcome, (time.monotonic() - began) * 1000

    def _learn(self, outcome: Completion | Failure) -> None:
        """Let an outcome steer what follows."""
        if isinstance(outcome, Completion):
            self._refusals = None
            self._limiter.succeeded()
        else:
            self._learn_failure(outcome)
        if isinstance(outcome, Completion) or not outcome.meaning.outage:
            self._breaker_of().answered()

    def _learn_failure(self, failure: Failure) -> None:
        meaning = failure.meaning
        if meaning.congestion:
            self._limiter.congested(failure.retry_after)
        elif not meaning.refusal:
            # It was read, so key and model name are right.
            self._refusals = None
        elif self._refusals is not None:
            self._refusals += 1
            if self._refusals >= self._options.refusals:
                raise EndpointRefusedError(f"{self._endpoint.base_url} refuses every request: {failure.message}")

    def _breaker_of(self) -> Breaker:
        assert self._breaker is not None
        return self._breaker


def _in_loop_thread(work: Coroutine[Any, Any, None], report: Callable[[], object], every: float) -> None:
    """Run a coroutine in a loop and thread of its own; report from this one; pass interrupts and errors on."""
    loop, outcome = asyncio.new_event_loop(), Future[None]()
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
        thread.join()
    outcome.result()


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


def _allow_open_files(wanted: int) -> None:
    """Raise this process's soft limit of open files: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
