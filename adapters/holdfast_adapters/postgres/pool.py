"""The connections of one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from holdfast.errors import StoreUnavailable
from holdfast_adapters.postgres.wire import Wire

Connect = Callable[[], Awaitable[Wire]]


class Pool:
    """At most *size* connections of one event loop, made when they are needed."""

    def __init__(self, connect: Connect, *, size: int, patience: float) -> None:
        self._connect = connect
        self._size = size
        self._patience = patience
        self._made: set[Wire] = set()
        self._coming = 0
        self._free: list[Wire] = []
        #: Who waits for a connection, or for leave to make one.
        self._waiting: deque[asyncio.Future[None]] = deque()

    def adopt(self, wire: Wire) -> None:
        """Take over a connection that was made elsewhere."""
        self._made.add(wire)
        self.give_back(wire)

    async def take(self) -> Wire:
        """Return a connection that nobody else uses, and that must be given back.

        Raises:
            StoreUnavailable: If none became free in time.
            OSError, psycopg.Error: If a new one cannot be made.
        """
        while True:
            while self._free:
                wire = self._free.pop()
                if wire.is_open:
                    return wire
                self._made.discard(wire)
            if len(self._made) + self._coming < self._size:
                return await self._make()
            await self._wait()

    async def _make(self) -> Wire:
        self._coming += 1
        try:
            wire = await self._connect()
        except BaseException:
            self._wake()
            raise
        finally:
            self._coming -= 1
        self._made.add(wire)
        return wire

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except TimeoutError:
            raise StoreUnavailable(f"All {self._size} connections to Postgres are in use.") from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake()
            raise

    def give_back(self, wire: Wire) -> None:
        """Take a connection back; one that is not at rest yet is free when it is."""
        if wire.is_busy:
            wire.on_rest = self.give_back
            return
        if wire.is_in_transaction:
            # Whoever used it went away half-way; the server undoes what the transaction did.
            wire.close()
        if wire.is_open:
            self._free.append(wire)
        else:
            self._made.discard(wire)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def close(self) -> None:
        """Close every connection at once."""
        for wire in self._made:
            wire.close()
        self._made.clear()
        self._free.clear()
