"""A store that looks at every run before and after each write and checks what must hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, cast

from holdfast.change import Change, Committed, Refusal
from holdfast.entities.definition import Definition
from holdfast.entities.queue import QueueLimits
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import Lease, StageKey
from holdfast.entities.timer import Timer
from holdfast.errors import UnknownWorkflow
from holdfast.events import EventType
from holdfast.ports.clock import Clock
from holdfast.ports.definitions import Definitions
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRef, LeaseRequest
from holdfast_testing.invariants.at_commit import Deed, Move, check_move, nobody_is_orphaned
from holdfast_testing.invariants.ledger import Ledger, Observation, Violation

#: The most events of a run that are read at once.
READ_LIMIT = 1_000_000


async def observe(persistence: Persistence, run_id: str, *, known: Observation | None = None) -> Observation | None:
    """Return the run as it stands now; events that are known already are not read again."""
    snapshot = await persistence.find_snapshot(run_id)
    if snapshot is None:
        return None
    # A snapshot leaves out what a rerun superseded; before the first one it holds everything.
    stages = snapshot.stages if snapshot.run.generation == 1 else await persistence.list_stages(run_id)
    earlier = () if known is None else known.events
    events = (*earlier, *await persistence.list_events(run_id, after=len(earlier), limit=READ_LIMIT))
    has_waits = any(event.type is EventType.STAGE_WAITING for event in events)
    waits = await persistence.list_run_waits(run_id, limit=READ_LIMIT) if has_waits else ()
    return Observation(
        run=snapshot.run,
        stages={stage.key: stage for stage in stages},
        events=events,
        waits={(wait.key, wait.name): wait for wait in waits},
    )


def witnessed(persistence: Persistence, *, ledger: Ledger, clock: Clock, definitions: Definitions) -> Persistence:
    """Return *persistence* with a witness who writes what breaks a promise into the *ledger*.

    All writers of one store must have witnesses with one ledger: each compares with what the others last saw.

    Args:
        persistence: Any store that is open.
        ledger: Where runs are remembered from one write to the next.
        clock: The store's own clock.
        definitions: The workflows whose runs are checked for completeness.
    """
    return cast(Persistence, _Witness(persistence, ledger=ledger, clock=clock, definitions=definitions))


class _Witness:
    """Stands in for a store; what it does not watch goes straight through."""

    def __init__(self, persistence: Persistence, *, ledger: Ledger, clock: Clock, definitions: Definitions) -> None:
        self._persistence = persistence
        self._ledger = ledger
        self._clock = clock
        self._definitions = definitions

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._persistence, attribute)

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        """Commit, then look at every run that the change-sets concern."""
        is_fired = any(change.fired is not None for change in changes)
        due_before = await self._due() if is_fired else ()
        outcomes = await self._persistence.commit(changes)
        due_after = await self._due() if is_fired else ()
        deeds: dict[str, list[Deed]] = {}
        for change, outcome in zip(changes, outcomes, strict=True):
            deeds.setdefault(change.run_id, []).append((change, outcome))
        for run_id, done in deeds.items():
            due = (
                frozenset(timer for timer in due_before if timer.run_id == run_id),
                frozenset(timer for timer in due_after if timer.run_id == run_id),
            )
            await self._look(run_id, deeds=done, due=due)
            for change, outcome in done:
                if isinstance(outcome, Committed):
                    await self._remember(change, outcome)
        if any(_could_be_orphaned(self._ledger.seen.get(run_id)) for run_id in deeds):
            self._ledger.violations.extend(nobody_is_orphaned(await self._persistence.list_orphans(limit=10)))
        await self._count()
        return outcomes

    async def set_queue(self, limits: QueueLimits) -> None:
        """Set the limits, and watch from now on how many jobs of the queue are leased."""
        await self._persistence.set_queue(limits)
        self._ledger.limits.pop(limits.name, None)
        if limits.concurrency is not None:
            self._ledger.limits[limits.name] = await self._leased(limits.name)
            await self._count()

    async def _leased(self, queue: str) -> int:
        states = await self._persistence.list_queues()
        return next((state.leased for state in states if state.limits.name == queue), 0)

    async def _count(self) -> None:
        """Look whether no queue has more jobs leased than it may."""
        limits = self._ledger.limits
        if not limits:
            return
        for state in await self._persistence.list_queues():
            name, limit = state.limits.name, state.limits.concurrency
            if name not in limits or limit is None:
                continue
            if state.leased > max(limit, limits[name]):
                found = f"{state.leased} of its jobs are leased, and {limit} may be"
                self._ledger.violations.append(
                    Violation(invariant="I33", promise="limits hold", subject=f"queue {name}", found=found)
                )
            limits[name] = min(limits[name], state.leased)

    async def _due(self) -> Sequence[Timer]:
        return await self._persistence.list_due_timers(limit=READ_LIMIT)

    async def lease(self, request: LeaseRequest) -> Sequence[Lease]:
        """Lease, then look at every run that got a lease."""
        leases = await self._persistence.lease(request)
        for run_id in dict.fromkeys(lease.key.run_id for lease in leases):
            await self._look(run_id, leases=[lease for lease in leases if lease.key.run_id == run_id])
        await self._count()
        return leases

    async def lease_one(self, key: StageKey, *, worker: str, ttl: timedelta) -> Lease | None:
        """Lease exactly one job, then look at its run."""
        lease = await self._persistence.lease_one(key, worker=worker, ttl=ttl)
        if lease is not None:
            await self._look(key.run_id, leases=[lease])
            await self._count()
        return lease

    async def extend(self, leases: Sequence[LeaseRef], *, ttl: timedelta) -> Sequence[LeaseRef]:
        """Extend, then look at every run that a lease was extended of."""
        lost = await self._persistence.extend(leases, ttl=ttl)
        extended = [ref for ref in leases if ref not in lost]
        for run_id in dict.fromkeys(ref.key.run_id for ref in leases):
            await self._look(run_id, extended=[ref for ref in extended if ref.key.run_id == run_id])
        await self._count()
        return lost

    async def _look(
        self,
        run_id: str,
        *,
        deeds: Iterable[Deed] = (),
        leases: Iterable[Lease] = (),
        extended: Iterable[LeaseRef] = (),
        due: tuple[frozenset[Timer], frozenset[Timer]] = (frozenset(), frozenset()),
    ) -> None:
        ledger = self._ledger
        before = ledger.seen.get(run_id)
        after = await observe(self._persistence, run_id, known=before)
        move = Move(
            run_id=run_id,
            at=self._clock.now(),
            before=before,
            after=after,
            deeds=tuple(deeds),
            leases=tuple(leases),
            extended=tuple(extended),
            due_before=due[0],
            due_after=due[1],
        )
        ledger.violations.extend(check_move(move, definition=self._definition(after)))
        if after is not None:
            ledger.seen[run_id] = after
            for stage in after.stages.values():
                if stage.output is not None:
                    ledger.outputs.setdefault(stage.key, stage.output.digest)

    def _definition(self, seen: Observation | None) -> Definition | None:
        if seen is None:
            return None
        try:
            return self._definitions.get(seen.run.header.workflow_id, seen.run.header.workflow_version)
        except UnknownWorkflow:
            return None

    async def _remember(self, change: Change, outcome: Committed) -> None:
        ledger = self._ledger
        version = (change.run_id, outcome.version)
        if version in ledger.versions:
            found = f"two commits share version {outcome.version}"
            ledger.violations.append(
                Violation(invariant="I5", promise="no update is lost", subject=f"run {change.run_id}", found=found)
            )
        ledger.versions.add(version)
        fence = change.fence
        if fence is None or change.settle is None or fence.expired:
            return
        ledger.settled.add((fence.key, fence.epoch))
        if not await self._persistence.is_settled(fence.key, epoch=fence.epoch):
            found = f"the settlement under epoch {fence.epoch} stands and the store denies it"
            ledger.violations.append(
                Violation(
                    invariant="I15",
                    promise="an unknown outcome can be found out",
                    subject=str(fence.key),
                    found=found,
                )
            )


def _could_be_orphaned(seen: Observation | None) -> bool:
    """Return whether the run has no live stage instance although it goes on; only the store knows of its timers."""
    if seen is None or seen.run.status.is_terminal or seen.run.status is RunStatus.PENDING:
        return False
    return all(stage.status.is_terminal for stage in seen.stages.values())
