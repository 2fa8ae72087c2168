"""Hands out work from the memory store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from holdfast.entities.run import Run
from holdfast.entities.stage import ExpiredLease, Lease, StageKey, StageStatus
from holdfast.entities.timer import Timer
from holdfast.events import EventType
from holdfast.ports.work import KnownWorkflow, LeaseRef, LeaseRequest
from holdfast_adapters.memory.rows import InstanceRow
from holdfast_adapters.memory.store import Lane, Store


class MemoryWork:
    """The Work port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_pending(self, *, limit: int, known: frozenset[KnownWorkflow]) -> Sequence[Run]:
        """Return pending runs of known versions, highest priority, then oldest, first."""
        with self._store.lock:
            self._store.now()
            return [row.entity() for row in self._store.pending(limit=limit, known=known)]

    async def lease(self, request: LeaseRequest) -> Sequence[Lease]:
        """Grant leases on jobs that are due."""
        leases: list[Lease] = []
        with self._store.lock:
            now = self._store.now()
            if request.limit < 1:
                return leases
            for row in self._store.due(now=now, wanted=lambda lane: _wants(request, lane)):
                leases.append(self._grant(row, worker=request.worker, ttl=request.ttl, now=now))
                if len(leases) >= request.limit:
                    break
        return leases

    async def lease_one(self, key: StageKey, *, worker: str, ttl: timedelta) -> Lease | None:
        """Grant the lease on exactly this job, if it is eligible."""
        with self._store.lock:
            now = self._store.now()
            run = self._store.runs.get(key.run_id)
            row = None if run is None else run.jobs.get(key)
            if row is None or row.lease_until is not None or row.due_at is None or row.due_at > now:
                return None
            return self._grant(row, worker=worker, ttl=ttl, now=now)

    def _grant(self, row: InstanceRow, *, worker: str, ttl: timedelta, now: datetime) -> Lease:
        store, run = self._store, row.run
        row.stamp = store.stamp()
        row.epoch += 1
        row.attempt += 1
        row.worker = worker
        row.lease_until = now + ttl
        row.started_at = now
        row.due_at = None
        if row.status is StageStatus.READY:
            row.status = StageStatus.RUNNING
            run.events.append((EventType.STAGE_STARTED, now, row.key, {"attempt": row.attempt, "worker": worker}))
            for sink in store.sinks.values():
                sink.tell(run.header.id)
        run.version += 1
        store.leased[row.key] = row
        return row.lease(overdue=row.give_up_at is not None and row.give_up_at <= now)

    async def extend(self, leases: Sequence[LeaseRef], *, ttl: timedelta) -> Sequence[LeaseRef]:
        """Extend leases and return those that are lost."""
        with self._store.lock:
            until = self._store.now() + ttl
            lost: list[LeaseRef] = []
            for ref in leases:
                row = self._store.leased.get(ref.key)
                if row is None or row.epoch != ref.epoch:
                    lost.append(ref)
                else:
                    row.lease_until = until
            return lost

    async def list_expired(self, *, limit: int) -> Sequence[ExpiredLease]:
        """Return leases that are past their end, longest past first."""
        with self._store.lock:
            now = self._store.now()
            ended = [(row.lease_until, row) for row in self._store.leased.values() if row.lease_until is not None]
            expired = sorted((until, row.key, row) for until, row in ended if until <= now)
            return [_expired(row) for _, _, row in expired[:limit]]

    async def list_due_timers(self, *, limit: int) -> Sequence[Timer]:
        """Return timers whose instant has come, earliest first."""
        with self._store.lock:
            due = self._store.due_timers(now=self._store.now(), limit=limit)
            return [self._store.runs[run_id].timers[timer_id] for run_id, timer_id in due]

    async def next_due(self) -> timedelta | None:
        """Return how long it is until something is due."""
        with self._store.lock:
            return self._store.next_due(self._store.now())


def _wants(request: LeaseRequest, lane: Lane) -> bool:
    workflow_id, version, queue, status = lane
    return (workflow_id, version) in request.known and queue in request.queues and status in request.statuses


def _expired(row: InstanceRow) -> ExpiredLease:
    assert row.worker is not None, "a leased job has a worker"
    return ExpiredLease(
        key=row.key,
        epoch=row.epoch,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        worker=row.worker,
        status=row.status,
    )
