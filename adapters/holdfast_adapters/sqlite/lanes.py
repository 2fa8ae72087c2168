"""A thread that owns a connection, and how callers hand it work and get their answers back.

Callers may be tasks of any event loop or plain threads. A task costs one bare future; the answers of a batch come back
with one wake-up for each loop. A plain thread blocks until its answer is there, which is how `run_sync` gets by without
a loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar, cast

from holdfast.errors import StoreUnavailable

T = TypeVar("T")

#: A batch takes no further request once it weighs this much; 200 is where throughput no longer rises with size.
FULL_BATCH: Final = 200


class Request(Generic[T]):
    """One call on its way to a lane and back."""

    #: How much of a batch it takes, in change-sets.
    weight: int = 1
    result: T | None = None
    error: BaseException | None = None
    #: Where its answer goes: to a future of a loop, or to a thread that waits for the lock.
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[T] | None = None
    done: threading.Lock | None = None


class Control(Request[None]):
    """Something that the lane's thread does between batches, such as opening its connection."""

    def __init__(self, do: Callable[[], None]) -> None:
        self.do = do


class Lane:
    """One thread that takes requests in batches: the first, and with it everything that has arrived meanwhile.

    There is no waiting window. While the thread is busy requests collect, while it is idle the first one starts it.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[Sequence[Request[Any]]], None],
        *,
        rest: Callable[[], None] | None = None,
        idle: Callable[[], None] | None = None,
        idle_after: float = 1.0,
    ) -> None:
        self._handle = handle
        #: What a batch leaves to be done when its callers have their answers already.
        self._rest = rest
        self._idle = idle
        self._idle_after = idle_after
        self._busy = False
        self._queue: SimpleQueue[Request[Any] | None] = SimpleQueue()
        #: Guards that nothing is put into the queue after the end.
        self._gate = threading.Lock()
        self._accepting = True
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def submit(self, request: Request[T]) -> T:
        """Return the result of *request*, or raise its error.

        Raises:
            StoreUnavailable: If the lane has ended.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._wait(request)
        request.loop = loop
        future: asyncio.Future[T] = loop.create_future()
        request.future = future
        self._put(request)
        return await future

    def _wait(self, request: Request[T]) -> T:
        done = request.done = threading.Lock()
        done.acquire()
        self._put(request)
        # The lane's thread releases it. A loop would not: whoever has none may block.
        done.acquire()
        if request.error is not None:
            raise request.error
        return cast(T, request.result)

    def _put(self, request: Request[Any] | None) -> None:
        with self._gate:
            if not self._accepting:
                raise StoreUnavailable("The SQLite store is closed.")
            self._accepting = request is not None
            self._queue.put(request)

    def end(self) -> None:
        """Answer what has been handed in, then let the thread end; returns when it has."""
        self._put(None)
        self._thread.join()

    def _work(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._take()
            work = [request for request in batch if not isinstance(request, Control)]
            if work:
                self._run(work, partial(self._handle, work))
            for request in batch:
                if isinstance(request, Control):
                    self._run([request], request.do)
            _answer(batch)
            # A control may have closed what the rest would be done with.
            if self._rest is not None and work and len(work) == len(batch):
                self._run([], self._rest)

    @staticmethod
    def _run(requests: Sequence[Request[Any]], do: Callable[[], None]) -> None:
        try:
            do()
        except BaseException as error:  # noqa: BLE001 - a defect must reach its caller, not end the thread for all
            for request in requests:
                request.error = request.error or error

    def _take(self) -> tuple[list[Request[Any]], bool]:
        """Return a batch and whether it is the last; only its first request is waited for."""
        batch: list[Request[Any]] = []
        request = self._first()
        weight = 0
        while request is not None:
            batch.append(request)
            weight += request.weight
            if weight >= FULL_BATCH:
                return batch, False
            try:
                request = self._queue.get_nowait()
            except Empty:
                return batch, False
        return batch, True

    def _first(self) -> Request[Any] | None:
        if self._idle is None:
            return self._queue.get()
        # Once idle it waits without end, so that a store nobody uses wakes nobody up.
        patience: float | None = self._idle_after if self._busy else None
        while True:
            try:
                request = self._queue.get(timeout=patience)
            except Empty:
                self._run([], self._idle)
                self._busy, patience = False, None
            else:
                self._busy = True
                return request


def _answer(batch: Sequence[Request[Any]]) -> None:
    """Wake everybody who waits for a request of *batch*, each loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[Request[Any]]] = {}
    for request in batch:
        if request.loop is not None:
            loops.setdefault(request.loop, []).append(request)
        elif request.done is not None:
            request.done.release()
    for loop, requests in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, requests)
        except RuntimeError:
            # The loop was closed, so nobody is left to be told.
            continue


def _resolve(requests: Sequence[Request[Any]]) -> None:
    for request in requests:
        future = request.future
        if future is None or future.done():
            # Its awaiter was cancelled; what it asked for has happened all the same.
            continue
        if request.error is not None:
            future.set_exception(request.error)
        else:
            future.set_result(request.result)
