"""Intake: requests come in from an iterator, those answered on disk stay behind, the rest go on in small chunks."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

from resources.engine.client import Endpoint
from resources.engine.errors import RequestError
from resources.engine.keytable import KeyTable, key_of
from resources.engine.progress import Meter
from resources.engine.requests import Prepared, Preparer, Request
from resources.engine.rows import Reuse

_unpacked = functools.lru_cache(1 << 14)(Reuse.unpacked)
CHUNK = 64
CHUNK_SECONDS = 0.05


class Intake:
    """Prepares requests and remembers which were asked; one thread at a time calls it.

    Attributes:
        asked: for each request, the key of its id to the key of its id and digest.
    """

    def __init__(
        self, requests: Iterable[Request], endpoint: Endpoint, known: KeyTable, meter: Meter, length_retries: int = 0
    ) -> None:
        self.asked = KeyTable(len(known))
        self._iterator = iter(requests)
        self._prepare = Preparer(endpoint.model, endpoint.identity)
        self._reasons = endpoint.reasons
        self._known = known
        self._meter = meter
        self._length_retries = length_retries
        self._exhausted = False

    def chunk(self) -> list[Prepared] | None:
        """The next requests to send; it may be empty, so that a long stretch of reuse lets others work too.

        Returns:
            At most `CHUNK` requests, or None at the end.

        Raises:
            RequestError: If a request is malformed or its id was asked before.
        """
        if self._exhausted:
            return None
        fresh: list[Prepared] = []
        until = time.monotonic() + CHUNK_SECONDS
        for request in self._iterator:
            if (prepared := self._admit(request)) is not None:
                fresh.append(prepared)
            if len(fresh) >= CHUNK or time.monotonic() >= until:
                return fresh
        self._exhausted = True
        return fresh

    def _admit(self, request: Request) -> Prepared | None:
        """Prepare a request; None if a row on disk answers it."""
        prepared = self._prepare(request)
        key_of_id = key_of(prepared.request_id)
        key = key_of(prepared.request_id, prepared.digest)
        if not self.asked.add(key_of_id, key):
            raise RequestError(f"request {prepared.request_id!r}: asked twice in one run; make request_id unique")
        if (packed := self._known.get(key)) is None:
            return prepared
        reuse = _unpacked(packed)
        if not reuse.covers(prepared.max_tokens, self._length_retries, reasons=self._reasons):
            return prepared
        self._meter.reuse(failed=reuse.failed, truncated=reuse.truncated)
        return None
