"""From a decision to its commit: refusals raised, unknown outcomes resolved, and the hints that follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.change import ZERO, Change, Committed, Duplicate, NewJob, Refusal, Requeue, Step, Suspend
from holdfast.command import Ports
from holdfast.entities.stage import StageKey
from holdfast.errors import CommitUnknown, LeaseLost
from holdfast.events import EventType, NewEvent
from holdfast.ports.job_transport import JobHint

#: A timeline is read in pages of so many events when the outcome of a commit has to be looked up.
PAGE: Final = 1_000


def steps_of(change: Change, committed: Committed) -> Sequence[Step]:
    """Return the steps that really happened: the change-set's own and those of the gates it opened."""
    if not change.arrivals:
        return (change.step,)
    opened = (arrival.step for arrival in change.arrivals if arrival.gate in committed.opened)
    return (change.step, *opened)


def granted(change: Change, committed: Committed) -> list[NewJob]:
    """Return the jobs that the change-set made and leased to its worker at once."""
    return [job for step in steps_of(change, committed) for job in step.jobs if job.grant is not None]


def checked(outcome: Committed | Refusal) -> Committed:
    """Return *outcome* if the change-set stands, else raise why it does not."""
    if isinstance(outcome, Committed):
        return outcome
    if isinstance(outcome, Duplicate):
        raise AssertionError(f"an operation record of {outcome.record.command} met a command that writes none")
    raise outcome


async def settle(change: Change, ports: Ports) -> Committed:
    """Commit the change-set of a lease holder and tell hosts what follows from it.

    A commit that failed in a way that leaves open whether it happened is looked up by its lease, and repeated only
    if it did not.

    Raises:
        LeaseLost: If the lease ended or went elsewhere; nothing was written.
        CommitUnknown: If the outcome cannot be found out.
        StoreUnavailable: If the store cannot be reached; nothing was written.
    """
    fence = change.fence
    assert fence is not None, "only the holder of a lease settles a job"
    unknown: CommitUnknown | None = None
    for _ in range(ports.settings.commit_tries):
        try:
            outcome = (await ports.persistence.commit((change,)))[0]
        except CommitUnknown as error:
            unknown = error
            if not await ports.persistence.is_settled(fence.key, epoch=fence.epoch):
                continue
            outcome = await _as_committed(change, ports)
        else:
            # The first try may have reached the store late, after the look-up: then it is our own settlement.
            late = unknown is not None and isinstance(outcome, LeaseLost)
            if late and await ports.persistence.is_settled(fence.key, epoch=fence.epoch):
                outcome = await _as_committed(change, ports)
        committed = checked(outcome)
        await announce(change, committed, ports)
        return committed
    raise CommitUnknown(f"the outcome of {fence.key} could not be committed or looked up") from unknown


async def _as_committed(change: Change, ports: Ports) -> Committed:
    """Return the outcome of a change-set that is known to stand; the timeline tells which gates it opened.

    Who holds the job behind a gate does not tell: another slot of the same worker may have opened it.
    """
    if not change.arrivals:
        return Committed(version=0)
    behind = await _facts_behind(change.step.events[-1], change.run_id, ports)
    opened: list[str] = []
    for arrival in change.arrivals:
        # The events of a gate stand directly behind those of the change-set that opened it.
        expected = [(event.type, event.key) for event in arrival.step.events]
        if behind[: len(expected)] == expected:
            opened.append(arrival.gate)
            behind = behind[len(expected) :]
    return Committed(version=0, opened=tuple(opened))


async def _facts_behind(own: NewEvent, run_id: str, ports: Ports) -> list[tuple[EventType, StageKey | None]]:
    facts: list[tuple[EventType, StageKey | None]] = []
    while page := await ports.persistence.list_events(run_id, after=len(facts), limit=PAGE):
        facts.extend((event.type, event.key) for event in page)
    return facts[facts.index((own.type, own.key)) + 1 :]


async def announce(change: Change, committed: Committed, ports: Ports) -> None:
    """Tell transport and scheduler what became ready and when the next thing is due; hints only."""
    hints: list[JobHint] = []
    for step in steps_of(change, committed):
        for job in step.jobs:
            if job.grant is None:
                hints.append(JobHint(key=job.key, queue=job.queue, delay=job.delay))
                ports.scheduler.wake_in(job.delay)
        for timer in step.timers:
            ports.scheduler.wake_in(timer.delay)
    if isinstance(change.settle, (Requeue, Suspend)):
        ports.scheduler.wake_in(change.settle.delay)
    if change.create is not None or ports.event_sinks:
        ports.scheduler.wake_in(ZERO)
    if hints:
        await ports.job_transport.enqueue(hints)
