"""Requests: what is asked, how a request is identified, and how files of requests are read as a stream.

Nothing here talks to a server or knows what was answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from resources.engine.errors import RequestError
from resources.engine.keytable import KeyTable, key_of

LIMIT_KEYS = ("max_tokens", "max_completion_tokens")
"""Sampling keys that bound the response; they are no part of a request's identity."""

RESERVED_KEYS = ("messages", "model", "n", "stream")
"""Body keys that the engine sets itself: one request is one response, read whole."""

_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request for one response.

    Attributes:
        request_id: names the row; unique within a run.
        messages: chat messages, each with at least a `role`.
        sampling: temperature, top_p, top_k, seed, stop, max_tokens, reasoning_effort and whatever else the server
            accepts at the top level of the body.
    """

    request_id: str
    messages: list[dict[str, Any]]
    sampling: dict[str, Any] = field(default_factory=dict)

    @property
    def max_tokens(self) -> int | None:
        """The token limit asked for, or None where the server's own holds."""
        for key in LIMIT_KEYS:
            if (limit := self.sampling.get(key)) is not None:
                return int(limit)
        return None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as it goes over the wire: its identity and its body."""

    request_id: str
    digest: str
    max_tokens: int | None
    body: bytes


def request_digest(model_digest: str, request: Request) -> str:
    """Digest what a response depends on.

    Args:
        model_digest: Digest of the model that answers.
        request: The request; its id and its token limit do not count, its seed does.

    Returns:
        sha256, hexadecimal, of the canonical JSON `{"messages":…,"model":…,"sampling":…}`.

    Raises:
        RequestError: If the request holds something that JSON does not.
    """
    return Preparer("", model_digest)(request).digest


class Preparer:
    """Checks requests to one model, digests them and writes their bodies."""

    def __init__(self, model: str, model_digest: str) -> None:
        """Prepare to prepare.

        Args:
            model: Name under which the endpoint serves the model.
            model_digest: Digest of that model.
        """
        self._model = b"".join((b',"model":', orjson.dumps(model)))
        self._identity = b"".join((b',"model":', orjson.dumps(model_digest), b',"sampling":'))

    def __call__(self, request: Request) -> Prepared:
        """Prepare a request.

        Raises:
            RequestError: If it is malformed; the message names it.
        """
        if reason := _fault(request.request_id, request.messages, request.sampling):
            raise RequestError(f"request {request.request_id!r}: {reason}")
        sampling = request.sampling
        telling = {key: value for key, value in sampling.items() if value is not None and key not in LIMIT_KEYS}
        try:
            messages = orjson.dumps(request.messages, option=_CANONICAL)
            asked = orjson.dumps(sampling, option=_CANONICAL)
            identity = orjson.dumps(telling, option=_CANONICAL)
        except TypeError as error:
            raise RequestError(f"request {request.request_id!r}: cannot be written as JSON: {error}") from None
        digest = sha256(b"".join((b'{"messages":', messages, self._identity, identity, b"}"))).hexdigest()
        # Spliced, as the messages are most of it and are JSON already; `_fault` has seen to it that no key comes twice.
        rest = b"," + asked[1:] if sampling else b"}"
        body = b"".join((b'{"messages":', messages, self._model, rest))
        return Prepared(request.request_id, digest, request.max_tokens, body)


def reseeded(body: bytes, digest: str, retry: int) -> bytes:
    """A body with another seed, for another draw of the same request.

    Args:
        body: Of a prepared request.
        digest: The request's.
        retry: Number of the draw, from 1; the same number gives the same seed.
    """
    seed = int.from_bytes(sha256(f"{digest}/{retry}".encode()).digest()[:4], "little") >> 1
    return orjson.dumps({**orjson.loads(body), "seed": seed}, option=_CANONICAL)


def _fault(request_id: object, messages: object, sampling: object) -> str | None:
    """Say what is wrong with a request's parts, or None."""
    if not isinstance(request_id, str) or not request_id or not _encodable(request_id):
        return "`request_id` must be a text that is not empty, in valid Unicode"
    if not isinstance(messages, list) or not messages:
        return "`messages` must be a list with at least one message"
    if not all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages):
        return "each of `messages` must be an object with a `role`, such as {'role': 'user', 'content': '…'}"
    if not isinstance(sampling, Mapping):
        return "`sampling` must be an object, such as {'temperature': 0.6}"
    if taken := [key for key in RESERVED_KEYS if key in sampling]:
        return f"`sampling` may not hold {', '.join(taken)}: the engine sets these itself"
    limits = [sampling[key] for key in LIMIT_KEYS if sampling.get(key) is not None]
    if any(isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit < 1 << 62 for limit in limits):
        return "the token limit must be a whole number of at least 1, and one that a server can read"
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_requests(path: Path, *, checked: bool = False) -> Iterator[Request]:
    """Read requests from a file, one at a time.

    Args:
        path: JSONL (`.jsonl`, `.ndjson`, `.json`), one `{"request_id", "messages", "sampling"?}` a line, or Parquet
            with columns of these names; `messages` and `sampling` may be JSON text there.
        checked: The file was read through before, so that no request_id needs to be looked up again.

    Yields:
        The requests, in the file's order.

    Raises:
        RequestError: On the first row that is no request, or whose request_id an earlier row has; the message names
            file, line (Parquet: row, from 1) and what is wrong.
    """
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _jsonl_rows(path)
    seen = KeyTable()
    for where, number, row in rows:
        request = _request(where, row)
        if checked:
            yield request
            continue
        key = key_of(request.request_id)
        if (first := seen.get(key)) is not None:
            raise RequestError(f"{where}: request_id {request.request_id!r} is taken by row {first}; make it unique")
        seen.put(key, number)
        yield request


