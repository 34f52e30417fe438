"""The Batch API on the wire: files and batches of one endpoint, through the `openai` package.

Every call is tried until the server gives a clear word or has been away for the give-up time. Creating a batch is
never simply tried again: a call whose answer was lost may have created one, and a batch costs money.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import openai

from resources.engine.batch_disk import DiskBatch
from resources.engine.batch_spool import CHAT_URL, LineSplitter
from resources.engine.client import Endpoint
from resources.engine.errors import EndpointDownError, EndpointRefusedError, EngineError
from resources.engine.flow import RETRY_AFTER_LIMIT, backoff
from resources.engine.options import EngineOptions
from resources.engine.replies import Failure, read_reply, words

if TYPE_CHECKING:
    from openai.types import Batch

METADATA_KEY = "mbt_batch"
SETTLE_SECONDS = 5.0
"""How long a server may take to list a batch that it was asked to create; only then is a missing one believed."""

T = TypeVar("T")
_PIECE = 1 << 16
_TRANSPORT = (openai.OpenAIError, httpx2.HTTPError, OSError, ValueError)


class BatchClient:
    """Speaks to one endpoint; an async context manager that holds the connections.

    Attributes:
        note: one line that says what is waited for, or None.
    """

    def __init__(self, endpoint: Endpoint, options: EngineOptions) -> None:
        self.note: str | None = None
        self._endpoint, self._options = endpoint, options
        self._key = endpoint.api_key()
        # Where no key is given the package would take one from the environment; this endpoint is to see none.
        keyless = {} if self._key else {"Authorization": openai.Omit()}
        self._headers: dict[str, str | openai.Omit] = {**keyless, **endpoint.extra_headers}
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=endpoint.url(""),
            timeout=options.timeout,
            max_retries=0,
        )

    async def __aenter__(self) -> BatchClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def upload(self, batch: DiskBatch) -> str:
        """Upload a batch's file, piece by piece.

        Returns:
            The server's name for the file.

        Raises:
            EndpointDownError: If the server stays away; like all methods here.
            EngineError: If it refuses; like all methods here.
        """

        async def call() -> str:
            with batch.upload() as file:
                part = (f"{batch.tag}.jsonl", file, "application/jsonl")
                return _named(await self._client.files.create(file=part, purpose="batch", extra_headers=self._headers))

        return await self._patiently(call, "take a file of requests", _NO_BATCH_API)

    async def create(self, batch: DiskBatch) -> str:
        """Create the batch that the ledger names, unless it is there already.

        Returns:
            The server's name for the batch.
        """
        asked = False

        async def call() -> str:
            nonlocal asked
            if asked:
                # The answer to an earlier call may have been lost, not the call.
                await asyncio.sleep(SETTLE_SECONDS)
                if found := (await self._listed([batch])).get(batch.tag):
                    return found
            asked = True
            created = await self._client.batches.create(
                input_file_id=batch.submitted.input_file_id,
                endpoint=CHAT_URL,
                completion_window="24h",
                metadata={METADATA_KEY: batch.tag},
                extra_headers={**self._headers, "Idempotency-Key": batch.tag},
            )
            return _named(created)

        return await self._patiently(call, "create a batch", _NO_BATCH_API)

    async def find(self, batches: Iterable[DiskBatch]) -> dict[str, str]:
        """Look for batches of which nobody knows whether they were created.

        Returns:
            For the tag of each that was, the server's name for it.
        """
        sought = list(batches)
        youngest = max((batch.submitted.asked_at for batch in sought), default=0.0)
        await asyncio.sleep(min(SETTLE_SECONDS, max(0.0, youngest + SETTLE_SECONDS - time.time())))
        return await self._patiently(lambda: self._listed(sought), "list its batches", _NO_BATCH_API)

    async def _listed(self, sought: list[DiskBatch]) -> dict[str, str]:
        files = {batch.submitted.input_file_id: batch.tag for batch in sought}
        tags, found = {batch.tag for batch in sought}, dict[str, str]()
        async for batch in self._client.batches.list(limit=100, extra_headers=self._headers):
            # A failed one ran nothing. Not every server keeps metadata, so the file tells too.
            tag = (batch.metadata or {}).get(METADATA_KEY) or files.get(batch.input_file_id)
            if tag in tags and batch.status != "failed":
                found[tag] = batch.id
                if len(found) == len(tags):
                    break
        return found

    async def state(self, batch: DiskBatch) -> Batch:
        """What the server says of a batch."""

        async def call() -> Batch:
            state = await self._client.batches.retrieve(batch.batch_id, extra_headers=self._headers)
            _named(state)
            return state

        return await self._patiently(call, f"say how batch {batch.batch_id} goes", _gone(batch))

    async def read(self, file_id: str, batch: DiskBatch, take: Callable[[bytes], None]) -> None:
        """Read a result file line by line; after a broken connection once more from its start.

        Args:
            file_id: The server's name for the file.
            batch: The batch that it belongs to.
            take: Called with each line, some perhaps more than once.
        """
        await self._patiently(lambda: self._read_once(file_id, take), f"give out file {file_id}", _gone(batch))

    async def _read_once(self, file_id: str, take: Callable[[bytes], None]) -> None:
        splitter, files = LineSplitter(), self._client.files.with_streaming_response
        async with files.content(file_id, extra_headers=self._headers) as reply:
            async for piece in reply.iter_bytes(_PIECE):
                for line in splitter.feed(piece):
                    take(self._scrubbed(line))
        for line in splitter.rest():
            take(self._scrubbed(line))

    async def cancel(self, batch: DiskBatch) -> None:
        """Ask the server to stop a batch that nobody wants any more; whether it does is not waited for."""

        async def call() -> None:
            try:
                await self._client.batches.cancel(batch.batch_id, extra_headers=self._headers)
            except openai.APIStatusError as error:
                if self._failure(error).meaning.retry:
                    raise
                # It is over, or gone.

        await self._patiently(call, f"cancel batch {batch.batch_id}", "")

    async def _patiently(self, call: Callable[[], Awaitable[T]], doing: str, refused: str) -> T:
        """Call until it works.

        Args:
            call: The call.
            doing: What the server is asked to do, for messages.
            refused: What a 404 means.
        """
        tries, since = 0, time.monotonic()
        while True:
            try:
                result = await call()
            except _TRANSPORT as error:
                tries, failure = tries + 1, self._failure(error)
                self._raise_if_final(failure, doing, refused)
            else:
                self.note = None
                return result
            waited = time.monotonic() - since
            if waited >= self._options.give_up_seconds:
                raise EndpointDownError(self._down(doing, waited, failure.message))
            self.note = f"{self._endpoint.base_url} does not {doing} ({failure.message}); asked for {waited:.0f} s"
            pause = backoff(tries, self._options.backoff_base, self._options.backoff_cap)
            asked = min(failure.retry_after or 0.0, RETRY_AFTER_LIMIT)
            await asyncio.sleep(max(asked, min(pause, self._options.give_up_seconds - waited)))

    def _raise_if_final(self, failure: Failure, doing: str, refused: str) -> None:
        if failure.meaning.retry:
            return
        message = f"{self._endpoint.base_url} refuses to {doing}: {failure.message}"
        if failure.kind == "not_found":
            raise EndpointRefusedError(f"{message}. {refused}")
        raise (EndpointRefusedError if failure.meaning.refusal else EngineError)(message)

    def _failure(self, error: Exception) -> Failure:
        if isinstance(error, openai.APIStatusError):
            failure = read_reply(error.status_code, error.response.headers, self._scrubbed(error.response.content))
            assert isinstance(failure, Failure)
            return failure
        return Failure("connection", self._reason(error))

    def _reason(self, error: BaseException) -> str:
        cause = error.__cause__ or error
        message = f"{type(cause).__name__}: {cause}"
        return words(message.replace(self._key, "***") if self._key else message)

    def _scrubbed(self, text: bytes) -> bytes:
        """Servers quote the key when they refuse it; it must not reach a row or a log."""
        return text.replace(self._key.encode(), b"***") if self._key else text

    def _down(self, doing: str, waited: float, reason: str) -> str:
        return (
            f"{self._endpoint.base_url} did not {doing} for {waited:.0f} s ({reason}). Batches that are submitted go "
            "on at the server, and rows that are done are kept: run the same command again, and it picks them up."
        )


_NO_BATCH_API = "If it offers no Batch API, run without batch: the requests are then sent one by one."


def _gone(batch: DiskBatch) -> str:
    return (
        f"{batch.ledger_path} says that the batch was submitted there. If it is gone for good, remove that file, and "
        "its requests are sent (and paid) again."
    )


def _named(thing: Any) -> str:
    """The id of what the server made; a page in place of it (a proxy's, say) is a fault of the moment."""
    if not isinstance(name := getattr(thing, "id", None), str):
        raise ValueError(f"a reply without id: {words(str(thing))}")
    return name
