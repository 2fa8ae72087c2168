"""Keeping a store busy, so that what arrives meanwhile becomes one batch."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from holdfast.change import Change
from holdfast.driving import run_sync
from holdfast_adapters.sqlite import SqlitePersistence


def transactions(store: SqlitePersistence) -> int:
    """Return how many transactions the store has committed."""
    writer = store._access.opened.writer
    assert writer is not None
    return writer.transactions


@contextmanager
def busy(store: SqlitePersistence) -> Generator[Callable[[], None]]:
    """Keep the writer busy in a transaction of its own; yields what lets it go."""
    entered, leave = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection, __: int) -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=lambda: run_sync(store._access.write(wait)))
    thread.start()
    entered.wait()
    try:
        yield leave.set
    finally:
        leave.set()
        thread.join()


def waiting(store: SqlitePersistence) -> int:
    """Return how many requests wait for the writer."""
    return store._access.opened.writing._queue.qsize()


async def gathered(store: SqlitePersistence, *changes: Change) -> list[object]:
    """Commit each of *changes* by a task of its own while the writer is busy, and return the outcomes."""
    with busy(store) as release:
        tasks = [asyncio.ensure_future(store.commit([change])) for change in changes]
        while waiting(store) < len(changes):
            await asyncio.sleep(0)
        release()
        return [outcome for (outcome,) in await asyncio.gather(*tasks)]
