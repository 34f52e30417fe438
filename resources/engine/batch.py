"""A run through a hosted Batch API: requests go out as files, results come back hours later, rows are the same.

Batches are written to disk while requests come in and submitted as far as the options allow; each that ends is
collected, and what failed for the moment goes into another. A run that finds batches of earlier runs reads all the
requests first: those that are under way are not sent again, and a batch that holds none of them is cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from resources.engine.batch_client import BatchClient
from resources.engine.batch_disk import BatchFolder, DiskBatch
from resources.engine.batch_results import RESEEDED, Collection
from resources.engine.batch_spool import Entry, Spool
from resources.engine.client import Endpoint
from resources.engine.errors import EngineError
from resources.engine.intake import Intake
from resources.engine.journal import Journal
from resources.engine.keytable import KeyTable, key_of
from resources.engine.options import EngineOptions
from resources.engine.progress import Meter, Progress
from resources.engine.replies import words
from resources.engine.requests import Prepared, reseeded
from resources.engine.stores import open_store

if TYPE_CHECKING:
    from openai.types import Batch

ENDED = ("completed", "expired", "cancelled", "failed")
CROWDED = ("token_limit_exceeded",)
"""Why a server fails a batch that it would take once others are over."""

_UNCLAIMED, _CLAIMED = 0, 1


class Claims:
    """Which requests are under way in batches of earlier runs, and which of these are still asked for."""

    def __init__(self) -> None:
        self._table = KeyTable()

    def hold(self, entry: Entry) -> None:
        """Note a request that is under way."""
        self._table.put(_key(entry), _UNCLAIMED)

    def claim(self, request: Prepared) -> bool:
        """Ask for a request; True if it is under way as it is now, token limit included."""
        key = _key(request)
        if self._table.get(key) is None:
            return False
        self._table.put(key, _CLAIMED)
        return True

    def wanted(self, entry: Entry) -> bool:
        """Whether a line's row is asked for; those of this run's own batches always are."""
        return self._table.get(_key(entry)) != _UNCLAIMED


def _key(request: Prepared | Entry) -> int:
    return key_of(request.request_id, request.digest, str(request.max_tokens))


class BatchRun:
    """One run. `progress` may be called from any thread, the rest belongs to the loop that drives."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: EngineOptions,
        intake: Intake,
        journal: Journal,
        meter: Meter,
        out_dir: Path | str,
    ) -> None:
        self._endpoint, self._options = endpoint, options
        self._intake, self._journal, self._meter = intake, journal, meter
        self._disk, self._claims = BatchFolder(open_store(out_dir)), Claims()
        self._base_url = endpoint.url("").rstrip("/")
        self._client = BatchClient(endpoint, options)
        self._spool: Spool | None = None
        self._sealed: deque[DiskBatch] = deque()
        self._open: dict[str, DiskBatch] = {}
        self._completed: dict[str, int] = {}
        self._exhausted = self._crowded = False

    def progress(self) -> Progress:
        """A snapshot."""
        under_way = list(self._open.values())
        requests = sum(batch.requests for batch in under_way)
        completed = sum(self._completed.get(batch.tag, 0) for batch in under_way)
        limit = self._options.batch_open * self._options.batch_requests
        note = _under_way(len(under_way), requests, completed) if under_way else None
        return self._meter.progress(requests, limit, "; ".join(filter(None, (note, self._client.note))) or None)

    async def drive(self) -> None:
        """Submit everything and collect it; cancelled, it ends at once and the batches go on at the server."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine-intake")
        try:
            async with self._client:
                await self._take_up()
                await self._submit()
                while self._open:
                    if not await self._collect_ended():
                        await asyncio.sleep(self._options.batch_poll_seconds)
                    await self._submit()
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)
            if self._spool is not None:
                self._spool.abandon()

    async def _take_up(self) -> None:
        """Go on with the batches of earlier runs."""
        batches = await self._found(self._disk.submitted())
        if not batches:
            return
        for batch in batches:
            for entry in batch.entries():
                self._claims.hold(entry)
        # Only when all requests are known is it known which rows are still asked for.
        while not self._exhausted:
            await self._read_on()
        for batch in batches:
            if any(self._claims.wanted(entry) for entry in batch.entries()):
                self._check_place(batch)
                self._open[batch.tag] = batch
            else:
                if batch.submitted.base_url == self._base_url:
                    await self._client.cancel(batch)
                batch.remove()

    async def _found(self, batches: Sequence[DiskBatch]) -> list[DiskBatch]:
        """Those batches that are at the server; of some only the server can tell."""
        doubtful = [batch for batch in batches if batch.submitted.batch_id is None]
        for batch in doubtful:
            self._check_place(batch)
        found = await self._client.find(doubtful) if doubtful else {}
        for batch in batches:
            if batch.submitted.batch_id is None and (name := found.get(batch.tag)):
                batch.created(name)
            if batch.submitted.batch_id is None:
                batch.remove()
        return [batch for batch in batches if batch.ledger is not None]

    def _check_place(self, batch: DiskBatch) -> None:
        if (place := batch.submitted.base_url) != self._base_url:
            raise EngineError(
                f"{batch.ledger_path}: this batch was submitted to {place}, not to {self._base_url}. Run with that "
                "base URL to collect it, or remove this file: its requests are then sent (and paid) again."
            )

    async def _read_on(self) -> None:
        """Take the next few requests in."""
        # In a thread: a slow source of requests must not stand in the way of an interrupt.
        chunk = await asyncio.get_running_loop().run_in_executor(self._thread, self._intake.chunk)
        self._exhausted = chunk is None
        for request in chunk or ():
            if not self._claims.claim(request):
                self._add(Entry.of(request), request.body)

    def _add(self, entry: Entry, body: bytes) -> None:
        """Put a request into the next batch."""
        limits = (self._options.batch_requests, self._options.batch_bytes)
        if self._spool is not None and not self._spool.has_room(body, *limits):
            self._seal()
        if self._spool is None:
            self._spool = self._disk.spool()
        self._spool.add(entry, body)

    def _seal(self) -> None:
        if self._spool is not None:
            self._sealed.append(self._disk.seal(self._spool))
            self._spool = None

    async def _submit(self) -> None:
        """Submit batches as long as there are requests and room for them."""
        while len(self._open) < self._options.batch_open and not self._crowded:
            while not self._sealed and not self._exhausted:
                await self._read_on()
            if not self._sealed:
                self._seal()
            if not self._sealed:
                return
            batch = self._sealed[0]
            file_id = await self._client.upload(batch)
            # From here on whoever finds the ledger looks for the batch at the server.
            batch.asked_for(self._base_url, self._endpoint.model, file_id)
            batch.created(await self._client.create(batch))
            self._open[batch.tag] = self._sealed.popleft()

    async def _collect_ended(self) -> bool:
        """Ask after all batches; True if one had ended."""
        ended = False
        for batch in list(self._open.values()):
            state = await self._client.state(batch)
            self._completed[batch.tag] = state.request_counts.completed if state.request_counts else 0
            if state.status not in ENDED:
                continue
            self._crowded = False
            if state.status == "failed":
                self._put_back(batch, state, others_ended=ended)
            else:
                await self._collect(batch, state)
            del self._open[batch.tag], self._completed[batch.tag]
            ended = True
        return ended

    async def _collect(self, batch: DiskBatch, state: Batch) -> None:
        """Make rows of a batch's results; only when they are durable is the batch forgotten."""
        kept = (self._journal, self._meter, self._claims.wanted)
        results = Collection(batch, state, self._endpoint, self._options, *kept)
        for file_id in (state.output_file_id, state.error_file_id):
            if file_id:
                await self._client.read(file_id, batch, results.take)
        results.finish()
        for number, body in batch.bodies(results.again):
            entry = results.entries[number]
            reseed = results.again[number] == RESEEDED
            self._add(entry, reseeded(body, entry.digest, entry.length_retries) if reseed else body)
        batch.remove()

    def _put_back(self, batch: DiskBatch, state: Batch, *, others_ended: bool) -> None:
        """Take a batch that the server would not run for another try, if there is hope.

        Args:
            batch: The batch.
            state: What the server says of it.
            others_ended: Whether other batches have just made room.

        Raises:
            EngineError: If there is none.
        """
        errors = (state.errors and state.errors.data) or []
        batch.withdraw()
        others_open = len(self._open) > 1
        if (others_open or others_ended) and any(error.code in CROWDED for error in errors):
            self._crowded = others_open
            self._sealed.appendleft(batch)
            return
        listed = list(batch.entries())
        said = "; ".join(_said(error.line, error.message or error.code, listed) for error in errors[:5])
        raise EngineError(
            f"{self._base_url} refuses batch {state.id} of {batch.requests} requests: {said or 'it does not say why'}. "
            "Nothing of it was run; rows that are done are kept, and other batches go on at the server."
        )


def _said(line: int | None, message: str | None, entries: Sequence[Entry]) -> str:
    where = f"request {entries[line - 1].request_id!r}: " if line and line <= len(entries) else ""
    return where + words(message or "?")


def _under_way(batches: int, requests: int, completed: int) -> str:
    """One line on what the server works on."""
    what = "1 batch" if batches == 1 else f"{batches} batches"
    counts = [f"{number:,}".replace(",", " ") for number in (requests, completed)]
    return f"{what} of {counts[0]} requests under way, {counts[1]} completed (server's count)"
