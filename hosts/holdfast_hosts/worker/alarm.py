"""Hints of the transport and the scheduler, from whatever thread, as calls in the worker's loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta

from holdfast.change import ZERO
from holdfast_hosts.wiring import Opened


class Alarm:
    """Calls a worker when there may be something to do.

    Args:
        opened: Where the hints come from.
        queues: Hints for jobs of other queues do not count.
        on_job: Called when a job is ready.
        on_news: Called when something was committed that may concern the worker: a new run, events to deliver.
        on_due: Called when an instant has come: of a retry, a poll, a timer, the end of a lease.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        queues: frozenset[str],
        on_job: Callable[[], None],
        on_news: Callable[[], None],
        on_due: Callable[[], None],
    ) -> None:
        self._scheduler = opened.scheduler
        self._transport = opened.transport
        self._queues = queues
        self._on_job, self._on_news, self._on_due = on_job, on_news, on_due
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._handle: asyncio.TimerHandle | None = None
        self._is_ringing = False
        self._ends: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin to listen; what became due before counts too."""
        self._ends = [
            self._transport.subscribe(self._hinted, queues=self._queues),
            self._scheduler.subscribe(self._noted),
        ]
        self._arm()

    def stop(self) -> None:
        """Listen no more."""
        for end in self._ends:
            end()
        self._ends = []
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _hinted(self, delay: timedelta) -> None:
        # The scheduler is told of delayed jobs as well, and it keeps the time.
        if delay <= ZERO:
            self._in_loop(self._on_job)

    def _noted(self, delay: timedelta) -> None:
        if delay > ZERO:
            self._in_loop(self._arm)
        elif not self._is_ringing:
            # One ring for each turn of the loop: the scheduler says nothing more of what is due until it is asked.
            self._is_ringing = True
            self._loop.call_soon_threadsafe(self._ring)

    def _in_loop(self, call: Callable[[], None]) -> None:
        if threading.get_ident() == self._thread:
            call()
        else:
            self._loop.call_soon_threadsafe(call)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        delay = self._scheduler.next_in()
        if delay is not None and self._ends:
            self._handle = self._loop.call_later(delay.total_seconds(), self._ring)

    def _ring(self) -> None:
        has_come = self._handle is not None and self._loop.time() >= self._handle.when()
        self._is_ringing = False
        # What is due is forgotten here, perhaps by another worker of this process before; each was told of it.
        self._scheduler.pop_due()
        self._on_news()
        if has_come:
            self._on_due()
        self._arm()
