"""Execute one job: call its stage outside any transaction, then commit the outcome and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import ClassVar, Final

import attrs

from holdfast.attempts import attempt, hand_back
from holdfast.authoring.watch import Watch
from holdfast.command import IN_PROCESS, Command, Ports
from holdfast.decide.route import Keep
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageInstance, StageKey, StageStatus
from holdfast.errors import Rejected, Unavailable
from holdfast.naming import check_name, check_number
from holdfast.verdicts import Attempted, JobOutcome

#: No generation or item has a number above this.
_MAX_COUNT: Final = 2**31 - 1
_MAX_TURN: Final = 2**63 - 1


@attrs.frozen(kw_only=True)
class JobExecuted:
    """What became of the job."""

    outcome: JobOutcome
    output: Payload | None = None
    failure: Failure | None = None
    #: How long until the next attempt or poll.
    delay: timedelta | None = None
    #: Whether the outcome is an earlier one, because the job had nothing left to execute.
    repeated: bool = False
    #: The command for the next job of the run, when that is leased to the same worker already.
    next: JobExecute | None = attrs.field(default=None, metadata=IN_PROCESS)
    #: The queues of jobs that would have been leased to the same worker but for the limits of the queues.
    withheld: frozenset[str] = attrs.field(default=frozenset(), metadata=IN_PROCESS)


def _unwatched(_: Lease) -> Watch:
    return Watch()


@attrs.frozen(kw_only=True)
class JobExecute(Command[JobExecuted]):
    """Execute or poll one job under a lease.

    A message from a broker names the job only, and the lease is taken here; a worker in this process that leased the
    job itself hands the lease in.
    """

    type: ClassVar[str] = "job.execute"

    job: StageKey
    worker: str
    lease: Lease | None = attrs.field(default=None, metadata=IN_PROCESS)
    #: Outputs of earlier stages that need not be read again, by stage id.
    given: Mapping[str, Payload] = attrs.field(factory=dict, metadata=IN_PROCESS)
    #: The worker that takes the next job of the run at once, if its queue is among those it serves.
    keep: Keep | None = attrs.field(default=None, metadata=IN_PROCESS)
    #: Gives the attempt's watch, by which a host takes out progress and passes on that the lease is lost.
    attend: Callable[[Lease], Watch] = _unwatched


async def handle(command: JobExecute, ports: Ports) -> JobExecuted:
    """Execute the job once.

    Raises:
        UnknownWorkflow: If the run's workflow version is not registered here; the job is handed back.
        UnknownStage: If that version has no such stage here; the job is handed back.
        Unavailable: If a port cannot be reached; a lease that was handed in still stands, one that was taken here is
            handed back.
    """
    lease = command.lease
    if lease is None:
        _check(command)
        lease = await ports.job_transport.claim(command.job, worker=command.worker, ttl=ports.settings.lease_ttl)
        if lease is None:
            return _earlier(await ports.persistence.find_stage(command.job))
    try:
        attempted = await attempt(lease, ports, given=command.given, stay=command.keep, watch=command.attend(lease))
    except Rejected:
        await hand_back(lease, ports, delay=ports.settings.lease_ttl)
        raise
    except Unavailable:
        # Only here is the lease known that was taken here; nobody else could give it back before its end.
        if command.lease is None:
            await hand_back(lease, ports)
        raise
    await ports.job_transport.settle(lease)
    return _executed(attempted, command)


def _check(command: JobExecute) -> None:
    """Check what a message said; a lease that was handed in came out of the store."""
    check_name("run id", command.job.run_id)
    check_name("stage id", command.job.stage_id)
    check_number("generation", command.job.generation, least=1, most=_MAX_COUNT)
    check_number("turn", command.job.turn, most=_MAX_TURN)
    check_number("item", command.job.item, most=_MAX_COUNT)
    check_name("worker", command.worker)


def _executed(attempted: Attempted, command: JobExecute) -> JobExecuted:
    following = attempted.following
    return JobExecuted(
        outcome=attempted.outcome,
        output=attempted.output,
        failure=attempted.failure,
        delay=attempted.delay,
        withheld=attempted.withheld,
        next=None
        if following is None
        else JobExecute(
            job=following.key,
            worker=command.worker,
            lease=following,
            given={command.job.stage_id: attempted.output} if attempted.output is not None else {},
            keep=command.keep,
            attend=command.attend,
        ),
    )


#: What a job that cannot be leased is known to have come to.
_EARLIER = {
    StageStatus.COMPLETED: JobOutcome.COMPLETED,
    StageStatus.FAILED: JobOutcome.FAILED,
    StageStatus.SUSPENDED: JobOutcome.SUSPENDED,
    StageStatus.WAITING: JobOutcome.SUSPENDED,
}


def _earlier(stage: StageInstance | None) -> JobExecuted:
    if stage is None:
        return JobExecuted(outcome=JobOutcome.LOST, repeated=True)
    outcome = _EARLIER.get(stage.status, JobOutcome.LOST)
    return JobExecuted(outcome=outcome, output=stage.output, failure=stage.failure, repeated=True)
