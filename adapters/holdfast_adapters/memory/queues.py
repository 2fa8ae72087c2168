"""The limits of queues in memory, and how much room they leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from holdfast.entities.queue import QueueLimits, QueueState
from holdfast.entities.stage import StageStatus
from holdfast_adapters.memory.rows import InstanceRow, is_due
from holdfast_adapters.memory.store import QueueRow, Store
from holdfast_adapters.memory.undo import Undo

_READY: Final = StageStatus.READY


class Room:
    """What the limits of one queue have room for during one claim."""

    __slots__ = ("_by_key", "_is_drained", "_leased", "_now", "_row")

    def __init__(self, row: QueueRow, leased: Sequence[InstanceRow], *, now: datetime) -> None:
        self._row = row
        self._now = now
        self._leased = len(leased)
        self._by_key = Counter((one.run.header.tenant, one.run.header.concurrency_key) for one in leased)
        #: Whether the tokens do not suffice for the job whose turn it is.
        self._is_drained = False

    def has_any(self, status: StageStatus, tenant: str, key: str) -> bool:
        """Return whether there may be room for a job in that status of that tenant and key."""
        limits = self._row.limits
        if limits.paused or (self._is_drained and status is _READY):
            return False
        if limits.concurrency is not None and self._leased >= limits.concurrency:
            return False
        return limits.per_key is None or self._by_key[tenant, key] < limits.per_key

    def take(self, job: InstanceRow, undo: Undo) -> bool:
        """Take the room for the job and its tokens; return whether they were there."""
        row, rate = self._row, self._row.limits.rate
        if rate is not None and job.status is _READY:
            full_at = rate.take(row.full_at, now=self._now, weight=job.weight)
            if full_at is None:
                self._is_drained = True
                return False
            undo.append((row.fill, (row.full_at,)))
            row.full_at = full_at
        self._leased += 1
        header = job.run.header
        self._by_key[header.tenant, header.concurrency_key] += 1
        return True


def rooms(store: Store, now: datetime) -> dict[str, Room]:
    """Return the room of every queue that has limits."""
    if not store.queues:
        return {}
    leased: dict[str, list[InstanceRow]] = {name: [] for name in store.queues}
    for row in store.leases.rows():
        if row.queue in leased and row.lease_until is not None and row.lease_until > now:
            leased[row.queue].append(row)
    return {name: Room(row, leased[name], now=now) for name, row in store.queues.items()}


class MemoryQueues:
    """The Queues port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def set_queue(self, limits: QueueLimits) -> None:
        """Give the queue these limits."""
        with self._store.transaction:
            self._store.now()
            before = self._store.queues.pop(limits.name, None)
            if limits.has_any:
                row = self._store.queues[limits.name] = QueueRow(limits)
                if before is not None and before.limits.rate == limits.rate:
                    row.full_at = before.full_at

    async def list_queues(self) -> Sequence[QueueState]:
        """Return every queue that has limits or live jobs."""
        with self._store.transaction:
            now = self._store.now()
            by_queue: dict[str, list[InstanceRow]] = {name: [] for name in self._store.queues}
            for run in self._store.live.values():
                for job in run.jobs.values():
                    by_queue.setdefault(job.queue, []).append(job)
            return [self._state(name, jobs, now) for name, jobs in sorted(by_queue.items())]

    def _state(self, name: str, jobs: Sequence[InstanceRow], now: datetime) -> QueueState:
        row = self._store.queues.get(name)
        due = [job.due_at for job in jobs if job.due_at is not None and is_due(job, now)]
        return QueueState(
            limits=QueueLimits(name=name) if row is None else row.limits,
            ready=len(due),
            leased=sum(job.lease_until is not None and job.lease_until > now for job in jobs),
            oldest=now - min(due) if due else None,
        )
