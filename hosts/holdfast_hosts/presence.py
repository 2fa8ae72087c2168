"""Who is there in this process for one opened kernel: the workers that run, and those who wait for runs."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class Waiter:
    """Somebody who waits for a run, and what happened to it meanwhile."""

    def __init__(self) -> None:
        #: Set when a job of the run was executed.
        self.moved = asyncio.Event()
        #: Set when a worker has nothing more to execute of it for now: it has ended, or something else goes on with it.
        self.at_rest = asyncio.Event()


class Presence:
    """Lets a worker tell those who wait for a run that something happened to it, and tells whether a worker runs.

    Only for the event loop in which the kernel was opened.
    """

    def __init__(self) -> None:
        self._waiters: dict[str, list[Waiter]] = {}
        self._workers: set[object] = set()

    @property
    def has_worker(self) -> bool:
        """Whether a worker of this process takes on new jobs."""
        return bool(self._workers)

    def enter(self, worker: object) -> None:
        """Note that *worker* takes on jobs."""
        self._workers.add(worker)

    def leave(self, worker: object) -> None:
        """Note that *worker* takes on no more jobs; harmless if that is known."""
        self._workers.discard(worker)

    def tell(self, run_id: str, *, is_at_rest: bool) -> None:
        """Wake those who wait for the run."""
        for waiter in self._waiters.get(run_id, ()):
            waiter.moved.set()
            if is_at_rest:
                waiter.at_rest.set()

    @contextmanager
    def waiting(self, run_id: str) -> Generator[Waiter, None, None]:
        """Give a waiter that is told what happens to the run."""
        waiter = Waiter()
        self._waiters.setdefault(run_id, []).append(waiter)
        try:
            yield waiter
        finally:
            there = self._waiters[run_id]
            there.remove(waiter)
            if not there:
                del self._waiters[run_id]
