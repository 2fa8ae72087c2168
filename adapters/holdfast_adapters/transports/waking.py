"""The hosts of this process that want to know when a hint arrives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from holdfast.ports.job_transport import JobHint

_log = logging.getLogger(__name__)


class Sleepers:
    """Those to wake; each dictionary operation is atomic, so threads need no lock."""

    def __init__(self) -> None:
        self._callbacks: dict[object, Callable[[timedelta], None]] = {}

    def add(self, callback: Callable[[timedelta], None]) -> Callable[[], None]:
        """Add one and return the function that removes it."""
        token = object()
        self._callbacks[token] = callback
        return lambda: self._callbacks.pop(token, None) and None

    def wake(self, hints: Sequence[JobHint]) -> None:
        """Tell each how long it is until the first of the hinted jobs is due."""
        if not hints:
            return
        delay = min(hint.delay for hint in hints)
        for callback in tuple(self._callbacks.values()):
            try:
                callback(delay)
            except Exception:  # noqa: BLE001 - a host that has stopped must not fail the commit that hints
                _log.exception("a host could not be woken")
