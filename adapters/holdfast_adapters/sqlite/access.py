"""The way into one database file: a writing and a reading lane, and their opening and closing."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from holdfast.errors import StoreUnavailable
from holdfast.ports.clock import Clock
from holdfast_adapters.sqlite.connection import connect, create, prepare_reader, prepare_writer, refused
from holdfast_adapters.sqlite.encoding import micros
from holdfast_adapters.sqlite.lanes import Control, Lane, Request
from holdfast_adapters.sqlite.prepared import Prepared
from holdfast_adapters.sqlite.schema import apply_pending, current_version, open_lock, require_current, translate
from holdfast_adapters.sqlite.transactions import CommitChanges, Write, Writer
from holdfast_adapters.sqlite.turns import Turns
from holdfast_adapters.sqlite.wave import Outcome

T = TypeVar("T")


class Read(Request[T]):
    """Ask something of the reading connection, given the store's instant."""

    def __init__(self, act: Callable[[sqlite3.Connection, int], T]) -> None:
        self.act = act


class Opened:
    """Both lanes of an open store."""

    def __init__(self, path: Path, *, clock: Clock, migrate: bool) -> None:
        self._path = path
        self._clock = clock
        self._migrate = migrate
        self.process = os.getpid()
        #: Whose turn it is to get jobs, for the writing thread, and to have runs admitted, for the reading one.
        self.turns = Turns()
        self.pending_turns = Turns()
        self.writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self.writing = Lane("holdfast-sqlite-writer", self._write, rest=self._rest, idle=self._idle)
        self.reading = Lane("holdfast-sqlite-reader", self._read)

    async def start(self) -> None:
        """Open both connections, the writing one first, each on its own thread."""
        await self.writing.submit(Control(self._open_writer))
        await self.reading.submit(Control(self._open_reader))

    async def stop(self) -> None:
        """Close both connections, the writing one last, and let the threads end."""
        await self.reading.submit(Control(self._close_reader))
        await self.writing.submit(Control(self._close_writer))
        self.end()

    def end(self) -> None:
        """Let the threads end."""
        self.reading.end()
        self.writing.end()

    def _open_writer(self) -> None:
        path = self._path
        # Looks without writing first, so that a foreign file is left exactly as it is.
        current_version(path)
        lock = open_lock(path)
        try:
            create(path)
            connection = connect(path)
            with lock:
                try:
                    self._prepare(connection)
                except BaseException:
                    # Under the lock, because closing the last connection of a file checkpoints.
                    connection.close()
                    raise
        except BaseException as error:
            lock.close()
            if isinstance(error, sqlite3.Error):
                raise translate(error, path) from error
            raise
        self.writer = Writer(connection, lock, clock=self._clock, path=path)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not self._migrate:
            require_current(connection, self._path)
        prepare_writer(connection)
        if self._migrate:
            apply_pending(connection, self._path, now=micros(self._clock.now()))

    def _open_reader(self) -> None:
        self._reader = connect(self._path)
        prepare_reader(self._reader)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _close_writer(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def _write(self, batch: Sequence[Request[Any]]) -> None:
        assert self.writer is not None, "nothing is submitted before the store is open"
        self.writer.handle(batch)

    def _rest(self) -> None:
        if self.writer is not None:
            self.writer.keep_log_short()

    def _idle(self) -> None:
        if self.writer is not None:
            self.writer.idle()

    def _read(self, batch: Sequence[Request[Any]]) -> None:
        assert self._reader is not None, "nothing is submitted before the store is open"
        for request in batch:
            assert isinstance(request, Read)
            try:
                request.result = request.act(self._reader, micros(self._clock.now()))
            except Exception as error:  # noqa: BLE001 - each request has its own outcome
                request.error = refused(error)


class Access:
    """What the ports of this adapter share: the store's file, opened or not."""

    def __init__(self, path: Path, *, clock: Clock, migrate: bool) -> None:
        self.path = path
        self._clock = clock
        self._migrate = migrate
        self._opened: Opened | None = None
        self._guard = threading.Lock()

    async def open(self) -> None:
        """Open the store; harmless when it is open."""
        if self._opened is not None:
            return
        opened = Opened(self.path, clock=self._clock, migrate=self._migrate)
        try:
            await opened.start()
        except BaseException:
            await opened.stop()
            raise
        with self._guard:
            first = self._opened is None
            if first:
                self._opened = opened
        if not first:
            await opened.stop()

    async def close(self) -> None:
        """Close the store; harmless when it is closed."""
        with self._guard:
            opened, self._opened = self._opened, None
        if opened is not None:
            await opened.stop()

    @property
    def opened(self) -> Opened:
        """The open lanes.

        Raises:
            StoreUnavailable: If the store is not open, or was opened before this process was forked off.
        """
        opened = self._opened
        if opened is None:
            raise StoreUnavailable(f"The SQLite store {self.path} is not open.")
        if opened.process != os.getpid():
            raise StoreUnavailable(f"The SQLite store {self.path} was opened before a fork; open one in each process.")
        return opened

    async def commit(self, changes: Sequence[Prepared]) -> list[Outcome]:
        """Apply change-sets together with whatever else arrives meanwhile."""
        return await self.opened.writing.submit(CommitChanges(changes))

    async def write(self, act: Callable[[sqlite3.Connection, int], T]) -> T:
        """Do something in the next write transaction, given its instant."""
        return await self.opened.writing.submit(Write(act))

    async def read(self, act: Callable[[sqlite3.Connection, int], T]) -> T:
        """Read what every commit acknowledged so far has left, given the store's instant."""
        return await self.opened.reading.submit(Read(act))
