"""Batches on disk: what was submitted, what each of its lines is, and what a kill may have left open.

A batch is three files in `batches/`: the requests as they are uploaded, the index that says whose each line is, and
the ledger. The ledger is written before the batch is created, so that whoever comes after a kill knows that the server
may have it; files without a ledger have cost nothing and are cleared away.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import IO, cast

import orjson

from resources.engine.batch_spool import (
    FOLDER,
    Entry,
    Spool,
    body_of,
    disk_errors,
    index_name,
    read_lines,
    read_pieces,
    requests_name,
)
from resources.engine.errors import JournalError
from resources.engine.stores import Store

_LEDGER = "-ledger.json"


@dataclass(frozen=True)
class Ledger:
    """What is known of a batch that was, or was about to be, created.

    Attributes:
        tag: names the batch at the server, in its metadata.
        base_url: where it was submitted.
        model: the name asked for.
        requests: lines in it.
        sha256: of the uploaded file, hexadecimal.
        input_file_id: the server's name for that file.
        asked_at: Unix seconds at which the batch was first asked for.
        batch_id: the server's name for the batch; None while nobody knows whether it was created.
    """

    tag: str
    base_url: str
    model: str
    requests: int
    sha256: str
    input_file_id: str
    asked_at: float
    batch_id: str | None = None


class DiskBatch:
    """One batch whose files are complete.

    Attributes:
        tag: its name, here and at the server.
        requests: lines in it.
        ledger: what was submitted; None if nothing was.
    """

    def __init__(self, store: Store, tag: str, requests: int, digest: str, ledger: Ledger | None = None) -> None:
        self.tag, self.requests, self.ledger = tag, requests, ledger
        self._store, self._digest = store, digest

    @property
    def ledger_path(self) -> str:
        """Where the ledger is, for messages."""
        return f"{self._store.where}/{FOLDER}/{self.tag}{_LEDGER}"

    @property
    def submitted(self) -> Ledger:
        """The ledger of a batch that was submitted."""
        assert self.ledger is not None
        return self.ledger

    @property
    def batch_id(self) -> str:
        """The server's name for a batch that is known to be there."""
        assert self.submitted.batch_id is not None
        return self.submitted.batch_id

    def upload(self) -> IO[bytes]:
        """Open the file that goes to the server; it can be sought.

        Raises:
            JournalError: If it cannot be read.
        """
        with disk_errors(self.ledger_path):
            return cast(IO[bytes], self._store.reading(requests_name(self.tag)))

    def asked_for(self, base_url: str, model: str, input_file_id: str) -> None:
        """Write down that the batch is about to be created; durable when it returns.

        Raises:
            JournalError: If the disk refuses.
        """
        self._write(Ledger(self.tag, base_url, model, self.requests, self._digest, input_file_id, time.time()))

    def created(self, batch_id: str) -> None:
        """Write down the server's name for the batch; durable when it returns.

        Raises:
            JournalError: If the disk refuses.
        """
        self._write(replace(self.submitted, batch_id=batch_id))

    def _write(self, ledger: Ledger) -> None:
        with disk_errors(self.ledger_path), self._store.writing(f"{FOLDER}/{self.tag}{_LEDGER}") as file:
            file.write(orjson.dumps(asdict(ledger), option=orjson.OPT_INDENT_2))
        self.ledger = ledger

    def withdraw(self) -> None:
        """Forget that the batch was submitted: the server ran nothing of it, and it can be submitted again.

        Raises:
            JournalError: If the disk refuses.
        """
        with disk_errors(self.ledger_path):
            self._store.remove(f"{FOLDER}/{self.tag}{_LEDGER}")
        self.ledger = None

    def remove(self) -> None:
        """Remove the batch, the ledger first, so that a kill leaves nothing that looks submitted.

        Raises:
            JournalError: If the disk refuses.
        """
        self.withdraw()
        with disk_errors(self.ledger_path):
            self._store.remove(requests_name(self.tag))
            self._store.remove(index_name(self.tag))

    def entries(self) -> Iterator[Entry]:
        """Whose the lines are, in their order.

        Raises:
            JournalError: If the index is damaged.
        """
        try:
            for line in read_lines(self._store, index_name(self.tag)):
                yield Entry(*orjson.loads(line))
        except (ValueError, TypeError) as error:
            raise self._damaged(f"its index cannot be read: {error}") from None

    def bodies(self, wanted: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """The bodies of some lines, one at a time.

        Args:
            wanted: A flag per line.

        Yields:
            The line's number, from 0, and its request's JSON as it was spooled.

        Raises:
            JournalError: If the file cannot be read.
        """
        if not any(wanted):
            return
        for number, line in enumerate(read_lines(self._store, requests_name(self.tag))):
            if wanted[number]:
                yield number, body_of(line)

    def check(self) -> None:
        """Make sure that the files are those that were submitted.

        Raises:
            JournalError: If they are not.
        """
        digest = sha256()
        for piece in read_pieces(self._store, requests_name(self.tag)):
            digest.update(piece)
        if digest.hexdigest() != self._digest or sum(1 for _ in self.entries()) != self.requests:
            raise self._damaged("its files are not those that were submitted")

    def _damaged(self, reason: str) -> JournalError:
        name = self.ledger and (self.ledger.batch_id or self.ledger.tag)
        return JournalError(
            f"{self.ledger_path}: {reason}. The server may still hold the results of batch {name}; remove this file, "
            "and its requests are sent (and paid) again."
        )


class BatchFolder:
    """The batches of one output folder; whoever opens it holds the journal's lock."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def spool(self) -> Spool:
        """Begin a batch.

        Raises:
            JournalError: If the disk refuses.
        """
        return Spool(self._store, uuid.uuid4().hex)

    def seal(self, spool: Spool) -> DiskBatch:
        """End it; its files are durable when it returns.

        Raises:
            JournalError: If the disk refuses.
        """
        return DiskBatch(self._store, spool.tag, spool.requests, spool.seal())

    def submitted(self) -> list[DiskBatch]:
        """The batches that earlier runs submitted, oldest first; what they only began is cleared away.

        Raises:
            JournalError: If a ledger is damaged, or its batch's files are.
        """
        with disk_errors(f"{self._store.where}/{FOLDER}"):
            names = set(self._store.tidy(FOLDER))
            ledgers = {
                name.removeprefix(f"{FOLDER}/").removesuffix(_LEDGER) for name in names if name.endswith(_LEDGER)
            }
            for name in names:
                if name.removeprefix(f"{FOLDER}/").partition("-")[0] not in ledgers:
                    self._store.remove(name)
        return sorted(map(self._opened, ledgers), key=lambda batch: batch.submitted.asked_at)

    def _opened(self, tag: str) -> DiskBatch:
        name = f"{FOLDER}/{tag}{_LEDGER}"
        try:
            ledger = Ledger(**orjson.loads(b"".join(read_pieces(self._store, name))))
        except (ValueError, TypeError) as error:
            raise JournalError(
                f"{self._store.where}/{name}: cannot be read ({error}). It names a batch at the server; remove it, and "
                "the batch's requests are sent (and paid) again."
            ) from None
        batch = DiskBatch(self._store, tag, ledger.requests, ledger.sha256, ledger)
        batch.check()
        return batch
