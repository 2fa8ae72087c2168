"""Tracebacks for the log, without the values of local variables."""

from __future__ import annotations

import traceback


def trace_of(error: BaseException) -> str:
    """Return the traceback of *error* as text.

    Handed to a logger as ``exc_info``, it would be formatted by whatever the application has set up, and structlog's
    own default prints the local variables of every frame, payloads and secrets among them.
    """
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
