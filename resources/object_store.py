"""Object stores through fsspec: how they are reached, and one kind of error for whatever goes wrong there.

Credentials, region and address come from the environment, by the names that all tools for S3 know (`AWS_…`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from upath import UPath

from resources.home import HomeError

S3 = ("s3", "s3a")
ATTEMPTS = 5
"""How often a request to S3 is made, with growing pauses of 15 s in all at most; `AWS_MAX_ATTEMPTS` changes it."""
LIBRARIES = ("aiobotocore", "aiohttp", "botocore", "fsspec", "s3fs")
"""Whose errors tell of a store."""
PART_BYTES = 50 << 20
"""Bytes of each part of an object that is stored in parts, which one of twice that size is."""


def is_remote(path: UPath) -> bool:
    """Whether a path is a URL rather than a folder or file of this machine."""
    return path.protocol not in ("", "file")


def is_s3(path: UPath) -> bool:
    """Whether a path lies in a store that speaks the S3 protocol."""
    return path.protocol in S3


def options_of(url: str) -> dict[str, Any]:
    """What fsspec is told of a store; nothing secret.

    Args:
        url: a URL that fsspec knows, such as `s3://bucket/prefix`; a path of this machine needs no options.
    """
    protocol, separator, _ = url.partition("://")
    if not separator or protocol == "file":
        return {}
    # Listings must be those of now: another process may have written since.
    fresh: dict[str, Any] = {"use_listings_cache": False}
    if protocol not in S3:
        return fresh
    # Botocore's own default waits too briefly for a store that says "slow down".
    retries = {
        "mode": os.environ.get("AWS_RETRY_MODE") or "standard",
        "total_max_attempts": _attempts(),
    }
    return {**fresh, "config_kwargs": {"retries": retries}}


def _attempts() -> int:
    given = os.environ.get("AWS_MAX_ATTEMPTS") or str(ATTEMPTS)
    if not given.isdecimal() or int(given) < 1:
        raise HomeError(f"AWS_MAX_ATTEMPTS is {given!r}: give the number of tries, at least 1")
    return int(given)


class StoreError(OSError):
    """An object store that refuses or does not answer; the message says which and how."""


class ReplacedError(StoreError):
    """An object that was replaced while it was read."""


@contextlib.contextmanager
def as_os_error() -> Iterator[None]:
    """Turns what stores raise, which each of their libraries does in its own way, into a `StoreError`.

    That an object is not there, or is there already, remains `FileNotFoundError` and `FileExistsError`.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, StoreError):
        raise
    except ImportError as error:
        raise StoreError(f"{error}; for S3: pip install -e .[s3]") from error
    except Exception as error:
        if type(error).__name__ == "FileExpired":
            raise ReplacedError(str(error)) from error
        if _of_a_store(error):
            raise StoreError(f"{type(error).__name__}: {error}") from error
        raise


def _of_a_store(error: Exception) -> bool:
    if isinstance(error, OSError):
        # An error of a file's content has no number: Arrow and Polars tell so that a file is damaged.
        return type(error) is not OSError or error.errno is not None
    return type(error).__module__.partition(".")[0] in LIBRARIES


def read(path: UPath) -> bytes:
    """The bytes of an object, all of one write of it.

    Raises:
        FileNotFoundError: there is none.
        StoreError: the store refuses, or does not answer.
    """
    # Large objects are otherwise fetched in parts, which may be those of two writes.
    whole = {"max_concurrency": 1} if is_s3(path) else {}
    with as_os_error():
        data: bytes = path.fs.cat_file(path.path, **whole)
    return data


def write(path: UPath, data: bytes) -> None:
    """Store an object: whoever reads it sees the old one until all of this one is there.

    Raises:
        FileNotFoundError: there is no such bucket.
        StoreError: the store refuses, or does not answer; the old one stays.
    """
    parts = {"chunksize": PART_BYTES} if is_s3(path) else {}
    with as_os_error():
        path.fs.pipe_file(path.path, data, **parts)
