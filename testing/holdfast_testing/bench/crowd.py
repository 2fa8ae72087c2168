"""Workers in processes of their own, as they are in production, driven and asked through pipes."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any, Final

import attrs

from holdfast.authoring.flow import Flow
from holdfast_testing.bench.flows import FinishLine
from holdfast_testing.bench.hosts import Server
from holdfast_testing.bench.load import Opening
from holdfast_testing.bench.numbers import resident_bytes

#: How long a process gets to come to an end when it is told to stop.
_PATIENCE_SECONDS: Final = 60.0
#: What is said through a pipe.
_READY, _GO, _ASK, _STOP = "ready", "go", "ask", "stop"


@attrs.frozen(kw_only=True)
class Errand:
    """What a process is to do; it is sent there, so all of it can be pickled."""

    opening: Opening[Any]
    store: str
    server: Server
    #: Gives the workflow of the worker, and those that it knows besides.
    make: Callable[[FinishLine], Flow[Any, Any]]
    beside: Callable[[], Sequence[Flow[Any, Any]]] = tuple


@attrs.frozen(kw_only=True)
class Vitals:
    """What a process has used since it began."""

    #: By `time.monotonic`.
    at: float
    cpu_seconds: float
    resident_bytes: int
    trips: int
    statements: int


class Hand:
    """One process with a worker in it."""

    def __init__(self, errand: Errand) -> None:
        # A fork would take over the loop, the connections and the threads of this process.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(errand, theirs), daemon=True)
        self._process.start()
        # Only the process itself holds the other end now, so that its end is noticed here.
        theirs.close()

    async def ready(self) -> None:
        """Return when its store is open."""
        await self._hear()

    async def go(self) -> Vitals:
        """Let its worker begin."""
        return await self._say(_GO)

    async def vitals(self) -> Vitals:
        """Return what it has used by now."""
        return await self._say(_ASK)

    async def stop(self) -> None:
        """Let its worker drain and the process end."""
        if self._process.is_alive():
            self._pipe.send(_STOP)
        await asyncio.to_thread(self._process.join, _PATIENCE_SECONDS)
        self.end()

    def end(self) -> None:
        """End the process at once; harmless if it has ended."""
        self._process.kill()
        self._pipe.close()

    async def _say(self, word: str) -> Vitals:
        self._pipe.send(word)
        heard: Vitals = await self._hear()
        return heard

    async def _hear(self) -> Any:
        try:
            return await asyncio.to_thread(self._pipe.recv)
        except EOFError:
            self._process.join(_PATIENCE_SECONDS)
            raise RuntimeError(f"a worker process ended with code {self._process.exitcode}") from None


@asynccontextmanager
async def crowd(errand: Errand, *, workers: int) -> AsyncGenerator[list[Hand]]:
    """Have processes ready for as long as the context lasts; none of them works before it is told to."""
    hands = [Hand(errand) for _ in range(workers)]
    try:
        for hand in hands:
            await hand.ready()
        yield hands
        for hand in hands:
            await hand.stop()
    finally:
        for hand in hands:
            hand.end()


def _work(errand: Errand, pipe: Connection) -> None:
    """Do what a process of a crowd does."""
    with errand.opening.process():
        asyncio.run(_serve(errand, pipe))


async def _serve(errand: Errand, pipe: Connection) -> None:
    async with errand.opening.site(errand.store, make=errand.make, beside=errand.beside) as site:

        def vitals() -> Vitals:
            trips, statements = errand.server.traffic(site.opened.persistence)
            return Vitals(
                at=time.monotonic(),
                cpu_seconds=time.process_time(),
                resident_bytes=resident_bytes(),
                trips=trips,
                statements=statements,
            )

        pipe.send(_READY)
        if await asyncio.to_thread(pipe.recv) != _GO:
            return
        pipe.send(vitals())
        async with site.working():
            while await asyncio.to_thread(pipe.recv) == _ASK:
                pipe.send(vitals())
