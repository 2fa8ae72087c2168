"""What a worker does besides executing: take back expired leases, fire timers, deliver events."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import attrs

from holdfast.change import ZERO
from holdfast_hosts.maintenance import NONE, Bounds, Maintained, maintain
from holdfast_hosts.worker.shift import FLOOR, GAP, Shift, log, wait_at_most


class Upkeep:
    """Two loops, so that a sink that is slow does not delay the recovery of jobs."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._due = asyncio.Event()
        self._news = asyncio.Event()
        #: When pending runs are looked for again.
        self._pending_at = 0.0
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
        batch = self._shift.settings.sweep_batch
        bounds = attrs.evolve(NONE, leases=batch, timers=batch)
        is_due = True
        while not self._shift.draining.is_set():
            self._due.clear()
            did = await self._pass(bounds) if is_due else Maintained()
            self._shift.tally.passes += 1
            if did.timers_fired:
                # A run whose time has come is there to be admitted, which nobody else tells.
                self._shift.opened.scheduler.wake_in(ZERO)
            pause, is_late = await self._foresee()
            if is_late and not is_due:
                is_due = True
                continue
            if is_late:
                # It is nothing that a sweep sees to.
                self._shift.opened.scheduler.wake_in(ZERO, local=True)
            # Even a sweep that is always woken leaves the loop to others.
            await self._shift.pause(GAP)
            if batch in {did.stale_released, did.timers_fired}:
                continue
            await wait_at_most(self._due, pause)
            is_due = is_late or not self._shift.opened.listening.is_healthy

    async def deliver(self) -> None:
        """Deliver events, at intervals and when there are new ones."""
        settings = self._shift.settings
        while self._has_sinks and not self._shift.draining.is_set():
            self._news.clear()
            did = await self._flush()
            if did.events_flushed < settings.flush_batch:
                await self._shift.pause(settings.flush_pause)
                await wait_at_most(self._news, self._flush_interval())

    def _flush_interval(self) -> timedelta:
        """Return how long there is nothing to deliver unless this loop is woken, at the latest by the sweep."""
        shift = self._shift
        return FLOOR if shift.opened.listening.is_healthy else shift.settings.flush_interval

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

    async def _foresee(self) -> tuple[timedelta, bool]:
        """Return how long nothing needs this worker's attention, and whether something does already.

        Where everything is announced, no announcement is needed for leases, whose ends are due in any case. Those that
        stood when the store was asked count in its answer. One that was granted or extended since ends a whole lease
        time after it was, and so not before the next look, if that comes within a lease time; that look then finds it.
        So every lease that ends is taken back at once, by however few looks, and a lost announcement costs one pause.
        A worker that grants shorter leases than this one is the exception: those end up to one pause unseen.
        """
        shift, settings = self._shift, self._shift.settings
        ahead = await shift.ahead()
        jitter = 0.9 + shift.opened.ids.fraction() / 5
        soon = settings.reap_interval * jitter
        if ahead is not None and ZERO < ahead < settings.reap_interval:
            # Another process may have stored it.
            shift.opened.scheduler.wake_in(ahead, local=True)
        if not shift.opened.listening.is_healthy:
            return soon, False
        if ahead == ZERO:
            return soon, True
        if await self._is_pending():
            shift.opened.scheduler.wake_in(ZERO, local=True)
        pause = min(settings.rest_interval * jitter, shift.ttl)
        return pause if ahead is None else max(min(ahead, pause), soon), False

    async def _is_pending(self) -> bool:
        """Return whether a run waits to be admitted here, of which no look at what is due tells; now and then only."""
        shift, now = self._shift, self._shift.opened.clock.monotonic()
        if now < self._pending_at:
            return False
        self._pending_at = now + (shift.settings.rest_interval / 2).total_seconds()
        ports = shift.kernel.ports
        try:
            return bool(await ports.persistence.list_pending(limit=1, known=ports.definitions.known()))
        except Exception as error:  # noqa: BLE001 - it is asked again
            shift.tally.errors += 1
            log.warning("pending runs could not be looked for", error=repr(error))
            return True
