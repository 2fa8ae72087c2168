"""The port behind which all state lives, made of narrower ones by who calls them."""

from __future__ import annotations

from typing import Protocol

from holdfast.ports.journal import Journal
from holdfast.ports.outbox import Outbox
from holdfast.ports.queries import Queries
from holdfast.ports.queues import Queues
from holdfast.ports.retention import Retention
from holdfast.ports.snapshots import Snapshots
from holdfast.ports.waits import Waits
from holdfast.ports.work import Work


class Persistence(Journal, Snapshots, Waits, Work, Queues, Outbox, Queries, Retention, Protocol):
    """One store that applies change-sets, reads for decisions, hands out work and events, and answers people."""

    async def open(self) -> None:
        """Make the store ready for use; harmless when it is open.

        Raises:
            UnusableStore: If the store is foreign, has a schema this version does not know, or may not be written.
            StoreUnavailable: If the store cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Give back what the store holds; harmless when it is closed. Calls after it raise `StoreUnavailable`."""
        ...
