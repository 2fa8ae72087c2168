"""The connection on which a process hears notices, and what keeps it honest.

A connection that looks well may be deaf: the way to the server was cut without a word, or a pooler lends it a session
for single transactions only. So it counts as healthy only after it has heard a notice sent to itself through the pool,
and is tested again whenever it has heard nothing for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import psycopg
from psycopg import conninfo, sql

from holdfast.errors import HoldfastError
from holdfast_adapters.postgres.reaching import connect, shown
from holdfast_adapters.postgres.statements import Statement
from holdfast_adapters.postgres.wire import ConnectionLost, Wire

#: How long a connection may hear nothing before it is tested.
SILENCE_SECONDS: Final = 60.0
#: How long connecting, and an answer to a test, may take.
PATIENCE_SECONDS: Final = 10.0
#: First and longest pause before another connection is tried; half of it is chance.
BACKOFF_SECONDS: Final = 0.1
MOST_BACKOFF_SECONDS: Final = 30.0
_MOST_DOUBLINGS: Final = 10

#: What a URL that says nothing else is given, so that the operating system finds a dead connection by itself.
_KEEPALIVE: Final = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "fallback_application_name": "holdfast listener",
}
_log = logging.getLogger(__name__)

Send = Callable[[str, str], Awaitable[None]]


class _Deaf(Exception):
    """Raise when a notice does not arrive."""


class _Ear(Wire):
    """A connection that hands over what it hears at once."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], *, on_notice: Callable[[str, str], None]) -> None:
        self._on_notice = on_notice
        self.lost = asyncio.Event()
        # Unprepared, because there may be a pooler between.
        super().__init__(connection, patience=PATIENCE_SECONDS, prepare=False)

    def _readable(self) -> None:
        super()._readable()
        while self.is_open and (notice := self._pg.notifies()) is not None:
            self._on_notice(notice.relname.decode(), notice.extra.decode())

    def close(self) -> None:
        """Close the connection and let those know who attend to it."""
        super().close()
        self.lost.set()


@attrs.frozen(kw_only=True)
class ListenerSettings:
    """What is listened to, and where."""

    #: The database, as libpq takes it, without a pooler that lends sessions for single transactions.
    address: str = attrs.field(repr=False)
    channel: str
    #: Tells this process from others.
    name: str
    #: Returns a number from 0 to 1, another one each time.
    chance: Callable[[], float]


class Listener:
    """Hears the notices of a channel for as long as somebody asks for it, through however many connections.

    Args:
        settings: What is listened to, and where.
        send: Sends a payload to a channel, over another connection.
    """

    def __init__(self, settings: ListenerSettings, *, send: Send) -> None:
        self._settings = settings
        self._where = shown(settings.address)
        self._channels = (settings.channel, f"{settings.channel}_{settings.name}")
        self._send = send
        self._on_notice: Callable[[str], None] = _ignore
        self._on_change: Callable[[], None] = _ignore_change
        self._users = 0
        self._task: asyncio.Task[None] | None = None
        self._is_healthy = False
        self._heard = asyncio.Event()
        self._tested = asyncio.Event()

    def attach(self, *, on_notice: Callable[[str], None], on_change: Callable[[], None]) -> None:
        """Have payloads handed to *on_notice*, and *on_change* called whenever health comes or goes.

        While there was no health notices may have been missed, so whoever sleeps should look once.
        """
        self._on_notice, self._on_change = on_notice, on_change

    @property
    def is_healthy(self) -> bool:
        """Whether whatever is sent now is heard, as far as anybody knows."""
        return self._is_healthy

    def start(self) -> None:
        """Listen until `stop` was called as often as this."""
        self._users += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen())

    async def stop(self) -> None:
        """Listen no more when nobody else does."""
        self._users -= 1
        if self._users or self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait([task])

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                async with self._connected() as ear:
                    await self._test(ear)
                    if failures:
                        _log.info("notices of other processes are heard again from %s", self._where)
                    failures = 0
                    self._note(is_healthy=True)
                    await self._attend(ear)
            except (HoldfastError, psycopg.Error, ConnectionLost, OSError, TimeoutError, _Deaf) as error:
                failures += 1
                self._note(is_healthy=False)
                # Once for each outage: work goes on by polling meanwhile.
                tell = _log.warning if failures == 1 else _log.debug
                tell("notices of other processes are not heard from %s: %r", self._where, error)
            finally:
                self._is_healthy = False
            await asyncio.sleep(self._backoff(failures))

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[_Ear, None]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            connection = await connect(_lively(self._settings.address))
        ear: _Ear | None = None
        try:
            ear = _Ear(connection, on_notice=self._hear)
            for channel in self._channels:
                name = sql.Identifier(channel).as_string(None)
                await ear.run((Statement(f"LISTEN {name}"), ()))
            yield ear
        finally:
            if ear is not None:
                ear.close()
            await connection.close()

    async def _attend(self, ear: _Ear) -> None:
        """Stay with a connection until it is lost or deaf; what it hears proves that it is neither."""
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await ear.lost.wait()
            except TimeoutError:
                if not self._heard.is_set():
                    await self._test(ear)
            else:
                raise ConnectionLost("the listening connection has ended")

    async def _test(self, ear: _Ear) -> None:
        self._tested.clear()
        await self._send(self._channels[1], "")
        arrival = asyncio.ensure_future(self._tested.wait())
        loss = asyncio.ensure_future(ear.lost.wait())
        try:
            await asyncio.wait((arrival, loss), timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrival.cancel()
            loss.cancel()
        if not self._tested.is_set():
            raise _Deaf("what was sent did not arrive; a pooler in transaction mode passes no notices on")

    def _hear(self, channel: str, payload: str) -> None:
        self._heard.set()
        if channel == self._channels[1]:
            self._tested.set()
        else:
            self._on_notice(payload)

    def _backoff(self, failures: int) -> float:
        whole = min(BACKOFF_SECONDS * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), MOST_BACKOFF_SECONDS)
        return whole * (0.5 + self._settings.chance() / 2)

    def _note(self, *, is_healthy: bool) -> None:
        if is_healthy is not self._is_healthy:
            self._is_healthy = is_healthy
            self._on_change()


def _lively(address: str) -> str:
    """Return *address* with what lets the operating system find out that nobody is there any more."""
    try:
        known = conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        # Whoever connects says what is wrong with it, without what it may hold.
        return address
    return conninfo.make_conninfo(address, **{word: value for word, value in _KEEPALIVE.items() if word not in known})


def _ignore(payload: str) -> None:
    """Do nothing with what is heard."""


def _ignore_change() -> None:
    """Do nothing when health comes or goes."""