def count_requests(path: Path) -> int:
    """Read a request file through, so that its mistakes show before anything is sent.

    Args:
        path: As `read_requests` takes it.

    Returns:
        The number of requests.

    Raises:
        RequestError: As `read_requests`, or if the file holds none.
    """
    total = sum(1 for _ in read_requests(path))
    if not total:
        raise RequestError(f"{path}: holds no requests; write one {{request_id, messages, sampling?}} a line")
    return total


def _request(where: str, row: object) -> Request:
    if not isinstance(row, dict):
        raise RequestError(f"{where}: must be an object {{request_id, messages, sampling?}}, not {type(row).__name__}")
    if missing := [name for name in ("request_id", "messages") if row.get(name) is None]:
        raise RequestError(f"{where}: lacks `{'` and `'.join(missing)}`")
    request_id = str(row["request_id"]) if isinstance(row["request_id"], int) else row["request_id"]
    sampling = {} if row.get("sampling") is None else row["sampling"]
    if reason := _fault(request_id, row["messages"], sampling):
        raise RequestError(f"{where}: {reason}")
    return Request(request_id, row["messages"], sampling)


def _jsonl_rows(path: Path) -> Iterator[tuple[str, int, object]]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}, line {number}", number, _parse(f"{path}, line {number}", line)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None


def _parse(where: str, text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"{where}: is not JSON: {error}") from None


def _parquet_rows(path: Path) -> Iterator[tuple[str, int, object]]:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise RequestError(f"{path}: cannot be read as Parquet: {error}") from None
    columns = [name for name in ("request_id", "messages", "sampling") if name in file.schema_arrow.names]
    number = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
        for row in batch.to_pylist():
            number += 1
            where = f"{path}, row {number}"
            yield where, number, {name: _parquet_value(where, value) for name, value in _decoded(where, row)}


def _decoded(where: str, row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        yield name, _parse(where, value) if name != "request_id" and isinstance(value, str) else value


def _parquet_value(where: str, value: Any) -> Any:
    """Drop the nulls that Parquet's structs put where a row lacks a field."""
    if isinstance(value, dict):
        return {key: _parquet_value(where, inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_parquet_value(where, inner) for inner in value]
    return value
