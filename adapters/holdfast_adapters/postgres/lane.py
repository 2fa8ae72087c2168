"""What one event loop does with the database: reads, transactions, and the commits that are gathered into one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import attrs
import psycopg
from psycopg.errors import CharacterNotInRepertoire, LockNotAvailable

from holdfast.change import Committed
from holdfast.errors import CommitUnknown, RunLocked, StoreUnavailable
from holdfast_adapters.postgres.applying import apply
from holdfast_adapters.postgres.known import Known
from holdfast_adapters.postgres.pool import Connect, Pool
from holdfast_adapters.postgres.prepared import Prepared
from holdfast_adapters.postgres.refusals import FAULTS, MEETINGS, is_fault_of_server, refused
from holdfast_adapters.postgres.statements import Call
from holdfast_adapters.postgres.wave import ROLLBACK, Outcome
from holdfast_adapters.postgres.wire import ConnectionLost, Rows, Wire

T = TypeVar("T")

#: A transaction takes no further change-sets once it has so many; 200 is where throughput no longer rises with size.
FULL_BATCH: Final = 200
#: Connections that write: one for commits, and one so that a heartbeat need not wait for them.
WRITERS: Final = 2
#: Connections for what must not keep others waiting: change-sets that are held up, or that have statements of the
#: application's.
ASIDE: Final = 2
#: Pauses between the tries of what is held up by a lock, in seconds.
FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 0.5
#: How long a run that was found locked is taken to be so, in seconds; change-sets of it go on aside meanwhile.
LOCKED: Final = 1.0
#: How often a transaction is tried that met others; each time at least one of those it met has come to its end.
MOST_MEETINGS: Final = 10
#: How often something is tried whose connection turns out to have ended while it was idle.
MOST_STALE: Final = 2


@attrs.frozen(kw_only=True)
class LaneSettings:
    """How a lane goes about it."""

    connect: Connect
    #: For connections that find what they write by whole keys.
    connect_writer: Connect
    #: The same for connections that wait for a lock but for a moment.
    connect_aside: Connect
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

    Somebody else's transaction may keep the lock of a run for as long as it is open, such as one of the application's
    that has cancelled the run and has not ended yet. A transaction that waits for a lock too long is given up, and each
    request of it goes on aside, by itself, until it gets its locks or the patience of the lane ends. Of a request with
    several change-sets those that are held up are refused instead: who does many things at once must get on with them.
    """

    def __init__(self, settings: LaneSettings) -> None:
        self.loop = asyncio.get_running_loop()
        self._instant = settings.instant
        self._pool = Pool(settings.connect, size=settings.size, patience=settings.patience)
        self._writers = Pool(settings.connect_writer, size=WRITERS, patience=settings.patience)
        self._asides = Pool(settings.connect_aside, size=ASIDE, patience=settings.patience)
        self._patience = settings.patience
        self._queue: deque[Request] = deque()
        self._committing: asyncio.Task[None] | None = None
        #: What goes on aside.
        self._held_up: dict[asyncio.Task[None], Request] = {}
        #: Until when runs are taken to be locked that were found so: looking at them again would hold others up.
        self._locked: dict[str, float] = {}
        #: Runs as this loop left them.
        self._known = Known(self.loop.time)
        self._is_open = True

    def adopt(self, wire: Wire) -> None:
        """Take a connection over."""
        self._pool.adopt(wire)

    async def commit(self, changes: Sequence[Prepared]) -> list[Outcome]:
        """Apply change-sets together with whatever else arrives meanwhile."""
        self._check()
        answer: asyncio.Future[list[Outcome]] = self.loop.create_future()
        request = Request(changes, answer)
        if (self._held_up or self._locked) and self._is_concerned(request):
            self._put_aside(request)
            return await answer
        self._queue.append(request)
        if self._committing is None:
            self._committing = self.loop.create_task(self._work())
        return await answer

    async def commit_alone(self, changes: Sequence[Prepared]) -> list[Outcome]:
        """Apply change-sets in a transaction of their own, beside all others."""
        return await self._used(self._asides, lambda wire: self._apply(wire, changes))

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

    async def _try(self, pool: Pool, act: Callable[[Wire], Awaitable[T]], *, waits: bool = True) -> T:
        """Do *act* until it neither meets another transaction nor is told that the connection had ended.

        Args:
            pool: Where its connection comes from.
            act: What to do.
            waits: Whether it is tried again, for as long as the lane is patient, when a lock could not be had in time.
        """
        tries = _Tries(waits_until=self.loop.time() + self._patience if waits else None)
        while True:
            wire: Wire | None = None
            try:
                wire = await pool.take()
                return await act(wire)
            except (*MEETINGS, ConnectionLost, LockNotAvailable) as error:
                pause = tries.pause_after(error, now=self.loop.time())
                if pause is None or not self._is_open:
                    raise
            finally:
                if wire is not None:
                    await _end(wire)
                    pool.give_back(wire)
            # Without the connection, which others can use meanwhile.
            await asyncio.sleep(pause)

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

    def _is_concerned(self, request: Request) -> bool:
        """Return whether what goes on aside is about the same runs or operations."""
        now = self.loop.time()
        self._locked = {run_id: until for run_id, until in self._locked.items() if until > now}
        held_up = [change for other in self._held_up.values() for change in other.changes]
        runs = {*self._locked, *(change.run_id for change in held_up)}
        operations = {identity for change in held_up for identity in change.operations}
        return any(change.run_id in runs or not operations.isdisjoint(change.operations) for change in request.changes)

    def _put_aside(self, request: Request) -> None:
        several = len(request.changes) > 1
        task = self.loop.create_task(self._settle_each(request) if several else self._settle([request], aside=True))
        self._held_up[task] = request
        task.add_done_callback(self._held_up.pop)

    async def _settle(self, batch: Sequence[Request], *, aside: bool = False) -> None:
        """Apply *batch* as one transaction, and if it cannot be, each request of it by itself."""
        changes = [change for request in batch for change in request.changes]
        pool = self._asides if aside else self._writers
        try:
            found = await self._try(pool, lambda wire: self._apply(wire, changes), waits=aside)
            outcomes = iter(found)
        except Exception as error:  # noqa: BLE001 - whatever it is, it has its owner among the callers
            if isinstance(error, LockNotAvailable) and not aside:
                for request in batch:
                    self._put_aside(request)
                return
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

    async def _apply(self, wire: Wire, changes: Sequence[Prepared]) -> list[Outcome]:
        return await apply(wire, changes, now=self._instant(), known=self._known)

    async def _settle_each(self, request: Request) -> None:
        """Apply the change-sets of *request* one by one, and refuse those whose locks cannot be had at once."""
        outcomes: list[Outcome] = []
        try:
            for change in request.changes:
                outcome = await self._unless_locked(change)
                outcomes.append(outcome)
        except Exception as error:  # noqa: BLE001 - the caller's, whatever it is
            if any(isinstance(outcome, Committed) for outcome in outcomes):
                # Not all of it can be said to stand, nor none of it.
                error = CommitUnknown(f"only some of {len(request.changes)} change-sets stand: {error}")
            if not request.answer.done():
                request.answer.set_exception(refused(error))
            return
        if not request.answer.done():
            request.answer.set_result(outcomes)

    async def _unless_locked(self, change: Prepared) -> Outcome:
        try:
            found = await self._try(self._asides, lambda wire: self._apply(wire, [change]), waits=False)
        except LockNotAvailable:
            self._locked[change.run_id] = self.loop.time() + LOCKED
            return RunLocked(change.run_id)
        return found[0]

    async def stop(self) -> None:
        """Answer what has been handed in, then close the connections."""
        self._is_open = False
        while under_way := [*self._held_up, *([self._committing] if self._committing else [])]:
            await asyncio.wait(under_way)
        self.end()

    def end(self) -> None:
        """Close the connections at once; for a loop that runs no more."""
        self._is_open = False
        self._pool.close()
        self._writers.close()
        self._asides.close()


class _Tries:
    """How often something was tried, and what came between."""

    def __init__(self, *, waits_until: float | None) -> None:
        self._meetings = self._stale = 0
        self._pause = FIRST_PAUSE
        #: None if locks are not waited for beyond the patience of the connection.
        self._waits_until = waits_until

    def pause_after(self, error: Exception, *, now: float) -> float | None:
        """Return how long to pause before the next try, None if there is to be none."""
        if isinstance(error, LockNotAvailable):
            if self._waits_until is None or now >= self._waits_until:
                return None
            pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
            return pause
        if isinstance(error, ConnectionLost):
            self._stale += 1
            return None if self._stale == MOST_STALE else 0
        self._meetings += 1
        return None if self._meetings == MOST_MEETINGS else 0


async def _end(wire: Wire) -> None:
    """Bring a connection whose transaction failed back to rest."""
    if not wire.is_busy and wire.is_in_transaction:
        try:
            await wire.run((ROLLBACK, ()))
        except (psycopg.Error, ConnectionLost):
            wire.close()
