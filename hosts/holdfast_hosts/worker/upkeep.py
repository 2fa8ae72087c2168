"""What a worker does besides executing: take back expired leases, fire timers, deliver events."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import attrs

from holdfast.change import ZERO
from holdfast_hosts.maintenance import NONE, Bounds, Maintained, maintain
from holdfast_hosts.worker.shift import GAP, Shift, log, wait_at_most


class Upkeep:
    """Two loops, so that a sink that is slow does not delay the recovery of jobs."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._due = asyncio.Event()
        self._news = asyncio.Event()
        self._has_sinks = bool(shift.kernel.ports.event_sinks)

    def on_due(self) -> None:
        """Sweep soon."""
        self._due.set()

    def on_news(self) -> None:
        """Deliver soon."""
        self._news.set()

    def stop(self) -> None:
        """Let both loops see that the worker drains."""
        self._due.set()
        self._news.set()

    async def sweep(self) -> None:
        """Take back expired leases and fire timers, at intervals and when something is due."""
        settings = self._shift.settings
        batch = settings.sweep_batch
        bounds = attrs.evolve(NONE, leases=batch, timers=batch)
        while not self._shift.draining.is_set():
            self._due.clear()
            did = await self._pass(bounds)
            self._shift.tally.passes += 1
            if did.timers_fired:
                # A run whose time has come is there to be admitted, which nobody else tells.
                self._shift.opened.scheduler.wake_in(ZERO)
            await self._foresee()
            # Even a sweep that is always woken leaves the loop to others.
            await self._shift.pause(GAP)
            if did.stale_released < batch and did.timers_fired < batch:
                jitter = 0.9 + self._shift.opened.ids.fraction() / 5
                await wait_at_most(self._due, settings.reap_interval * jitter)

    async def deliver(self) -> None:
        """Deliver events, at intervals and when there are new ones."""
        settings = self._shift.settings
        while self._has_sinks and not self._shift.draining.is_set():
            self._news.clear()
            did = await self._flush()
            if did.events_flushed < settings.flush_batch:
                await self._shift.pause(settings.flush_pause)
                await wait_at_most(self._news, settings.flush_interval)

    async def deliver_rest(self) -> None:
        """Deliver what is left after the last job, as far as the sinks take it."""
        while self._has_sinks and (await self._flush()).events_flushed:
            pass

    async def _flush(self) -> Maintained:
        return await self._pass(attrs.evolve(NONE, events=self._shift.settings.flush_batch))

    async def _pass(self, bounds: Bounds) -> Maintained:
        did = await maintain(
            self._shift.kernel, worker=self._shift.worker_id, queues=self._shift.settings.queues, bounds=bounds
        )
        self._shift.tally.errors += len(did.failed_steps)
        return did

    async def _foresee(self) -> None:
        """Have the scheduler ring when the next thing is due that another process has stored, or an earlier start."""
        try:
            due = await self._shift.opened.persistence.next_due()
        except Exception as error:  # noqa: BLE001 - a forecast that fails costs latency only
            self._shift.tally.errors += 1
            log.warning("what is due next could not be found out", error=repr(error))
            return
        if due is not None and timedelta() < due < self._shift.settings.reap_interval:
            self._shift.opened.scheduler.wake_in(due)
