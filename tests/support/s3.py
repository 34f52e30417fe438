"""A real S3 server (moto's) in the tests' own process, and a proxy before it that has the faults of a real network."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator

import aiohttp
import pytest
from aiohttp import web
from threaded_server import ThreadedServer

KEY, SECRET = "test", "test"
HOP_BY_HOP = {"transfer-encoding", "connection", "content-encoding", "content-length"}
SLOW_DOWN = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message><RequestId>1</RequestId></Error>"""

Fault = Callable[[web.Request], "web.StreamResponse | None"]


class Bucket:
    """A bucket that no other test has.

    Attributes:
        url: `s3://…`.
        endpoint: address of the server.
        client: boto3's, of the server itself.
    """

    def __init__(self, endpoint: str) -> None:
        import boto3

        self.name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.url, self.endpoint = f"s3://{self.name}", endpoint
        self.client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        self.client.create_bucket(Bucket=self.name)

    def names(self, prefix: str = "") -> list[str]:
        """The names of all objects."""
        listed = self.client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return sorted(entry["Key"] for entry in listed)

    def unfinished(self) -> int:
        """How many uploads in parts were begun and neither completed nor given up."""
        return len(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))

    def settings(self, endpoint: str | None = None) -> dict[str, str]:
        """The environment under which `s3://` is this server, or a proxy before it."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def serving_bucket() -> Iterator[Bucket]:
    """A server with one bucket; the buckets of all of moto's servers in a process are the same ones."""
    from moto.server import ThreadedMotoServer

    # A line per request helps nobody.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield Bucket(f"http://{host}:{port}")
    finally:
        server.stop()


@contextlib.contextmanager
def in_environment(settings: dict[str, str]) -> Iterator[None]:
    """Settings for this process and what it starts; fsspec's file systems, which remember them, are made anew."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield
    s3fs.S3FileSystem.clear_instance_cache()


class FaultProxy(ThreadedServer):
    """Hands requests on to a server, less those that it has a fault for.

    Attributes:
        seen: method and path of each request, faults included.
        faults: asked in turn for each request; the first answer that is not None is given instead of the server's.
    """

    def __init__(self, behind: str) -> None:
        super().__init__(0)
        self.behind = behind
        self.seen: list[tuple[str, str]] = []
        self.faults: list[Fault] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def application(self) -> web.Application:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._hand_on)
        return application

    async def _hand_on(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path_qs))
        for fault in self.faults:
            answer = fault(request)
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer is not None:
                return answer
        headers = {name: value for name, value in request.headers.items() if name.lower() != "transfer-encoding"}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, self.behind + request.raw_path, headers=headers, data=await request.read()
            ) as reply,
        ):
            kept = {name: value for name, value in reply.headers.items() if name.lower() not in HOP_BY_HOP}
            if request.method == "HEAD":
                kept["Content-Length"] = reply.headers.get("Content-Length", "0")
            return web.Response(status=reply.status, headers=kept, body=await reply.read())


def slow_down(times: int, method: str = "PUT") -> Fault:
    """Answers `503 SlowDown` to the first so many requests of a method."""
    left = [times]

    def fault(request: web.Request) -> web.StreamResponse | None:
        if request.method != method or left[0] <= 0:
            return None
        left[0] -= 1
        return web.Response(status=503, text=SLOW_DOWN, content_type="application/xml")

    return fault


def cut(times: int, method: str = "PUT") -> Fault:
    """Closes the connection of the first so many requests of a method without an answer."""
    left = [times]

    def fault(request: web.Request) -> web.StreamResponse | None:
        if request.method != method or left[0] <= 0:
            return None
        left[0] -= 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return fault
