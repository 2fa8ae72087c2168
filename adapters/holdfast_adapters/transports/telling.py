"""Jobs straight from the store, and hints to other processes of those that become ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from holdfast.change import ZERO
from holdfast.ports.job_transport import JobHint
from holdfast.ports.persistence import Persistence
from holdfast_adapters.transports.database import DatabaseTransport


class TellingTransport(DatabaseTransport):
    """Wakes the hosts of this process by itself, and those of others by way of *tell*.

    Args:
        persistence: Where the jobs are.
        tell: Takes how long it is until a job is due, and its queue. It must neither block nor raise.
    """

    def __init__(self, persistence: Persistence, *, tell: Callable[[timedelta, str | None], None]) -> None:
        super().__init__(persistence)
        self._tell = tell

    async def enqueue(self, hints: Sequence[JobHint]) -> None:
        """Wake the hosts of this process, and tell others."""
        await super().enqueue(hints)
        for hint in hints:
            self._tell(hint.delay, hint.queue)

    def hear(self, queues: Iterable[str]) -> None:
        """Wake the hosts of this process for what others told: jobs of these *queues* are due."""
        self._sleepers.wake_queues(dict.fromkeys(queues, ZERO))
