"""How DuckDB reads the lake's files: whose rows are of one write, and through what where the lake is an object store.

DuckDB opens a file twice, for its footer and for its rows. Where the file is replaced in between, it reads the rows of
one write by the footer of another: what it makes of them is wrong, and it says so only sometimes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import duckdb

from resources.lake import Lake, LakeError
from resources.object_store import is_remote, is_s3, options_of
from resources.provenance import quoted

TRIES = 6
PAUSE_S = 0.2
"""Seconds before the second try; each further one waits as long again and more."""
Found = TypeVar("Found")


def steadily(lake: Lake, ask: Callable[[], Found], tables: Collection[str] | None = None) -> Found:
    """What a query finds while no file that it may read is replaced; it is asked again where one was.

    Args:
        lake: what the query reads.
        ask: runs the query, to its last row.
        tables: the lake's tables that it reads; all of them when None.

    Raises:
        LakeError: files were replaced at every try, or the object store does not answer.
    """
    for attempt in range(TRIES):
        time.sleep(PAUSE_S * attempt)
        before = lake.marks(tables)
        failure: Exception | None = None
        try:
            with one_listing(lake):
                found = ask()
        except Exception as error:  # whatever rows of two writes lead to
            failure = error
        try:
            after = lake.marks(tables)
            # A new file is no danger: it was not there when its footer could have been read.
            replaced = [name for name, mark in before.items() if after.get(name) != mark]
            if not replaced:
                if failure is not None:
                    raise failure
                return found
        finally:
            # Its traceback holds this frame: together they would keep alive what `ask` held, a connection too.
            del failure
    raise LakeError(
        f"{lake.root}: files were replaced during each of {TRIES} tries to read them, {replaced[0]} among them: "
        "ask again when fewer partitions are being written"
    )


@contextlib.contextmanager
def one_listing(lake: Lake) -> Iterator[None]:
    """Has fsspec list a remote lake's folders once, where DuckDB would ask for each file ten times.

    A file is then read as it was listed, by its ETag, or not at all.
    """
    if not is_remote(lake.root):
        yield
        return
    listings = lake.files.dircache
    lake.files.invalidate_cache()
    listings.use_listings_cache = True
    try:
        yield
    finally:
        listings.use_listings_cache = False
        lake.files.invalidate_cache()


def open_lake(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Let a connection read the lake's files, wherever they are.

    S3 is read by DuckDB's own extension `httpfs` where that is installed, which nothing here downloads; any other
    store, and S3 without the extension, through fsspec.

    Raises:
        LakeError: there are no credentials for the store.
    """
    if not is_remote(lake.root):
        return
    # What is told of a store outside the environment is known to fsspec alone.
    told = lake.root.storage_options != options_of(str(lake.root))
    if not told and is_s3(lake.root) and httpfs_is_installed(connection):
        _use_httpfs(connection, lake)
    else:
        connection.register_filesystem(lake.files)


def httpfs_is_installed(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether DuckDB's extension for S3 lies on this machine."""
    sql = "SELECT installed FROM duckdb_extensions() WHERE extension_name = 'httpfs'"
    return connection.execute(sql).fetchall() == [(True,)]


def _use_httpfs(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    connection.execute("LOAD httpfs")
    try:
        # A secret that is not PERSISTENT lives in this connection's memory, never in the database's file.
        connection.execute(f"CREATE OR REPLACE SECRET lake ({', '.join(_secret(lake))})")
    except duckdb.Error:
        # DuckDB's message quotes the statement, and with it the key.
        raise LakeError(f"{lake.root}: DuckDB does not take the AWS_ settings of the environment: check them") from None


def _secret(lake: Lake) -> list[str]:
    """The parts of DuckDB's secret: the settings that botocore finds, as fsspec does."""
    import botocore.session

    session = botocore.session.get_session()
    keys = session.get_credentials()
    if keys is None:
        raise LakeError(f"{lake.root}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role")
    found = keys.get_frozen_credentials()
    settings: dict[str, Any] = {"KEY_ID": found.access_key, "SECRET": found.secret_key, "SESSION_TOKEN": found.token}
    settings["REGION"] = session.get_config_variable("region") or os.environ.get("AWS_REGION") or "us-east-1"
    parts = ["TYPE s3", *(f"{name} {quoted(value)}" for name, value in settings.items() if value)]
    if address := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        url = urlsplit(address)
        # As botocore does: a store of one's own rarely has a name in the DNS for each bucket.
        parts += [f"ENDPOINT {quoted(url.netloc)}", "URL_STYLE 'path'", f"USE_SSL {str(url.scheme == 'https').lower()}"]
    return parts
