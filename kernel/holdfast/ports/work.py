"""The port that hands out work: pending runs, jobs under leases, expired leases and due timers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

import attrs

from holdfast.entities.run import Run
from holdfast.entities.stage import ExpiredLease, Lease, StageKey, StageStatus
from holdfast.entities.timer import Timer

#: How soon a queue that has limits is worth another look while jobs of it are due.
QUEUE_LOOK: Final = timedelta(seconds=1)

#: A workflow id with a version, as known by a worker.
KnownWorkflow = tuple[str, str]


@attrs.frozen(kw_only=True)
class LeaseRequest:
    """Which jobs a worker wants."""

    worker: str
    limit: int
    ttl: timedelta
    #: Only jobs of these workflow versions are eligible.
    known: frozenset[KnownWorkflow]
    queues: frozenset[str] = frozenset({"default"})
    #: READY for jobs to execute, SUSPENDED for jobs to poll.
    statuses: frozenset[StageStatus] = frozenset({StageStatus.READY, StageStatus.SUSPENDED})


@attrs.frozen(kw_only=True)
class LeaseRef:
    """A lease by its identity."""

    key: StageKey
    epoch: int


class Work(Protocol):
    """Hands out work; all instants are compared with the store's clock."""

    async def list_pending(self, *, limit: int, known: frozenset[KnownWorkflow]) -> Sequence[Run]:
        """Return at most *limit* PENDING runs of the *known* workflow versions that are not held.

        Higher priority comes first. Among runs of one priority tenants take turns, as they do for `lease`; of one
        tenant the older run comes first; ties are broken by id.
        """
        ...

    async def lease(self, request: LeaseRequest) -> Sequence[Lease]:
        """Grant leases on at most *limit* jobs that are due and return them, highest priority first.

        Among jobs of one priority tenants take turns in order of their names, after the last one the first, and within
        a tenant its concurrency keys do in the same way; of one key the job that is longest due comes first. In its
        turn a tenant gets as many as are asked for still. The next call goes on behind the tenant of the last job that
        this one gave, and within each tenant behind the key of the last job that it got. So nobody waits longer than
        one round of turns, however much others have queued. Whose turn it is, each opened store remembers for itself;
        at first it is that of the first.

        Eligible is a job that is READY, or SUSPENDED and not leased, whose due instant has come, of a known workflow
        version and a wanted queue and status, and for which the limits of its queue have room: fewer leases than
        *concurrency*, and fewer of its tenant and concurrency key than *per_key*, that have not ended; tokens of the
        *rate* for a READY one, which the grant takes; and no pause. While the tokens do not suffice for the job whose
        turn it is, no other READY job of its queue is given. Since they were set, limits hold at every instant.

        In one transaction each job becomes leased to the worker for *ttl*, its epoch and its attempt rise by 1, a
        READY one becomes RUNNING and its `stage.started` event is appended with the attempt and the worker, and the
        run's version rises by 1 for each job. Two callers never get the same job.
        """
        ...

    async def lease_one(self, key: StageKey, *, worker: str, ttl: timedelta) -> Lease | None:
        """Grant the lease on exactly this job as `lease` does, or return None if it is not eligible now.

        Nobody's turn passes by it.
        """
        ...

    async def extend(self, leases: Sequence[LeaseRef], *, ttl: timedelta) -> Sequence[LeaseRef]:
        """Move the end of each lease to *ttl* from now and return those that are lost.

        Lost is a lease whose job is gone, not leased, or has another epoch. A lease past its end that nobody took
        back is still extended, unless its queue has limits: another job may have its place. The run's version does not
        rise: nothing that a decision reads changes.
        """
        ...

    async def list_expired(self, *, limit: int) -> Sequence[ExpiredLease]:
        """Return at most *limit* leases that are past their end, the longest past first."""
        ...

    async def list_due_timers(self, *, limit: int) -> Sequence[Timer]:
        """Return at most *limit* timers whose instant has come, the earliest first."""
        ...

    async def next_due(self) -> timedelta | None:
        """Return how long it is until the next delayed job, poll, timer, lease end or event delivery is due.

        Zero when something is due already, None when nothing is. Work that is due but of an unknown workflow
        version counts too; callers bound how often they ask. A due job of a queue that has limits counts as due in
        `QUEUE_LOOK`: there may be no room for it, and when there will be depends on others. That of a queue that is
        paused does not count.
        """
        ...
