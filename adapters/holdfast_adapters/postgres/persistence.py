"""One Postgres database as a whole store."""

from __future__ import annotations

from typing import Final

from holdfast.ports.clock import Clock
from holdfast.ports.ids import Ids
from holdfast_adapters.postgres.access import Access, AccessSettings
from holdfast_adapters.postgres.blobs import PostgresBlobStore
from holdfast_adapters.postgres.journal import PostgresJournal
from holdfast_adapters.postgres.notices import Notices
from holdfast_adapters.postgres.outbox import PostgresOutbox
from holdfast_adapters.postgres.queries import PostgresQueries
from holdfast_adapters.postgres.queues import PostgresQueues
from holdfast_adapters.postgres.retention import PostgresRetention
from holdfast_adapters.postgres.snapshots import PostgresSnapshots
from holdfast_adapters.postgres.turns import Turns
from holdfast_adapters.postgres.waits import PostgresWaits
from holdfast_adapters.postgres.work import PostgresWork

#: Connections of one event loop beside the one that commits.
CONNECTIONS: Final = 4
PATIENCE_SECONDS: Final = 30.0


class PostgresPersistence(
    PostgresJournal,
    PostgresSnapshots,
    PostgresWaits,
    PostgresWork,
    PostgresQueues,
    PostgresOutbox,
    PostgresQueries,
    PostgresRetention,
):
    """The Persistence port on one Postgres database, for any number of processes.

    Usable from tasks of any event loop; each loop that uses it gets connections of its own.

    Args:
        url: The database, as libpq takes it: ``postgresql://user@host/database`` or ``key=value`` words.
        clock: For tests, a clock to use in place of the database's own.
        migrate: Whether opening brings an older schema up to date instead of refusing it.
        connections: How many connections an event loop has at most, beside the one that commits.
        patience: How many seconds an answer of the server is waited for, and a free connection.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        migrate: bool = True,
        connections: int = CONNECTIONS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        access = Access(
            AccessSettings(url=url, clock=clock, migrate=migrate, connections=connections, patience=patience)
        )
        self._access = access
        self._turns, self._pending_turns = Turns(), Turns()
        self._url = url
        #: Where large payloads go, unless the host names another place.
        self.blob_store = PostgresBlobStore(access)

    def make_notices(self, *, ids: Ids, listen_at: str | None = None) -> Notices:
        """Return the hints to other processes and from them, for a host that wants them while the store is open.

        Args:
            ids: Where chance comes from.
            listen_at: Where the connection goes on which they are heard, if not to the store's own address.
        """
        return Notices(self._access, ids=ids, listen_at=listen_at or self._url)

    @property
    def access(self) -> Access:
        """The way to the database, for what else is made of it."""
        return self._access

    async def open(self) -> None:
        """Reach the database and bring its schema up to date."""
        await self._access.open()

    async def close(self) -> None:
        """Answer what is under way and close the connections."""
        await self._access.close()
