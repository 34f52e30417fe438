"""The wire: one chat-completions call over aiohttp, and the question whether the endpoint answers at all.

What belongs here is transport; what a reply means is in `replies.py`, when to send again in `flow.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from resources.engine.deadlines import Deadlines
from resources.engine.errors import EndpointRefusedError
from resources.engine.replies import Completion, Failure, read_reply, words

KEEPALIVE_SECONDS = 4.0
"""Below uvicorn's five, or a server closes a connection at the moment that it is used again."""

CONNECT_SECONDS, PROBE_SECONDS = 30.0, 10.0


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server and the model asked of it.

    Attributes:
        base_url: such as `http://127.0.0.1:8000/v1`; without a path, `/v1` is meant.
        model: the name under which the server knows the model.
        model_digest: digest of the model's weights, part of every request's identity; None takes the name for it.
        api_key_env: environment variable that holds the key, or None for none. The key itself is stored nowhere.
        extra_headers: headers sent with every request.
        reasons: the model reasons, so that a whole response without reasoning is a failure (`no_reasoning`).
        requests_per_minute: most requests started in a minute, or None for no such limit.
        tokens_per_minute: most tokens, of prompts and responses, in a minute, or None for no such limit.
        batch: send through the OpenAI Batch API (files, then polling) instead of one call per request.

    Raises:
        EndpointRefusedError: If base_url is no http(s) URL, or a limit is not above 0.
    """

    base_url: str
    model: str
    model_digest: str | None = None
    api_key_env: str | None = None
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    reasons: bool = False
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    batch: bool = False

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute"):
            if (limit := getattr(self, name)) is not None and not limit > 0:
                raise EndpointRefusedError(f"{name} is {limit}; it must be more than 0, or left out")
        parts = urlsplit(self.base_url)
        if parts.username or parts.password:
            raise EndpointRefusedError("base URL: holds a user or password; put the key into an environment variable")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EndpointRefusedError(
                f"base URL {self.base_url!r}: must be an http(s) URL such as http://127.0.0.1:8000/v1"
            )

    @property
    def identity(self) -> str:
        """What stands for the model in a request's digest."""
        return self.model_digest or self.model

    def url(self, path: str) -> str:
        """The address of one of the protocol's paths, such as `chat/completions`."""
        base = self.base_url.rstrip("/")
        return f"{base}/{path}" if urlsplit(base).path else f"{base}/v1/{path}"

    def api_key(self) -> str | None:
        """Read the key from the environment.

        Raises:
            EndpointRefusedError: If the variable is named but not set.
        """
        if self.api_key_env is None:
            return None
        if not (key := os.environ.get(self.api_key_env)):
            raise EndpointRefusedError(f"environment variable {self.api_key_env} is not set; it must hold the API key")
        return key


class ChatClient:
    """Sends bodies to one endpoint; an async context manager that holds the connections."""

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self._endpoint = endpoint
        self._key = endpoint.api_key()
        self._where = endpoint.url("chat/completions")
        # Parsed once: that costs as much as reading a reply.
        self._url = URL(self._where)
        self._timeout = timeout
        self._connect_timeout = min(CONNECT_SECONDS, timeout)
        self._deadlines = Deadlines(timeout)

    async def __aenter__(self) -> ChatClient:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self._endpoint.extra_headers}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=_behind_proxy(self._where),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.close()
        await self._session.close()

    async def send(self, body: bytes) -> Completion | Failure:
        """Send one request and read its reply; whatever goes wrong is a `Failure`.

        Args:
            body: The request's JSON.
        """
        begun, task = False, self._deadlines.begin()
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as reply:
                begun = True
                status, headers, answer = reply.status, reply.headers, await reply.read()
        except asyncio.CancelledError:
            if not self._deadlines.passed(task):
                raise
            return Failure("timeout", f"no reply within {self._timeout:g} s")
        except TimeoutError:
            return Failure("timeout", f"no connection within {self._connect_timeout:g} s")
        except Exception as error:
            # Whatever the transport raises, it is a failure of this request and of no other.
            return Failure("incomplete" if begun else "connection", self._reason(error))
        finally:
            self._deadlines.end(task)
        result = read_reply(status, headers, answer, reasons=self._endpoint.reasons)
        if isinstance(result, Failure) and self._key:
            # Servers quote the key when they refuse it; it must not reach a row or a log, not even cut off.
            blotted = answer.replace(self._key.encode(), b"***")
            return read_reply(status, headers, blotted, reasons=self._endpoint.reasons)
        return result

    def _reason(self, error: Exception) -> str:
        """What went wrong below HTTP, in one line."""
        if isinstance(error, aiohttp.ClientConnectorError) and (error.os_error.errno or 0) > 0:
            return f"cannot connect: {os.strerror(error.os_error.errno or 0)}"
        message = f"{type(error).__name__}: {error}"
        return words(message.replace(self._key, "***") if self._key else message)

    async def probe(self) -> str | None:
        """Ask whether the endpoint answers, with a request that costs it nothing.

        Returns:
            None if it does (even with an error of its own), else why not.
        """
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        try:
            async with self._session.get(self._endpoint.url("models"), timeout=timeout) as reply:
                return f"status {reply.status}" if reply.status in (502, 503, 504) else None
        except TimeoutError:
            return f"no reply within {PROBE_SECONDS:g} s"
        except Exception as error:
            # Silence would leave the endpoint shut for ever.
            return self._reason(error)


def _behind_proxy(url: str) -> bool:
    """Whether a proxy from the environment stands before `url`; asking once spares asking on every request."""
    parts = urlsplit(url)
    if parts.hostname in ("127.0.0.1", "::1", "localhost"):
        return False
    return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")
