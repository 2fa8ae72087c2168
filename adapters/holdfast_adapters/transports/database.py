"""Jobs straight from the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from holdfast.change import ZERO, Committed
from holdfast.decide.release import release
from holdfast.entities.stage import Lease, StageKey
from holdfast.errors import CommitUnknown, LeaseLost, RunNotFound
from holdfast.ports.job_transport import JobHint
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRef, LeaseRequest
from holdfast_adapters.transports.waking import Sleepers


class DatabaseTransport:
    """Takes jobs where they are stored; hints only wake the hosts of this process."""

    def __init__(self, persistence: Persistence) -> None:
        self._persistence = persistence
        self._sleepers = Sleepers()

    def subscribe(
        self, callback: Callable[[timedelta], None], *, queues: frozenset[str] | None = None
    ) -> Callable[[], None]:
        """Call *callback* with the delay of what is hinted at; return the function that ends it."""
        return self._sleepers.add(callback, queues=queues)

    async def enqueue(self, hints: Sequence[JobHint]) -> None:
        """Wake the hosts of this process."""
        self._sleepers.wake(hints)

    async def dequeue(self, request: LeaseRequest) -> Sequence[Lease]:
        """Return leases on at most ``request.limit`` eligible jobs, granted by the store."""
        return await self._persistence.lease(request)

    async def claim(self, key: StageKey, *, worker: str, ttl: timedelta) -> Lease | None:
        """Return the lease on exactly this job, or None if it is not eligible now."""
        return await self._persistence.lease_one(key, worker=worker, ttl=ttl)

    async def extend(self, leases: Sequence[LeaseRef], *, ttl: timedelta) -> Sequence[LeaseRef]:
        """Move the end of each lease to *ttl* from now and return those that are lost."""
        return await self._persistence.extend(leases, ttl=ttl)

    async def release(self, lease: Lease, *, delay: timedelta = ZERO) -> bool:
        """Hand a job back; return False if the lease was lost already.

        Raises:
            CommitUnknown: If it cannot be told whether the job was handed back; it will be when its lease expires.
            StoreUnavailable: If the store cannot be reached; the lease still stands.
        """
        try:
            (outcome,) = await self._persistence.commit((release(lease, delay=delay),))
        except CommitUnknown:
            if not await self._persistence.is_settled(lease.key, epoch=lease.epoch):
                raise
        else:
            if isinstance(outcome, LeaseLost | RunNotFound):
                return False
            if isinstance(outcome, Exception):
                raise outcome
            assert isinstance(outcome, Committed), "a release stores no operation record that could be repeated"
        await self.enqueue((JobHint(key=lease.key, queue=lease.queue, delay=delay),))
        return True

    async def settle(self, lease: Lease) -> None:
        """Do nothing: the commit of the outcome took the job away."""
