"""What one event loop does with the database: reads, transactions, and the commits that are gathered into one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import attrs
import psycopg
from psycopg.errors import CharacterNotInRepertoire

from holdfast.errors import StoreUnavailable
from holdfast_adapters.postgres.pool import Connect, Pool
from holdfast_adapters.postgres.prepared import Prepared
from holdfast_adapters.postgres.refusals import FAULTS, MEETINGS, is_fault_of_server, refused
from holdfast_adapters.postgres.statements import Call, Statement
from holdfast_adapters.postgres.wave import Outcome, apply
from holdfast_adapters.postgres.wire import ConnectionLost, Rows, Wire

T = TypeVar("T")

#: A transaction takes no further change-sets once it has so many; 200 is where throughput no longer rises with size.
FULL_BATCH: Final = 200
#: Connections that write: one for commits, and one so that a heartbeat need not wait for them.
WRITERS: Final = 2
#: How often a transaction is tried that met others; each time at least one of those it met has come to its end.
MOST_MEETINGS: Final = 10
#: How often something is tried whose connection turns out to have ended while it was idle.
MOST_STALE: Final = 2

ROLLBACK: Final = Statement("ROLLBACK")


@attrs.frozen(kw_only=True)
class LaneSettings:
    """How a lane goes about it."""

    connect: Connect
    #: For connections that find what they write by whole keys.
    connect_writer: Connect
    #: The instant, in microseconds; None leaves it to the database's clock.
    instant: Callable[[], int | None]
    #: Connections for everything but commits, and how many seconds somebody waits for one of them.
    size: int
    patience: float


class Request:
    """Change-sets on their way into a transaction, and where their outcomes go."""

    __slots__ = ("answer", "changes")

    def __init__(self, changes: Sequence[Prepared], answer: asyncio.Future[list[Outcome]]) -> None:
        self.changes = changes
        self.answer = answer


class Lane:
    """One event loop's way to the database.

    The first commit starts a transaction at once; those that arrive while it is under way become the next one together.
    There is no waiting window.
    """

    def __init__(self, settings: LaneSettings) -> None:
        self.loop = asyncio.get_running_loop()
        self._instant = settings.instant
        self._pool = Pool(settings.connect, size=settings.size, patience=settings.patience)
        self._writers = Pool(settings.connect_writer, size=WRITERS, patience=settings.patience)
        self._queue: deque[Request] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._is_open = True

    def adopt(self, wire: Wire) -> None:
        """Take a connection over."""
        self._pool.adopt(wire)

    async def commit(self, changes: Sequence[Prepared]) -> list[Outcome]:
        """Apply change-sets together with whatever else arrives meanwhile."""
        self._check()
        answer: asyncio.Future[list[Outcome]] = self.loop.create_future()
        self._queue.append(Request(changes, answer))
        if self._committing is None:
            self._committing = self.loop.create_task(self._work())
        return await answer

    async def read(self, *calls: Call) -> list[Rows]:
        """Return what the calls find, in one trip; they change nothing, so they may be tried again."""

        async def read(wire: Wire) -> list[Rows]:
            try:
                return await wire.run(*calls)
            except CharacterNotInRepertoire:
                # No row can hold NUL, so nothing is found by a text that does.
                return [[] for _ in calls]

        return await self.use(read)

    async def use(self, act: Callable[[Wire], Awaitable[T]]) -> T:
        """Do something with a connection; it is done once more if the connection was lost before it did anything.

        Raises:
            StoreUnavailable: If the database cannot be reached or refuses.
            CommitUnknown: If *act* raises it.
            InvalidInput: If a value has no form in the store.
        """
        return await self._used(self._pool, act)

    async def write(self, act: Callable[[Wire], Awaitable[T]]) -> T:
        """Do what `use` does with a connection that finds what it writes by whole keys alone."""
        return await self._used(self._writers, act)

    async def _used(self, pool: Pool, act: Callable[[Wire], Awaitable[T]]) -> T:
        self._check()
        try:
            return await self._try(pool, act)
        except FAULTS as error:
            raise refused(error) from error

    def _check(self) -> None:
        if not self._is_open:
            raise StoreUnavailable("The Postgres store is closed.")

    async def _try(self, pool: Pool, act: Callable[[Wire], Awaitable[T]]) -> T:
        """Do *act* until it neither meets another transaction nor is told that the connection had ended."""
        meetings = stale = 0
        while True:
            wire: Wire | None = None
            try:
                wire = await pool.take()
                return await act(wire)
            except MEETINGS:
                meetings += 1
                if meetings == MOST_MEETINGS:
                    raise
            except ConnectionLost:
                stale += 1
                if stale == MOST_STALE:
                    raise
            finally:
                if wire is not None:
                    await _end(wire)
                    pool.give_back(wire)

    async def _work(self) -> None:
        try:
            while self._queue:
                await self._settle(self._take())
        finally:
            self._committing = None

    def _take(self) -> list[Request]:
        """Return what the next transaction is for: the first request and those behind it until it is full."""
        batch = [self._queue.popleft()]
        weight = len(batch[0].changes)
        while self._queue and weight + len(self._queue[0].changes) <= FULL_BATCH:
            batch.append(self._queue.popleft())
            weight += len(batch[-1].changes)
        return batch

    async def _settle(self, batch: Sequence[Request]) -> None:
        """Apply *batch* as one transaction, and if it cannot be, each request of it by itself."""
        changes = [change for request in batch for change in request.changes]
        try:
            outcomes = iter(await self._try(self._writers, lambda wire: apply(wire, changes, now=self._instant())))
        except Exception as error:  # noqa: BLE001 - whatever it is, it has its owner among the callers
            if len(batch) > 1 and not is_fault_of_server(error):
                for request in batch:
                    await self._settle([request])
                return
            # Each caller gets an error of its own: a shared one would collect all their tracebacks.
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(refused(error))
            return
        for request in batch:
            mine = [next(outcomes) for _ in request.changes]
            # An awaiter that was cancelled is told nothing; what it asked for has happened all the same.
            if not request.answer.done():
                request.answer.set_result(mine)

    async def stop(self) -> None:
        """Answer what has been handed in, then close the connections."""
        self._is_open = False
        while self._committing is not None:
            await asyncio.wait([self._committing])
        self.end()

    def end(self) -> None:
        """Close the connections at once; for a loop that runs no more."""
        self._is_open = False
        self._pool.close()
        self._writers.close()


async def _end(wire: Wire) -> None:
    """Bring a connection whose transaction failed back to rest."""
    if not wire.is_busy and wire.is_in_transaction:
        try:
            await wire.run((ROLLBACK, ()))
        except (psycopg.Error, ConnectionLost):
            wire.close()
