"""The whole Persistence port in memory: the reference that other adapters are compared with."""

from __future__ import annotations

from holdfast.ports.clock import Clock
from holdfast_adapters.memory.journal import MemoryJournal
from holdfast_adapters.memory.outbox import MemoryOutbox
from holdfast_adapters.memory.queries import MemoryQueries
from holdfast_adapters.memory.queues import MemoryQueues
from holdfast_adapters.memory.retention import MemoryRetention
from holdfast_adapters.memory.snapshots import MemorySnapshots
from holdfast_adapters.memory.store import Store
from holdfast_adapters.memory.waits import MemoryWaits
from holdfast_adapters.memory.work import MemoryWork


class MemoryPersistence(
    MemoryJournal,
    MemorySnapshots,
    MemoryWaits,
    MemoryWork,
    MemoryQueues,
    MemoryOutbox,
    MemoryQueries,
    MemoryRetention,
):
    """Keeps everything in this process, with the checks, the rollback and the uniqueness of a database.

    Nothing survives the process, and nothing needs opening. It may be used from several threads.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._store = Store(clock)

    async def open(self) -> None:
        """Make the store ready, also again after `close`; what it held is still there."""
        self._store.closed = False

    async def close(self) -> None:
        """Refuse every call from now on."""
        self._store.closed = True
