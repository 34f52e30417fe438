"""The generation engine: sends chat requests to one endpoint and keeps exactly one row per request, durably.

Usable on its own; it knows nothing of benchmarks, studies or Dagster. The names below are its whole interface.
"""

from __future__ import annotations

from resources.engine.client import Endpoint
from resources.engine.engine import Engine, generate
from resources.engine.errors import (
    EndpointDownError,
    EndpointRefusedError,
    EngineError,
    FolderBusyError,
    JournalError,
    RequestError,
)
from resources.engine.journal import forget, responses
from resources.engine.options import EngineOptions
from resources.engine.progress import Progress, Summary
from resources.engine.requests import Request, read_requests, request_digest

__all__ = [
    "Endpoint",
    "EndpointDownError",
    "EndpointRefusedError",
    "Engine",
    "EngineError",
    "EngineOptions",
    "FolderBusyError",
    "JournalError",
    "Progress",
    "Request",
    "RequestError",
    "Summary",
    "forget",
    "generate",
    "read_requests",
    "request_digest",
    "responses",
]
