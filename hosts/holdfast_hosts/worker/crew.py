"""The tasks of a worker from one start to its stop: slots, feeder, upkeep, notice and heartbeat, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from holdfast_hosts.heartbeat import Heartbeat
from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.traces import trace_of
from holdfast_hosts.wiring import Opened
from holdfast_hosts.worker.alarm import Alarm
from holdfast_hosts.worker.feeder import Feeder
from holdfast_hosts.worker.notice import Notice
from holdfast_hosts.worker.shift import Shift, log, wait_at_most
from holdfast_hosts.worker.slot import Slot
from holdfast_hosts.worker.upkeep import Upkeep


class Crew:
    """Everything that runs while a worker runs; made anew for each start."""

    def __init__(self, opened: Opened, settings: WorkerSettings) -> None:
        self.shift = Shift(opened, settings)
        self._presence = opened.presence
        self._settings = settings
        self._heartbeat = Heartbeat(opened.kernel, settings=settings.heartbeat)
        self._feeder = Feeder(self.shift)
        self._upkeep = Upkeep(self.shift)
        self._notice = Notice(self.shift)
        self._listening = opened.listening
        self._alarm = Alarm(
            opened,
            queues=settings.queues,
            on_job=self._feeder.wake,
            on_news=self._tell_news,
            on_due=self._upkeep.on_due,
        )
        self._slots = [
            Slot(self.shift, self._heartbeat.pulse(), free=self._feeder.free, find_other=self._feeder.find_other)
            for _ in range(settings.concurrency)
        ]
        self._working: list[asyncio.Task[None]] = []
        self._keeping: list[asyncio.Task[None]] = []

    @property
    def in_flight(self) -> int:
        """How many jobs are executed now."""
        return sum(slot.is_busy for slot in self._slots)

    async def begin(self) -> None:
        """Start all tasks."""
        await self._heartbeat.start()
        self._working = [slot.start() for slot in self._slots]
        self._keeping = [
            asyncio.create_task(self._upkeep.sweep()),
            asyncio.create_task(self._upkeep.deliver()),
            asyncio.create_task(self._notice.run()),
        ]
        self._working.append(asyncio.create_task(self._feeder.run()))
        self._alarm.start()
        self._listening.start()
        self._presence.enter(self)

    async def end(self) -> None:
        """Take on nothing more, let attempts finish as far as there is time, and hand back the rest."""
        self._presence.leave(self)
        self._alarm.stop()
        await self._listening.stop()
        self.shift.draining.set()
        self._feeder.wake()
        self._upkeep.stop()
        if not await self._ended(self._working, within=self._settings.drain_timeout):
            await self._cancel_work()
        await self._finish_upkeep()
        await self._notice.withdraw()
        await self._heartbeat.stop()

    def abort(self) -> None:
        """End at once: what is executed is cancelled and handed back, if the store takes it quickly."""
        self.shift.aborted.set()

    async def _cancel_work(self) -> None:
        log.warning("attempts are cancelled and handed back", worker=self.shift.worker_id, jobs=self.in_flight)
        for slot in self._slots:
            slot.cancel()
        # The feeder hands back what it gets when it sees that the worker drains, unless there is no time for that.
        await asyncio.wait(self._working, timeout=self._settings.release_timeout.total_seconds())
        await _cancel(self._working)

    async def _finish_upkeep(self) -> None:
        """Let upkeep end and deliver the last events, for a short time: another worker delivers what is left."""
        self._keeping.append(asyncio.create_task(self._upkeep.deliver_rest()))
        await self._ended(self._keeping, within=self._settings.release_timeout)
        await _cancel(self._keeping)

    async def _ended(self, tasks: Sequence[asyncio.Task[None]], *, within: timedelta) -> bool:
        """Return whether all *tasks* ended in time and before an abort."""
        every = asyncio.create_task(_all(tasks))
        aborted = asyncio.create_task(wait_at_most(self.shift.aborted, within))
        try:
            await asyncio.wait((every, aborted), return_when=asyncio.FIRST_COMPLETED)
            return every.done()
        finally:
            await _cancel((every, aborted))

    def _tell_news(self) -> None:
        self._feeder.wake_soon()
        self._upkeep.on_news()


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


async def _cancel(tasks: Sequence[asyncio.Task[object]]) -> None:
    """Cancel what has not ended, and take the outcome of all: an error here is a defect, and is told."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("a task of the worker ended by an error", trace=trace_of(outcome))
