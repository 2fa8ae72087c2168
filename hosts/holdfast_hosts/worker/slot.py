"""A slot: one task that executes one job at a time, and goes on with the run's next job when it gets that too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import structlog

from holdfast.commands.job_execute import JobExecute
from holdfast.entities.stage import Lease
from holdfast.errors import Rejected, Unavailable
from holdfast_hosts.executors import HostTask
from holdfast_hosts.heartbeat import Pulse
from holdfast_hosts.traces import trace_of
from holdfast_hosts.worker.shift import Shift

log = structlog.stdlib.get_logger("holdfast.worker")

#: A slot whose stages never wait for anything lets the loop's other tasks go on after this long.
YIELD_SECONDS: Final = 0.005


class Slot:
    """Executes what it is given, until it is given nothing."""

    def __init__(
        self,
        shift: Shift,
        pulse: Pulse,
        *,
        free: Callable[[Slot], None],
        find_other: Callable[[], Awaitable[Lease | None]],
    ) -> None:
        self._shift = shift
        self._clock = shift.opened.clock
        self._presence = shift.opened.presence
        self._pulse = pulse
        self._free = free
        self._find_other = find_other
        #: Jobs in a row that could not be executed because a port was away.
        self._failures = 0
        self._inbox: asyncio.Future[JobExecute | None] | None = None
        #: A lease that is held beside the pulse's for a moment, so that it is handed back too when all stops.
        self._spare: Lease | None = None
        self._task: HostTask | None = None

    @property
    def is_busy(self) -> bool:
        """Whether it executes a job."""
        return self._pulse.current is not None

    def start(self) -> asyncio.Task[None]:
        """Begin to wait for jobs and return the task."""
        self._pulse.task = self._task = HostTask(self._serve(), loop=asyncio.get_running_loop())
        return self._task

    def give(self, lease: Lease, *, granted: float) -> None:
        """Execute the job of *lease*, which was granted not before the local monotonic instant *granted*."""
        assert self._inbox is not None, "only a free slot is given a job"
        # Shown to the heartbeat at once: the task may begin late if the loop is busy.
        self._pulse.hold(lease, granted=granted)
        self._inbox.set_result(self._command(lease))

    def dismiss(self) -> None:
        """End the task if it waits for a job."""
        if self._inbox is not None and not self._inbox.done():
            self._inbox.set_result(None)

    def cancel(self) -> None:
        """Stop what is executed: an async stage is interrupted, a sync one can see it in its context."""
        live, task = self._pulse.current, self._pulse.task
        if live is not None:
            live.watch.cancelled = True
        if task is not None:
            task.cancel()

    def _command(self, lease: Lease) -> JobExecute:
        shift = self._shift
        return JobExecute(
            job=lease.key, worker=shift.worker_id, lease=lease, keep=shift.keep, attend=self._pulse.attend
        )

    async def _serve(self) -> None:
        assert self._task is not None, "it has been started"
        self._task.enter()
        try:
            while not self._shift.draining.is_set():
                command = await self._receive()
                if command is not None:
                    await self._chain(command)
        except asyncio.CancelledError:
            # Shielded, because a second cancellation must not break off half of what hands the jobs back.
            await asyncio.shield(self._hand_back_all())
            raise
        finally:
            self._pulse.drop()

    async def _receive(self) -> JobExecute | None:
        self._inbox = asyncio.get_running_loop().create_future()
        self._free(self)
        try:
            return await self._inbox
        finally:
            self._inbox = None

    async def _hand_back_all(self) -> None:
        live, spare = self._pulse.current, self._spare
        held = [lease for lease in (None if live is None else live.lease, spare) if lease is not None]
        # Whoever stopped the slot waits no longer than that, and nothing is to go on behind his back.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._shift.settings.release_timeout.total_seconds()):
                for lease in held:
                    await self._shift.hand_back(lease)
                if live is not None:
                    # The commit that was broken off may stand, and have given a lease of which nobody heard.
                    await self._shift.hand_back_unheard(live.lease.key.run_id)

    async def _chain(self, first: JobExecute) -> None:
        """Execute a job and those that follow it in its run."""
        settings = self._shift.settings
        monotonic = self._clock.monotonic
        limit, limit_seconds = settings.chain_jobs, settings.chain_time.total_seconds()
        begun = rested = monotonic()
        jobs = 0
        command: JobExecute | None = first
        while command is not None:
            command = await self._execute(command)
            if command is None:
                break
            if self._shift.draining.is_set():
                await self._release_next(command)
                break
            jobs += 1
            now = monotonic()
            if jobs >= limit or now - begun >= limit_seconds:
                command = await self._look_around(command)
                jobs, begun = 0, monotonic()
            elif now - rested >= YIELD_SECONDS:
                await asyncio.sleep(0)
                rested = monotonic()
        self._pulse.drop()

    async def _execute(self, command: JobExecute) -> JobExecute | None:
        """Execute one job and return the command for the next one of its run, if that came along."""
        shift, live = self._shift, self._pulse.current
        if live is not None and live.watch.cancelled and live.lease is command.lease:
            # The lease went while the slot was on its way here, such as in a loop that was blocked for long.
            await self._stopped()
            return None
        try:
            executed = await self._pulse.execute(command)
        except Exception as error:  # noqa: BLE001 - a slot outlives whatever goes wrong with one job
            await self._went_wrong(error, command)
            return None
        if executed is None:
            await self._stopped()
            return None
        self._failures = 0
        shift.tally.outcomes[executed.outcome] += 1
        if executed.withheld:
            shift.note_limits(executed.withheld)
        self._presence.tell(command.job.run_id, is_at_rest=executed.next is None)
        return executed.next

    async def _stopped(self) -> None:
        """Give up an attempt that the heartbeat stopped."""
        self._shift.tally.lost += 1
        live = self._pulse.current
        if live is not None and not live.is_lost:
            await self._shift.hand_back(live.lease)

    async def _went_wrong(self, error: Exception, command: JobExecute) -> None:
        shift = self._shift
        shift.tally.errors += 1
        told: dict[str, Any] = {"job": str(command.job), "error": repr(error)}
        if isinstance(error, Rejected):
            # The kernel has handed it back already; a worker that knows its workflow will take it.
            log.warning("a job is left to other workers", **told)
            return
        if not isinstance(error, Unavailable):
            # Its lease is left to end, which uses up an attempt: a job must not trip over a defect for ever.
            log.error("a job could not be executed", **told, trace=trace_of(error))
            return
        self._failures += 1
        delay = shift.backoff(self._failures)
        log.warning("a job is handed back, because a port cannot be reached", **told, delay=delay.total_seconds())
        live = self._pulse.current
        if live is not None:
            # What is over need not be kept alive: its lease may end while it is handed back.
            self._spare = live.lease
            self._pulse.drop()
            await shift.hand_back(live.lease, delay=delay)
            self._spare = None
        await shift.pause(delay)

    async def _look_around(self, command: JobExecute) -> JobExecute | None:
        """Go on with *command*, unless other jobs wait: then hand its job back and take one of those."""
        lease = command.lease
        assert lease is not None, "what follows is leased already"
        self._pulse.attend(lease)
        try:
            other = await self._find_other()
        except Exception as error:  # noqa: BLE001 - the run's own next job is there and can be executed
            self._shift.tally.errors += 1
            log.warning("no other job could be looked for", error=repr(error))
            return command
        if other is None:
            await asyncio.sleep(0)
            return command
        self._spare = lease
        self._pulse.attend(other)
        await self._shift.hand_back(lease)
        self._spare = None
        return self._command(other)

    async def _release_next(self, command: JobExecute) -> None:
        assert command.lease is not None, "what follows is leased already"
        self._pulse.attend(command.lease)
        await self._shift.hand_back(command.lease)
