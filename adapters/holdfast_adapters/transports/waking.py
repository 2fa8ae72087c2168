"""The hosts of this process that want to know when a hint arrives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from holdfast.ports.job_transport import JobHint

_log = logging.getLogger(__name__)


class Sleepers:
    """Those to wake; each dictionary operation is atomic, so threads need no lock."""

    def __init__(self) -> None:
        self._callbacks: dict[object, tuple[Callable[[timedelta], None], frozenset[str] | None]] = {}

    def add(self, callback: Callable[[timedelta], None], *, queues: frozenset[str] | None = None) -> Callable[[], None]:
        """Add one, who serves *queues* or all, and return the function that removes it."""
        token = object()
        self._callbacks[token] = (callback, queues)
        return lambda: self._callbacks.pop(token, None) and None

    def wake(self, hints: Sequence[JobHint]) -> None:
        """Tell each how long it is until the first of the hinted jobs is due."""
        dues: dict[str, timedelta] = {}
        for hint in hints:
            dues[hint.queue] = min(hint.delay, dues.get(hint.queue, hint.delay))
        self.wake_queues(dues)

    def wake_queues(self, dues: Mapping[str, timedelta]) -> None:
        """Tell each how long it is until something is due in one of its queues, if *dues* has any of those."""
        for callback, queues in tuple(self._callbacks.values()):
            delays = [delay for queue, delay in dues.items() if queues is None or queue in queues]
            if not delays:
                continue
            try:
                callback(min(delays))
            except Exception:  # noqa: BLE001 - a host that has stopped must not fail the commit that hints
                _log.exception("a host could not be woken")
