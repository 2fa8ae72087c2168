"""The way into one database: a lane for each event loop, and their opening and closing."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import attrs
import psycopg

from holdfast.errors import StoreUnavailable
from holdfast.ports.clock import Clock
from holdfast_adapters.postgres.encoding import micros
from holdfast_adapters.postgres.lane import Lane, LaneSettings
from holdfast_adapters.postgres.prepared import Prepared
from holdfast_adapters.postgres.reaching import connect, shown
from holdfast_adapters.postgres.schema import check_server, migrate, pending_migrations, require_current
from holdfast_adapters.postgres.statements import Call, Statement
from holdfast_adapters.postgres.wave import Outcome
from holdfast_adapters.postgres.wire import ConnectionLost, Rows, Traffic, Wire

T = TypeVar("T")

#: The planner guesses how many rows an array has, and a plan that was made while a table was empty stays when it is
#: large: with these settings it has no way to be wrong, because every statement of this adapter is made of look-ups by
#: index, in the order in which its joins are written. `test_plans` shows it.
SETTINGS: Final = Statement("""
    SELECT set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
        set_config('enable_mergejoin', 'off', false), set_config('jit', 'off', false),
        set_config('plan_cache_mode', 'force_generic_plan', false), set_config('join_collapse_limit', '1', false)""")
#: What is written is found by whole keys, never in order. Without plain index scans nothing is left but bitmaps, which
#: need a key, so that no statement can begin with the whole of a table that it joins to an array.
KEYS_ONLY_SETTINGS: Final = Statement("""
    SELECT set_config('enable_indexscan', 'off', false), set_config('enable_indexonlyscan', 'off', false)""")
#: How long a lock is waited for. Transactions of this adapter hold theirs for some milliseconds; somebody else's, such
#: as one that the application has a command in, may stay open for as long as it likes, and nobody but who is concerned
#: may be kept waiting. What is held up is tried again aside, where it waits for its turn even shorter each time.
LOCK_PATIENCE: Final = "200ms"
ASIDE_PATIENCE: Final = "20ms"
#: How long a transaction may stand still between two statements, which follow each other within milliseconds. Whoever
#: takes longer was stopped or cut off, and its locks would keep the jobs that it left from being taken back.
STANDSTILL: Final = "10s"
SET_PATIENCE: Final = Statement("""
    SELECT set_config('lock_timeout', $1::text, false),
        set_config('idle_in_transaction_session_timeout', $2::text, false)""")
#: Tells this database from others, also from copies of it on the same server, whatever stands between.
IDENTITY: Final = """
    SELECT current_database() || '/' || (extract(epoch FROM applied_at) * 1000000)::bigint
    FROM holdfast.migration WHERE number = 1"""


@attrs.frozen(kw_only=True)
class AccessSettings:
    """How the database is reached."""

    #: A URL or ``key=value`` words, as libpq takes them.
    url: str
    #: For tests: the clock to use in place of the database's.
    clock: Clock | None
    #: Whether opening brings an older schema up to date instead of refusing it.
    migrate: bool
    #: Connections of one event loop beside the one that commits.
    connections: int
    #: How many seconds an answer of the server, or a free connection, is waited for.
    patience: float


class Access:
    """What the ports of this adapter share: the database, opened or not."""

    def __init__(self, settings: AccessSettings) -> None:
        self._settings = settings
        #: Tells the database from others; None until the store has been opened.
        self.identity: str | None = None
        self.name = shown(settings.url)
        self.traffic = Traffic()
        self._lanes: dict[asyncio.AbstractEventLoop, Lane] = {}
        self._process: int | None = None
        self._guard = threading.Lock()

    async def open(self) -> None:
        """Open the store; harmless when it is open."""
        if self._process is not None:
            return
        try:
            wire = await self._wire(keys_only=False, prepare=self._check)
        except (psycopg.Error, ConnectionLost) as error:
            raise StoreUnavailable(f"{self.name} cannot be opened: {error}") from error
        self._process = os.getpid()
        self.lane.adopt(wire)

    async def _check(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await check_server(connection, store=self.name)
        if not self._settings.migrate:
            await require_current(connection, store=self.name)
        elif await pending_migrations(connection, store=self.name):
            await migrate(connection, store=self.name)
        row = await (await connection.execute(IDENTITY)).fetchone()
        assert row is not None, "a database that was migrated has an identity"
        self.identity = row[0]

    @property
    def settings(self) -> AccessSettings:
        """How the database is reached."""
        return self._settings

    async def close(self) -> None:
        """Close the store; harmless when it is closed."""
        with self._guard:
            self._process = None
            lanes, self._lanes = self._lanes, {}
        for loop, lane in lanes.items():
            if loop is asyncio.get_running_loop():
                await lane.stop()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(lane.stop(), loop))
            else:
                lane.end()

    async def _wire(
        self,
        *,
        keys_only: bool,
        prepare: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]] | None = None,
        lock_patience: str = LOCK_PATIENCE,
    ) -> Wire:
        connection = await self._connected()
        try:
            if prepare is not None:
                await prepare(connection)
            wire = Wire(connection, patience=self._settings.patience, prepare=True, traffic=self.traffic)
        except BaseException:
            await connection.close()
            raise
        try:
            # By the wire, which gives up a server that does not answer.
            await wire.run(
                (SETTINGS, ()), (SET_PATIENCE, (lock_patience, STANDSTILL)), *([(KEYS_ONLY_SETTINGS, ())] * keys_only)
            )
        except BaseException:
            wire.close()
            raise
        return wire

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        patience = self._settings.patience
        try:
            async with asyncio.timeout(patience):
                return await connect(self._settings.url)
        except TimeoutError:
            # Its traceback keeps the connection from being closed, so that it must be nobody's context.
            pass
        raise StoreUnavailable(f"{self.name} has let nobody in for {patience:g} seconds.")

    def instant(self) -> int | None:
        """Return the instant of the clock that was given, in microseconds; None for that of the database."""
        clock = self._settings.clock
        return None if clock is None else micros(clock.now())

    @property
    def lane(self) -> Lane:
        """The lane of the running event loop.

        Raises:
            StoreUnavailable: If the store is not open, or was opened before this process was forked off.
        """
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(loop)
        if lane is None or self._process != os.getpid():
            lane = self._new_lane(loop)
        return lane

    def _new_lane(self, loop: asyncio.AbstractEventLoop) -> Lane:
        with self._guard:
            if self._process is None:
                raise StoreUnavailable(f"The Postgres store {self.name} is not open.")
            if self._process != os.getpid():
                raise StoreUnavailable(
                    f"The Postgres store {self.name} was opened before a fork; open one in each process."
                )
            # Loops come and go, such as those of heartbeats; what they leave open nobody else would close.
            for gone in [known for known in self._lanes if known.is_closed()]:
                self._lanes.pop(gone).end()
            settings = self._settings
            lane = self._lanes[loop] = Lane(
                LaneSettings(
                    connect=partial(self._wire, keys_only=False),
                    connect_writer=partial(self._wire, keys_only=True),
                    connect_aside=partial(self._wire, keys_only=True, lock_patience=ASIDE_PATIENCE),
                    instant=self.instant,
                    size=settings.connections,
                    patience=settings.patience,
                )
            )
            return lane

    async def commit(self, changes: Sequence[Prepared]) -> list[Outcome]:
        """Apply change-sets together with whatever else arrives meanwhile."""
        return await self.lane.commit(changes)

    async def commit_alone(self, changes: Sequence[Prepared]) -> list[Outcome]:
        """Apply change-sets in a transaction of their own, which nothing else waits for."""
        return await self.lane.commit_alone(changes)

    async def read(self, *calls: Call) -> list[Rows]:
        """Return what the calls find, in one trip."""
        return await self.lane.read(*calls)

    async def use(self, act: Callable[[Wire], Awaitable[T]]) -> T:
        """Do something with a connection that nobody else uses meanwhile."""
        return await self.lane.use(act)

    async def write(self, act: Callable[[Wire], Awaitable[T]]) -> T:
        """Do something by whole keys alone with a connection that nobody else uses meanwhile."""
        return await self.lane.write(act)
