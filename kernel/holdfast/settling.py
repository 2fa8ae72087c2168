"""From a decision to its commit: refusals raised, unknown outcomes resolved, and the hints that follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from holdfast.change import (
    ZERO,
    Change,
    Committed,
    Duplicate,
    Held,
    NewJob,
    Park,
    Refusal,
    Requeue,
    Rule,
    Step,
    Suspend,
)
from holdfast.command import Ports
from holdfast.entities.run import RunHeader, RunStatus
from holdfast.entities.stage import Lease, StageStatus
from holdfast.errors import CommitUnknown, LeaseLost
from holdfast.events import Event, NewEvent
from holdfast.gates import next_arrival
from holdfast.ports.job_transport import JobHint

#: Moves of a run after which jobs of it, or the run itself, may be due that no change-set made.
_LETS_GO: Final = frozenset({RunStatus.RUNNING, RunStatus.PENDING})
#: A timeline is read in pages of so many events when the outcome of a commit has to be looked up.
PAGE: Final = 1_000


def steps_of(change: Change, committed: Committed) -> Sequence[Step]:
    """Return the steps that really happened: the change-set's own and those that its arrivals brought about."""
    return (change.step, *committed.steps) if committed.steps else (change.step,)


def granted(change: Change, committed: Committed) -> list[NewJob]:
    """Return the jobs that the change-set made and leased to its worker at once."""
    made = [job for step in steps_of(change, committed) for job in step.jobs if job.grant is not None]
    return [job for job in made if job.queue not in committed.withheld] if committed.withheld else made


def leased(job: NewJob, *, run: RunHeader) -> Lease:
    """Return the lease that was given together with a new job."""
    assert job.grant is not None, "only granted jobs are taken on"
    return Lease(
        key=job.key,
        epoch=1,
        attempt=1,
        max_attempts=job.max_attempts,
        worker=job.grant.worker,
        queue=job.queue,
        status=StageStatus.RUNNING,
        run=run,
        via=job.via,
        depth=job.depth,
        origin=job.origin,
    )


def checked(outcome: Committed | Refusal) -> Committed:
    """Return *outcome* if the change-set stands, else raise why it does not."""
    if isinstance(outcome, Committed):
        return outcome
    if isinstance(outcome, Held):
        raise AssertionError(f"the key {outcome.result.scope.key} met a change-set that takes none")
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
    """Return the outcome of a change-set that is known to stand; the timeline tells what its arrivals brought about.

    Who holds the job behind a gate does not tell: another slot of the same worker may have opened it. What every
    arrival may bring about is known, and its events stand directly behind those of the change-set.
    """
    committed = Committed(version=0, steps=await _brought_about(change, ports) if change.step.arrivals else ())
    withheld: set[str] = set()
    for job in granted(change, committed):
        there = await ports.persistence.find_stage(job.key)
        if there is None or there.epoch != 1 or there.lease_until is None:
            # The run was PAUSED, the queue has limits, or the lease went elsewhere since.
            withheld.add(job.queue)
    return attrs.evolve(committed, withheld=frozenset(withheld))


async def _brought_about(change: Change, ports: Ports) -> tuple[Step, ...]:
    """Return what the arrivals of a change-set that stands have brought about."""
    behind = await _facts_behind(change.step.events[-1], change.run_id, ports)
    steps: list[Step] = []
    pending = list(change.step.arrivals)
    while pending:
        rule = change.rules[next_arrival(pending, change.rules).gate]
        step = _told(rule, behind)
        if step is not None:
            steps.append(await _with_ways(step, ports))
            behind = behind[len(step.events) :]
            pending.extend(step.arrivals)
    return tuple(steps)


async def _with_ways(step: Step, ports: Ports) -> Step:
    """Return the step with what the store alone knows of the jobs that its worker goes on with."""
    jobs: list[NewJob] = []
    for job in step.jobs:
        there = None if job.grant is None else await ports.persistence.find_stage(job.key)
        jobs.append(job if there is None else attrs.evolve(job, via=there.via))
    return attrs.evolve(step, jobs=tuple(jobs))


def _told(rule: Rule, behind: list[Event]) -> Step | None:
    """Return which outcome of the gate the next facts tell of, if they tell of one."""
    facts = [(event.type, event.key) for event in behind]
    for step in (rule.opens, rule.skips, rule.fails):
        expected = [(event.type, event.key) for event in step.events]
        if expected and facts[: len(expected)] == expected:
            return step
    refill = rule.refill
    if refill is None or not behind or behind[0].type is not refill.event.type:
        return None
    key = behind[0].key
    if key is None or attrs.evolve(refill.job.key, item=key.item) != key:
        return None
    return Step(jobs=(attrs.evolve(refill.job, key=key),), events=(attrs.evolve(refill.event, key=key),))


async def _facts_behind(own: NewEvent, run_id: str, ports: Ports) -> list[Event]:
    found: list[Event] = []
    while page := await ports.persistence.list_events(run_id, after=len(found), limit=PAGE):
        found.extend(page)
    facts = [(event.type, event.key) for event in found]
    # That a message was there already the store tells by itself, and nothing follows from it.
    return [event for event in found[facts.index((own.type, own.key)) + 1 :] if not event.data.get("early")]


async def announce(change: Change, committed: Committed, ports: Ports) -> None:
    """Tell transport and scheduler what became ready and when the next thing is due; hints only."""
    scheduler = ports.scheduler
    hints: list[JobHint] = []
    for step in steps_of(change, committed):
        for job in step.jobs:
            if job.grant is None or job.queue in committed.withheld:
                hints.append(JobHint(key=job.key, queue=job.queue, delay=job.delay))
                # Those of other processes are told by the transport, which knows whom the queue concerns.
                scheduler.wake_in(job.delay, local=True)
        for timer in step.timers:
            scheduler.wake_in(timer.delay)
    if isinstance(change.settle, (Requeue, Suspend)):
        scheduler.wake_in(change.settle.delay)
    if change.create is not None or change.operations or _may_let_go(change):
        # What was asked for from outside, such as the end of a run, may have events that others deliver.
        scheduler.wake_in(ZERO)
    elif ports.event_sinks:
        # The events are delivered from here.
        scheduler.wake_in(ZERO, local=True)
    if hints:
        await ports.job_transport.enqueue(hints)


def _may_let_go(change: Change) -> bool:
    """Return whether jobs may be due, or runs be admitted, that the change-set itself does not name."""
    if change.answers or isinstance(change.settle, Park):
        # Whoever it was that waited may go on; a park too, when its answer was faster.
        return True
    move = change.step.run
    return move is not None and move.status in _LETS_GO and not change.step.jobs
