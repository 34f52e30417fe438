"""The spool: requests as the two files of a batch, one line each, so that memory does not depend on their number."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import orjson

from resources.engine.errors import JournalError
from resources.engine.requests import Prepared
from resources.engine.stores import Store

FOLDER = "batches"
CHAT_URL: Final = "/v1/chat/completions"
"""What the Batch API calls the endpoint, whatever path the server itself has it under."""

_DIGEST_CHARACTERS = 40
_BODY = b'"body":'
_HEAD_BYTES = 200
"""More than a line has besides its body."""

_PIECE = 1 << 20


class Entry(NamedTuple):
    """Whose line it is, and what became of the request in earlier batches.

    Attributes:
        request_id: the request's name.
        digest: the request's digest.
        max_tokens: the token limit asked for, or None.
        attempts: earlier batches that held the request.
        failures: of these, those in which it failed since it last had a response.
        length_retries: draws with another seed, this line's included.
        discarded_tokens: tokens of the responses that these replace.
        kept: tokens read and written for a response that the token limit ended; None if there is none. Its row is
            committed already, and stays if no later draw comes to anything.
    """

    request_id: str
    digest: str
    max_tokens: int | None
    attempts: int = 0
    failures: int = 0
    length_retries: int = 0
    discarded_tokens: int = 0
    kept: tuple[int | None, int | None] | None = None

    @classmethod
    def of(cls, request: Prepared) -> Entry:
        """The line of a request that is sent for the first time."""
        return cls(request.request_id, request.digest, request.max_tokens)

    def request(self, body: bytes = b"") -> Prepared:
        """The request again."""
        return Prepared(self.request_id, self.digest, self.max_tokens, body)


class _Abandoned(Exception):
    """Ends the writing of files that nobody is to find."""


class Spool:
    """A batch while it is written; nothing of it is there before `seal`.

    Attributes:
        tag: the batch's name.
        requests: lines so far.
        size: bytes so far.
    """

    def __init__(self, store: Store, tag: str) -> None:
        self.tag = tag
        self.requests = self.size = 0
        self._digest = sha256()
        self._where = f"{store.where}/{FOLDER}"
        self._files = contextlib.ExitStack()
        with disk_errors(self._where):
            self._lines = self._files.enter_context(store.writing(requests_name(tag)))
            self._index = self._files.enter_context(store.writing(index_name(tag)))

    def has_room(self, body: bytes, most_requests: int, most_bytes: int) -> bool:
        """Whether one more request stays within the limits; the first always does."""
        size = self.size + len(body) + _HEAD_BYTES
        return not self.requests or (self.requests < most_requests and size <= most_bytes)

    def add(self, entry: Entry, body: bytes) -> None:
        """Write one line.

        Args:
            entry: Whose it is.
            body: The request's JSON.

        Raises:
            JournalError: If the disk refuses.
        """
        line = _line(self.requests, entry.digest, body)
        with disk_errors(self._where):
            self._lines.write(line)
            self._index.write(orjson.dumps(list(entry)) + b"\n")
        self._digest.update(line)
        self.requests += 1
        self.size += len(line)

    def seal(self) -> str:
        """Finish the files; they are durable when it returns.

        Returns:
            The sha256 of the file of requests, hexadecimal.

        Raises:
            JournalError: If the disk refuses.
        """
        with disk_errors(self._where):
            self._files.close()
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Give up on it."""
        abandoned = _Abandoned()
        with contextlib.suppress(_Abandoned, OSError):
            self._files.__exit__(_Abandoned, abandoned, None)


def requests_name(tag: str) -> str:
    """The file of a batch that goes to the server."""
    return f"{FOLDER}/{tag}-requests.jsonl"


def index_name(tag: str) -> str:
    """The file that says whose the lines of `requests_name` are."""
    return f"{FOLDER}/{tag}-index.jsonl"


def _line(number: int, digest: str, body: bytes) -> bytes:
    # The number makes it unique, the digest proves whose it is; 64 characters are what servers allow.
    custom_id = f"{number}-{digest[:_DIGEST_CHARACTERS]}"
    head = {"custom_id": custom_id, "method": "POST", "url": CHAT_URL}
    return orjson.dumps(head)[:-1] + b"," + _BODY + body + b"}\n"


def body_of(line: bytes) -> bytes:
    """The request's JSON in a line of the file of requests."""
    return line[line.index(_BODY) + len(_BODY) : line.rindex(b"}")]


def number_of(custom_id: str, entries: Sequence[Entry]) -> int | None:
    """The line that a result belongs to.

    Args:
        custom_id: As the server gives it back.
        entries: The batch's lines.

    Returns:
        The line's number, from 0; None if the batch holds no such line.
    """
    number, _, digest = custom_id.partition("-")
    if not (number.isascii() and number.isdigit() and len(number) < 10) or int(number) >= len(entries):
        return None
    return int(number) if digest and entries[int(number)].digest.startswith(digest) else None


class LineSplitter:
    """Puts the lines of a file together again from pieces.

    At line feeds alone: `str.splitlines` breaks at U+2028 too, which JSON may hold as it is.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that `piece` completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return lines

    def rest(self) -> list[bytes]:
        """The last line, if it has no end."""
        return [self._rest] if self._rest else []


def read_pieces(store: Store, name: str) -> Iterator[bytes]:
    """Read a file of a store a megabyte at a time.

    Raises:
        JournalError: If it cannot be read.
    """
    with disk_errors(f"{store.where}/{name}"), store.reading(name) as file:
        while piece := file.read(_PIECE):
            yield piece


def read_lines(store: Store, name: str) -> Iterator[bytes]:
    """Read a file of a store line by line.

    Raises:
        JournalError: If it cannot be read.
    """
    splitter = LineSplitter()
    for piece in read_pieces(store, name):
        yield from splitter.feed(piece)
    yield from splitter.rest()


@contextlib.contextmanager
def disk_errors(where: str) -> Iterator[None]:
    """Say which file the disk, or the object store, refuses."""
    try:
        yield
    except OSError as error:
        raise JournalError(f"{where}: {error.strerror or error}. What was committed before is kept.") from error
