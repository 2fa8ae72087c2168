"""What the tasks of a worker share from its start to its stop: who it is, its settings, its counters, its flags."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import attrs
import structlog

from holdfast.change import ZERO, Grant
from holdfast.decide.route import Keep
from holdfast.entities.stage import Lease
from holdfast.errors import Unavailable
from holdfast.verdicts import JobOutcome
from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.wiring import Opened

log = structlog.stdlib.get_logger("holdfast.worker")

#: Shortest pause between two looks at the store that were asked for by something which may be no work at all.
GAP: Final = timedelta(milliseconds=10)
#: Who is woken for whatever there is to do looks all the same when that was so long ago.
FLOOR: Final = timedelta(minutes=5)
#: Exponents above this would overflow long after every cap has been reached.
MAX_DOUBLINGS: Final = 30


@attrs.frozen(kw_only=True)
class WorkerStats:
    """What a worker has done since it was started."""

    #: Random for every start.
    worker_id: str
    is_running: bool
    started_at: datetime | None
    #: Zero when it does not run.
    uptime: timedelta
    concurrency: int
    #: Jobs that are executed now.
    in_flight: int
    #: Jobs executed, by what became of them.
    jobs_processed: Mapping[JobOutcome, int]
    #: Pending runs that it admitted.
    claimed: int
    #: Jobs that it handed back unfinished.
    released: int
    #: Attempts that it stopped, because their leases were gone.
    lost: int
    #: Passes of maintenance.
    passes: int
    #: Whatever went wrong outside of user code.
    errors: int
    #: Whether it was told to stop at once.
    aborted: bool


#: For so long it is remembered that a queue has limits.
LIMITS_KEPT: Final = timedelta(seconds=60)


@attrs.define(kw_only=True)
class Tally:
    """The counters behind `WorkerStats`."""

    outcomes: dict[JobOutcome, int] = attrs.field(factory=lambda: dict.fromkeys(JobOutcome, 0))
    claimed: int = 0
    released: int = 0
    lost: int = 0
    passes: int = 0
    errors: int = 0


class Shift:
    """One run of a worker, from start to stop."""

    def __init__(self, opened: Opened, settings: WorkerSettings) -> None:
        self.opened = opened
        self.kernel = opened.kernel
        self.settings = settings
        #: Random for every start, so that nobody mistakes a new process for a dead one of the same name.
        self.worker_id = f"worker-{opened.ids.new_id()}"
        self.ttl = opened.kernel.ports.settings.lease_ttl
        self._grant = Grant(worker=self.worker_id, ttl=self.ttl)
        self.keep = Keep(grant=self._grant, queues=settings.queues)
        self._asked_again_at = 0.0
        self.tally = Tally()
        self.draining = asyncio.Event()
        self.aborted = asyncio.Event()

    def note_limits(self, withheld: frozenset[str]) -> None:
        """Ask for a while no more to go on with jobs of those queues at once: their limits are heeded by claims."""
        self.keep = Keep(grant=self._grant, queues=self.keep.queues - withheld)
        self._asked_again_at = self.opened.clock.monotonic() + LIMITS_KEPT.total_seconds()

    def forget_limits(self) -> None:
        """Ask for all queues again when enough time has passed: limits may have been lifted."""
        if len(self.keep.queues) < len(self.settings.queues) and self.opened.clock.monotonic() >= self._asked_again_at:
            self.keep = Keep(grant=self._grant, queues=self.settings.queues)

    def backoff(self, failures: int) -> timedelta:
        """Return how long to wait after so many *failures* in a row: doubling, capped, half of it by chance."""
        whole = self.settings.backoff_base * 2.0 ** min(failures - 1, MAX_DOUBLINGS)
        return min(whole, self.settings.backoff_cap) * (0.5 + self.opened.ids.fraction() / 2)

    async def ahead(self) -> timedelta | None:
        """Return how long it is until something is due, zero if that cannot be found out, None if nothing is."""
        try:
            return await self.opened.persistence.next_due()
        except Exception as error:  # noqa: BLE001 - a forecast that fails costs a look
            self.tally.errors += 1
            log.warning("what is due next could not be found out", error=repr(error))
            return ZERO

    async def pause(self, delay: timedelta) -> None:
        """Wait for *delay*, or until the worker is told to stop."""
        await wait_at_most(self.draining, delay)

    async def hand_back_unheard(self, run_id: str) -> None:
        """Release every lease of the run that this worker holds by the store; for a worker that stops at once."""
        try:
            found = await self.opened.persistence.find_snapshot(run_id)
        except Unavailable as error:
            self.tally.errors += 1
            log.warning("what a worker that stops still holds could not be found out", error=repr(error))
            return
        if found is None or found.run.status.is_terminal:
            return
        header = found.run.header
        stages = self.kernel.ports.definitions.get(header.workflow_id, header.workflow_version).stages
        for stage in found.stages:
            if stage.worker == self.worker_id and stage.lease_until is not None:
                lease = Lease(
                    key=stage.key,
                    epoch=stage.epoch,
                    attempt=stage.attempt,
                    max_attempts=stage.max_attempts,
                    worker=self.worker_id,
                    queue=stages[stage.key.stage_id].queue,
                    status=stage.status,
                    run=header,
                )
                await self.hand_back(lease)

    async def hand_back(self, lease: Lease, *, delay: timedelta = ZERO) -> None:
        """Release *lease*, and try again for as long as it may last while the store cannot be reached.

        A store that restarts is away for longer than a few tries take, and a job that is left until its lease ends has
        lost that time, and an attempt too, although its worker was there all along.
        """
        monotonic = self.opened.clock.monotonic
        end, failures = monotonic() + self.ttl.total_seconds(), 0
        while True:
            try:
                if await self.opened.transport.release(lease, delay=delay):
                    self.tally.released += 1
                return
            except Unavailable as error:
                failures += 1
                self.tally.errors += 1
                if self.aborted.is_set() or monotonic() >= end:
                    log.warning("a job could not be handed back", job=str(lease.key), error=repr(error))
                    return
            await wait_at_most(self.aborted, self.backoff(failures))


async def wait_at_most(event: asyncio.Event, delay: timedelta) -> bool:
    """Wait until *event* is set, but no longer than *delay*, and return whether it is."""
    if not event.is_set():
        try:
            async with asyncio.timeout(delay.total_seconds()):
                await event.wait()
        except TimeoutError:
            return False
    return True
