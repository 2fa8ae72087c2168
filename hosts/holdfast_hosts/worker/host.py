"""The worker host: start, stop, run, and what it has done."""

from __future__ import annotations

import asyncio
import os
import platform
from datetime import datetime, timedelta
from types import MappingProxyType

from holdfast.change import ZERO
from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.wiring import Opened
from holdfast_hosts.worker.crew import Crew
from holdfast_hosts.worker.shift import Tally, WorkerStats, log


class Worker:
    """Executes jobs, admits runs, recovers what dead workers left and delivers events, until it is stopped.

    Args:
        opened: The kernel to work for; it stays open until the worker has stopped.
        settings: How many jobs at once, how often to look, how long to wait.
    """

    def __init__(self, opened: Opened, *, settings: WorkerSettings | None = None) -> None:
        self._opened = opened
        self._settings = settings or WorkerSettings()
        self._crew: Crew | None = None
        self._started_at: datetime | None = None
        self._started = 0.0
        self._ending: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not stopped yet; it still runs while it drains."""
        return self._started_at is not None

    async def start(self) -> None:
        """Start; harmless when it runs. A worker that is stopping stops first and starts again."""
        if self._ending is not None:
            await asyncio.shield(self._ending)
        if self.is_running:
            return
        self._started_at, self._started = self._opened.clock.now(), self._opened.clock.monotonic()
        self._crew = crew = Crew(self._opened, self._settings)
        await crew.begin()
        log.info(
            "worker started",
            worker=crew.shift.worker_id,
            host=platform.node(),
            pid=os.getpid(),
            concurrency=self._settings.concurrency,
            queues=sorted(self._settings.queues),
        )

    async def stop(self) -> None:
        """Drain and stop; harmless when it does not run.

        No new job is taken on. Attempts may go on for the drain timeout; what is not finished then is cancelled and
        handed back. When the caller is cancelled meanwhile, the stopping goes on.
        """
        if self._crew is None or not self.is_running:
            return
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(self._crew))
        await asyncio.shield(self._ending)

    def abort(self) -> None:
        """Stop at once, also while draining: what is executed is cancelled and handed back; `stop` returns soon."""
        if self._crew is not None:
            self._crew.abort()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until *stop* is set, then drain; when the task is cancelled, stop at once and hand back what is left."""
        await self.start()
        try:
            await stop.wait()
            await self.stop()
        except asyncio.CancelledError:
            self.abort()
            await self.stop()
            raise

    def stats(self) -> WorkerStats:
        """Return what it has done since it was started last."""
        crew = self._crew
        tally = Tally() if crew is None else crew.shift.tally
        return WorkerStats(
            worker_id="" if crew is None else crew.shift.worker_id,
            is_running=self.is_running,
            started_at=self._started_at,
            uptime=timedelta(seconds=self._opened.clock.monotonic() - self._started) if self.is_running else ZERO,
            concurrency=self._settings.concurrency,
            in_flight=0 if crew is None else crew.in_flight,
            jobs_processed=MappingProxyType(dict(tally.outcomes)),
            claimed=tally.claimed,
            released=tally.released,
            lost=tally.lost,
            passes=tally.passes,
            errors=tally.errors,
            aborted=crew is not None and crew.shift.aborted.is_set(),
        )

    async def _end(self, crew: Crew) -> None:
        try:
            await crew.end()
        finally:
            self._started_at = None
            self._ending = None
            log.info("worker stopped", worker=crew.shift.worker_id, aborted=crew.shift.aborted.is_set())
