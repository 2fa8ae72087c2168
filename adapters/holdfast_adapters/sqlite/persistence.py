"""One SQLite file as a whole store."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from holdfast.ports.clock import Clock
from holdfast_adapters.sqlite.access import Access
from holdfast_adapters.sqlite.facts import StoreFacts, read_facts
from holdfast_adapters.sqlite.journal import SqliteJournal
from holdfast_adapters.sqlite.outbox import SqliteOutbox
from holdfast_adapters.sqlite.queries import SqliteQueries
from holdfast_adapters.sqlite.queues import SqliteQueues
from holdfast_adapters.sqlite.retention import SqliteRetention
from holdfast_adapters.sqlite.snapshots import SqliteSnapshots
from holdfast_adapters.sqlite.waits import SqliteWaits
from holdfast_adapters.sqlite.work import SqliteWork


class SqlitePersistence(
    SqliteJournal,
    SqliteSnapshots,
    SqliteWaits,
    SqliteWork,
    SqliteQueues,
    SqliteOutbox,
    SqliteQueries,
    SqliteRetention,
):
    """The Persistence port on one SQLite file, for one process or several on one machine.

    Usable from tasks of any event loop, from threads, and without a loop at all.

    Args:
        path: The database file; it is created, readable by its owner only, when it does not exist.
        clock: The clock of the machine, which is the store's clock.
        migrate: Whether opening brings an older schema up to date instead of refusing it.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock, migrate: bool = True) -> None:
        self._access = Access(Path(path), clock=clock, migrate=migrate)

    async def open(self) -> None:
        """Open the file and bring its schema up to date."""
        await self._access.open()

    async def close(self) -> None:
        """Answer what is under way, checkpoint and close the file."""
        await self._access.close()

    async def facts(self) -> StoreFacts:
        """Return what an operator should know of the file; reads all of it."""
        writer = self._access.opened.writer
        assert writer is not None, "an open store has a writer"

        def setting(connection: sqlite3.Connection, _: int) -> int:
            (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
            return int(synchronous)

        synchronous = await self._access.write(setting)
        error = writer.checkpoint_error
        return await self._access.read(
            lambda connection, _: read_facts(connection, self._access.path, synchronous=synchronous, error=error)
        )
