"""Hands out work from the memory store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from holdfast.entities.run import Run, RunStatus
from holdfast.entities.stage import ExpiredLease, Lease, StageKey, StageStatus
from holdfast.entities.timer import Timer
from holdfast.events import EventType
from holdfast.ports.work import KnownWorkflow, LeaseRef, LeaseRequest
from holdfast_adapters.memory.agenda import Agenda
from holdfast_adapters.memory.queues import Room, rooms
from holdfast_adapters.memory.rows import InstanceRow, place
from holdfast_adapters.memory.store import Kind, Store
from holdfast_adapters.memory.undo import Undo

#: Jobs in the order in which they became due.
JobAgenda = Agenda[datetime, InstanceRow]


class MemoryWork:
    """The Work port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_pending(self, *, limit: int, known: frozenset[KnownWorkflow]) -> Sequence[Run]:
        """Return pending runs of known versions, highest priority, then oldest, first."""
        with self._store.transaction:
            self._store.now()
            return [row.entity() for row in self._store.list_pending(limit=limit, known=known)]

    async def lease(self, request: LeaseRequest) -> Sequence[Lease]:
        """Grant leases on jobs that are due, tenants and keys taking turns."""
        leases: list[Lease] = []
        with self._store.transaction as undo:
            now = self._store.now()
            if request.limit < 1:
                return leases
            self._store.promote(now)
            kinds = [(kind, levels) for kind, levels in self._store.jobs.items() if _is_wanted(kind, request)]
            room = rooms(self._store, now)
            until = now + request.ttl
            for tenant, key, agendas in self._store.job_turns.walk(kinds):
                for agenda, due_at, row in self._next(tenant, key, agendas, room=room, now=now):
                    limits = room.get(row.queue)
                    if limits is not None and not limits.take(row, undo):
                        continue
                    # The entry is dropped once the row moves, so an undo must add it again.
                    undo.append((agenda.add, (due_at, row)))
                    leases.append(self._grant(row, worker=request.worker, until=until, now=now, undo=undo))
                    self._store.job_turns.served(tenant, key)
                    if len(leases) >= request.limit:
                        return leases
        return leases

    def _next(
        self,
        tenant: str,
        key: str,
        agendas: Sequence[tuple[Kind, JobAgenda]],
        *,
        room: Mapping[str, Room],
        now: datetime,
    ) -> Iterator[tuple[JobAgenda, datetime, InstanceRow]]:
        """Yield the jobs of the tenant and key that are due, and for which there may be room, the longest due first.

        The caller grants each job it is given, or takes its room away, before it asks for the next.
        """
        while True:
            best: tuple[JobAgenda, datetime, InstanceRow] | None = None
            for (_, _, queue, status), agenda in agendas:
                limits = room.get(queue)
                if limits is not None and not limits.has_any(status, tenant, key):
                    continue
                first = self._store.first_due(agenda, now)
                # Jobs that became due at one instant are told apart by the order in which they came to be so.
                if first is not None and (best is None or (first[0], first[1].stamp) < (best[1], best[2].stamp)):
                    best = (agenda, *first)
            if best is None:
                return
            yield best

    async def lease_one(self, key: StageKey, *, worker: str, ttl: timedelta) -> Lease | None:
        """Grant the lease on exactly this job, if it is eligible."""
        with self._store.transaction as undo:
            now = self._store.now()
            run = self._store.runs.get(key.run_id)
            row = None if run is None else run.jobs.get(place(key))
            if row is None or row.due_at is None or row.due_at > now or row.run.status is RunStatus.PAUSED:
                return None
            header = row.run.header
            limits = rooms(self._store, now).get(row.queue)
            if limits is not None and not (
                limits.has_any(row.status, header.tenant, header.concurrency_key) and limits.take(row, undo)
            ):
                return None
            return self._grant(row, worker=worker, until=now + ttl, now=now, undo=undo)

    def _grant(self, row: InstanceRow, *, worker: str, until: datetime, now: datetime, undo: Undo) -> Lease:
        store, run = self._store, row.run
        undo.append((run.restore, run.saved()))
        undo.append((row.restore, row.saved()))
        row.stamp = store.stamp()
        row.epoch += 1
        row.attempt += 1
        row.worker = worker
        row.lease_until = until
        row.started_at = now
        row.due_at = None
        store.leases.add(until, row)
        run.version += 1
        if row.status is StageStatus.READY:
            row.status = StageStatus.RUNNING
            run.events.append((EventType.STAGE_STARTED, now, row.key, {"attempt": row.attempt, "worker": worker}))
            for sink in store.sinks.values():
                sink.tell(run, now, undo)
        return row.lease(overdue=row.give_up_at is not None and row.give_up_at <= now)

    async def extend(self, leases: Sequence[LeaseRef], *, ttl: timedelta) -> Sequence[LeaseRef]:
        """Extend leases and return those that are lost."""
        with self._store.transaction as undo:
            now = self._store.now()
            return [ref for ref in leases if not self._extend(ref, now=now, until=now + ttl, undo=undo)]

    def _extend(self, ref: LeaseRef, *, now: datetime, until: datetime, undo: Undo) -> bool:
        run = self._store.runs.get(ref.key.run_id)
        row = None if run is None else run.jobs.get(place(ref.key))
        if row is None or row.lease_until is None or row.epoch != ref.epoch:
            return False
        if row.lease_until <= now and row.queue in self._store.queues:
            return False
        undo.append((row.restore, row.saved()))
        row.stamp = self._store.stamp()
        row.lease_until = until
        self._store.leases.add(until, row)
        return True

    async def list_expired(self, *, limit: int) -> Sequence[ExpiredLease]:
        """Return leases that are past their end, longest past first."""
        with self._store.transaction:
            rows = self._store.leases.earliest(limit, until=self._store.now())
            return [row.expired_lease() for row in rows]

    async def list_due_timers(self, *, limit: int) -> Sequence[Timer]:
        """Return timers whose instant has come, earliest first."""
        with self._store.transaction:
            return [row.timer for row in self._store.timers.earliest(limit, until=self._store.now())]

    async def next_due(self) -> timedelta | None:
        """Return how long it is until something is due."""
        with self._store.transaction:
            return self._store.next_due(self._store.now())


def _is_wanted(kind: Kind, request: LeaseRequest) -> bool:
    workflow_id, version, queue, status = kind
    return queue in request.queues and status in request.statuses and (workflow_id, version) in request.known
