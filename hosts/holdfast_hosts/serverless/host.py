"""The serverless host: one invocation handles one message, some jobs, or one tick of maintenance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, cast

import attrs
import structlog

from holdfast.change import ZERO, Grant
from holdfast.codec import structure
from holdfast.commands.job_execute import JobExecute, JobExecuted
from holdfast.decide.route import Keep
from holdfast.entities.stage import Lease, StageKey
from holdfast.errors import InvalidCommand, Rejected, Unavailable, UnknownWorkflow
from holdfast.ports.job_transport import JobHint
from holdfast.ports.work import LeaseRequest
from holdfast_hosts.heartbeat import Heartbeat, Pulse
from holdfast_hosts.maintenance import Bounds, Maintained, maintain
from holdfast_hosts.serverless.results import Handling, JobHandled, JobsProcessed
from holdfast_hosts.settings import ServerlessSettings
from holdfast_hosts.wiring import Opened

log = structlog.stdlib.get_logger("holdfast.serverless")

#: The fields of a message that name the job; a message carries nothing else that is looked at.
_NAMES: Final = ("runId", "stageId", "generation", "turn", "item")

#: How long an invocation may take: from now, as a duration or in seconds; None for as long as it likes.
Deadline = timedelta | float | None


class ServerlessHost:
    """Does a bounded piece of work when it is called, and nothing between calls.

    Given a deadline, each method starts nothing that it cannot finish and hands back what it does not start.

    Args:
        opened: The kernel to work for.
        settings: What time stages and steps are expected to take.
        bounds: How much one tick of maintenance does at most.
    """

    def __init__(
        self, opened: Opened, *, settings: ServerlessSettings | None = None, bounds: Bounds | None = None
    ) -> None:
        self._opened = opened
        self._kernel = opened.kernel
        self._settings = settings or ServerlessSettings()
        self._bounds = bounds or Bounds()
        self._ttl = opened.kernel.ports.settings.lease_ttl
        self.worker_id = f"serverless-{opened.ids.new_id()}"
        self._keep = Keep(grant=Grant(worker=self.worker_id, ttl=self._ttl), queues=self._settings.queues)

    async def handle_job(
        self, message: Mapping[str, Any] | JobHint | StageKey, *, deadline: Deadline = None
    ) -> JobHandled:
        """Execute the job that *message* names, if it is still to be executed.

        A message that came before, or for a job that somebody else executes, does nothing; what is known of the job is
        returned then.

        Raises:
            InvalidCommand: If the message names no job.
            Unavailable: If the store cannot be reached; nothing was begun.
        """
        key, time = _key(message), self._time(deadline)
        lease = await self._opened.transport.claim(key, worker=self.worker_id, ttl=self._ttl)
        command = JobExecute(job=key, worker=self.worker_id, lease=lease)
        if lease is not None and not time.fits(needed := self._needed(lease)):
            await self._hand_back(lease, delay=self._misfit_delay(needed, time))
            return JobHandled(outcome=Handling.HANDED_BACK, error=f"too little time: it may take {needed}")
        heartbeat = Heartbeat(self._kernel, settings=self._settings.heartbeat)
        async with heartbeat.beating():
            handled, _ = await self._execute(command, heartbeat.pulse())
        return handled

    async def process_available_jobs(self, *, max_jobs: int = 1, deadline: Deadline = None) -> JobsProcessed:
        """Execute at most *max_jobs* jobs that are due, one after the other, those of one run in a row.

        Raises:
            Unavailable: If the store cannot be reached for jobs; nothing is under way then.
        """
        time = self._time(deadline)
        heartbeat = Heartbeat(self._kernel, settings=self._settings.heartbeat)
        tally = JobsProcessed()
        async with heartbeat.beating():
            pulse = heartbeat.pulse()
            while tally.processed < max_jobs and time.fits(self._settings.margin):
                lease = await self._lease()
                if lease is None:
                    break
                pulse.hold(lease)
                before = tally
                tally = await self._chain(lease, pulse, tally=tally, max_jobs=max_jobs, time=time)
                if tally.handed_back > before.handed_back or tally.error is not None:
                    break
        return tally

    async def run_maintenance_tick(self, *, deadline: Deadline = None) -> Maintained:
        """Admit pending runs, poll suspended stages, take back expired leases, fire timers and deliver events."""
        time = self._time(deadline)
        return await maintain(
            self._kernel,
            worker=self.worker_id,
            queues=self._settings.queues,
            bounds=self._bounds,
            has_time=lambda: time.fits(self._settings.margin),
        )

    async def _lease(self) -> Lease | None:
        request = LeaseRequest(
            worker=self.worker_id,
            limit=1,
            ttl=self._ttl,
            known=self._kernel.ports.definitions.known(),
            queues=self._settings.queues,
        )
        leases = await self._opened.transport.dequeue(request)
        return leases[0] if leases else None

    async def _chain(
        self, lease: Lease, pulse: Pulse, *, tally: JobsProcessed, max_jobs: int, time: _Time
    ) -> JobsProcessed:
        command: JobExecute | None = JobExecute(job=lease.key, worker=self.worker_id, lease=lease)
        while command is not None and command.lease is not None:
            needed = self._needed(command.lease)
            if not time.fits(needed):
                await self._hand_back(command.lease, delay=self._misfit_delay(needed, time))
                return attrs.evolve(tally, handed_back=tally.handed_back + 1)
            # The last job leaves what follows to others, for nobody here could execute it.
            is_last = tally.processed + 1 >= max_jobs
            handled, executed = await self._execute(attrs.evolve(command, keep=None if is_last else self._keep), pulse)
            tally = tally.counting(handled)
            command = None if executed is None else executed.next
        return tally

    async def _execute(self, command: JobExecute, pulse: Pulse) -> tuple[JobHandled, JobExecuted | None]:
        pulse.task = asyncio.current_task()
        try:
            executed = await pulse.execute(attrs.evolve(command, attend=pulse.attend))
        except Rejected as error:
            log.warning("a job is left to others", job=str(command.job), error=repr(error))
            return JobHandled(outcome=Handling.REFUSED, error=str(error)), None
        except Unavailable as error:
            log.warning(
                "a job is handed back, because a port cannot be reached", job=str(command.job), error=repr(error)
            )
            await self._hand_back_held(pulse)
            return JobHandled(outcome=Handling.HANDED_BACK, error=f"{type(error).__qualname__}: {error}"), None
        except asyncio.CancelledError:
            if pulse.current is not None:
                pulse.current.watch.cancelled = True
            # Shielded, because a second cancellation must not break it off half-way.
            await asyncio.shield(self._hand_back_held(pulse))
            raise
        finally:
            live = pulse.current
            pulse.drop()
        if executed is None:
            if live is not None and not live.is_lost:
                await self._hand_back(live.lease)
            return JobHandled(outcome=Handling.LOST, error="the lease was lost"), None
        return _handled(executed), executed

    async def _hand_back_held(self, pulse: Pulse) -> None:
        if pulse.current is not None:
            await self._hand_back(pulse.current.lease)

    async def _hand_back(self, lease: Lease, *, delay: timedelta = ZERO) -> None:
        try:
            await self._opened.transport.release(lease, delay=delay)
        except Unavailable as error:
            log.warning("a job could not be handed back", job=str(lease.key), error=repr(error))

    def _needed(self, lease: Lease) -> timedelta:
        """Return the time that the job of *lease* may take, its commit included."""
        expected = self._settings.stage_time
        try:
            definition = self._kernel.ports.definitions.get(lease.run.workflow_id, lease.run.workflow_version)
        except UnknownWorkflow:
            # It will be refused, which takes no time.
            return self._settings.margin
        spec = definition.stages.get(lease.key.stage_id)
        if spec is not None and spec.timeout is not None:
            expected = spec.timeout
        return expected + self._settings.margin

    def _misfit_delay(self, needed: timedelta, time: _Time) -> timedelta:
        """Return how long a job is kept from the next try: what never fits must not be in the way of all others."""
        if time.given is None or needed <= time.given:
            return ZERO
        log.warning("a job may take longer than the whole invocation", needed=str(needed), given=str(time.given))
        return self._settings.misfit_delay

    def _time(self, deadline: Deadline) -> _Time:
        given = timedelta(seconds=deadline) if isinstance(deadline, int | float) else deadline
        monotonic = self._opened.clock.monotonic
        return _Time(given=given, began=monotonic(), monotonic=monotonic)


@attrs.frozen(kw_only=True)
class _Time:
    """What is left of an invocation's time, by the local monotonic clock."""

    given: timedelta | None
    began: float
    monotonic: Callable[[], float]

    def fits(self, needed: timedelta) -> bool:
        """Return whether something that takes so long can still be finished."""
        if self.given is None:
            return True
        left = self.began + self.given.total_seconds() - self.monotonic()
        return needed.total_seconds() <= left


def _key(message: Mapping[str, Any] | JobHint | StageKey) -> StageKey:
    """Return the job that a message names, by its fields or by those of its `key`."""
    if isinstance(message, StageKey):
        return message
    if isinstance(message, JobHint):
        return message.key
    named = message.get("key", message)
    if not isinstance(named, Mapping):
        raise InvalidCommand("job message", ["it names no job"])
    fields = cast("Mapping[str, Any]", named)
    return structure({name: fields[name] for name in _NAMES if name in fields}, StageKey, what="job message")


def _handled(executed: JobExecuted) -> JobHandled:
    return JobHandled(
        outcome=Handling(executed.outcome.value),
        error=None if executed.failure is None else executed.failure.message,
        delay=executed.delay,
        repeated=executed.repeated,
    )
