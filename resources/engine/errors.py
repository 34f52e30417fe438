"""What ends a run as a whole. Failures of single requests are rows, not exceptions (see `replies.py`)."""

from __future__ import annotations


class EngineError(RuntimeError):
    """Base of every error that ends a run; what was done stays on disk, and a rerun takes it up."""


class RequestError(EngineError):
    """A request, or the file that holds it, is wrong; the message names file and line, or the request."""


class FolderBusyError(EngineError):
    """Another live engine works on the output folder."""


class JournalError(EngineError):
    """The output folder cannot be written, or holds a file that cannot be read."""


class EndpointDownError(EngineError):
    """The endpoint did not come back within the give-up time."""


class EndpointRefusedError(EngineError):
    """The endpoint refuses every request for a reason that is not the request's: key, model name, quota."""
