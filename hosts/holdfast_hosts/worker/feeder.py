"""The feeder: one task that leases as many jobs as there are free slots, and sleeps when there is nothing to do."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from holdfast.change import ZERO
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.entities.stage import Lease
from holdfast.ports.work import LeaseRequest
from holdfast_hosts.worker.shift import FLOOR, GAP, Shift
from holdfast_hosts.worker.slot import Slot

log = structlog.stdlib.get_logger("holdfast.worker")

#: The most jobs or runs that are asked for at once; a transaction of this size is quick in every store.
MAX_ASKED: Final = 200


class Feeder:
    """Brings jobs to the free slots: jobs that are ready first, for what has begun shall end, then pending runs."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._clock = shift.opened.clock
        self._loop = asyncio.get_running_loop()
        self._free: deque[Slot] = deque()
        self._wake = asyncio.Event()
        self._is_starved = False
        #: Whether something was announced that need not be a job.
        self._is_news = False
        self._last_pass = 0.0
        self._later: asyncio.TimerHandle | None = None
        self._poll_min = shift.settings.poll_min.total_seconds()

    def free(self, slot: Slot) -> None:
        """Note that *slot* can take a job."""
        self._free.append(slot)
        if self._is_starved:
            self._wake.set()

    def wake(self) -> None:
        """Look for work at once."""
        self._wake.set()

    def wake_soon(self) -> None:
        """Look for work at once, or when the shortest pause since the last look is over: it may be no work of ours."""
        self._is_news = True
        left = self._last_pass + GAP.total_seconds() - self._loop.time()
        if left <= 0:
            self._wake.set()
        elif self._later is None:
            self._later = self._loop.call_later(left, self._wake_later)

    def _wake_later(self) -> None:
        self._later = None
        self._wake.set()

    async def run(self) -> None:
        """Feed the slots until the worker drains; then let those go that wait."""
        try:
            await self._feed()
        finally:
            if self._later is not None:
                self._later.cancel()
            for slot in self._free:
                slot.dismiss()

    async def _feed(self) -> None:
        draining = self._shift.draining
        pause, failures = self._poll_min, 0
        while not draining.is_set():
            if not self._free:
                await self._wait_for_slot()
                continue
            self._wake.clear()
            try:
                found, is_more = await self._fill()
            except Exception as error:  # noqa: BLE001 - the feeder outlives whatever goes wrong with one look
                failures += 1
                self._shift.tally.errors += 1
                log.warning("no work could be looked for", error=repr(error))
                await self._shift.pause(self._shift.backoff(failures))
                continue
            failures = 0
            if is_more:
                pause = self._poll_min
                # A store that never makes anybody wait must not keep the slots from beginning.
                await asyncio.sleep(0)
                continue
            rest = None if found else await self._rest()
            if rest is not None:
                await self._wait(rest)
                pause = self._poll_min
                continue
            was_woken = await self._wait(self._poll_min if found else pause)
            pause = self._poll_min if was_woken or found else min(pause * 2, self._longest())

    def _longest(self) -> float:
        """Return the longest pause between two looks; what is announced does not wait for them."""
        settings = self._shift.settings
        longest = settings.reap_interval if self._shift.opened.listening.is_healthy else settings.poll_max
        return max(longest, settings.poll_max).total_seconds()

    async def _rest(self) -> float | None:
        """Return how long there is nothing to look for, after a look that found nothing; None if that is unknown.

        It is known when everything is announced here and nothing is due: then a wake-up comes for whatever there will
        be to do, at the latest from upkeep. A job that is due all the same may be locked by somebody who is about to
        take it, or be kept back by the limits of its queue, and nothing announces when that ends.
        """
        if not self._shift.opened.listening.is_healthy:
            return None
        ahead = await self._shift.ahead()
        if ahead is not None and ahead <= self._shift.settings.reap_interval:
            if ahead == ZERO:
                return None
            self._shift.opened.scheduler.wake_in(ahead, local=True)
        return FLOOR.total_seconds()

    async def _wait_for_slot(self) -> None:
        self._is_starved = True
        self._wake.clear()
        try:
            await self._wake.wait()
            # Others that become free in the same turn of the loop are fed together.
            await asyncio.sleep(0)
        finally:
            self._is_starved = False

    async def _wait(self, seconds: float) -> bool:
        if self._wake.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    async def _fill(self) -> tuple[bool, bool]:
        """Give jobs to the free slots; return whether there were any, and whether there may be more."""
        self._last_pass = self._loop.time()
        looks = [self._feed_ready, self._feed_pending]
        if self._is_news and len(self._free) == self._shift.settings.concurrency:
            # Somebody created a run, most likely, and there is room enough for whatever else there may be.
            looks.reverse()
        self._is_news = found = False
        for look in looks:
            asked = min(len(self._free), MAX_ASKED)
            seen = await look(asked)
            found = found or seen > 0
            # A full answer means that there may be more; any other means that this was all there is.
            if seen == asked or not self._free or self._shift.draining.is_set():
                return found, seen == asked
        return found, False

    async def _feed_ready(self, asked: int) -> int:
        granted = self._clock.monotonic()
        leases = await self._ready(asked)
        await self._give(leases, granted=granted)
        return len(leases)

    async def _feed_pending(self, asked: int) -> int:
        granted = self._clock.monotonic()
        seen, leases = await self._pending(asked)
        await self._give(leases, granted=granted)
        return seen

    async def _give(self, leases: Sequence[Lease], *, granted: float) -> None:
        for lease in leases:
            if self._free and not self._shift.draining.is_set():
                self._free.popleft().give(lease, granted=granted)
            else:
                # The worker was told to stop while it asked.
                await self._shift.hand_back(lease)

    async def find_other(self) -> Lease | None:
        """Return the lease on some job that waits, if there is one; for a slot that has followed one run for long."""
        leases = await self._ready(1)
        if not leases:
            _, leases = await self._pending(1)
        return leases[0] if leases else None

    async def _ready(self, limit: int) -> Sequence[Lease]:
        shift = self._shift
        shift.forget_limits()
        request = LeaseRequest(
            worker=shift.worker_id,
            limit=limit,
            ttl=shift.ttl,
            known=shift.kernel.ports.definitions.known(),
            queues=shift.settings.queues,
        )
        return await shift.opened.transport.dequeue(request)

    async def _pending(self, limit: int) -> tuple[int, Sequence[Lease]]:
        shift = self._shift
        result = await shift.kernel.dispatch(
            RunClaimPending(worker=shift.worker_id, max_claims=limit, keep_queues=shift.keep.queues)
        )
        if result.withheld:
            shift.note_limits(result.withheld)
        shift.tally.claimed += len(result.claimed)
        # Those that another worker admitted first show that there is work.
        return len(result.claimed) + result.missed, result.leases
