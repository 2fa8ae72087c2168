"""The port that brings jobs to workers; the store's row is the truth and everything here is a hint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

import attrs

from holdfast.entities.stage import Lease, StageKey
from holdfast.ports.work import LeaseRef, LeaseRequest


@attrs.frozen(kw_only=True)
class JobHint:
    """A job that is READY now or after *delay*; carries identities only, never payloads."""

    key: StageKey
    queue: str
    delay: timedelta = timedelta()


class JobTransport(Protocol):
    """Hands jobs to workers. Losing, repeating, delaying or reordering hints costs latency and nothing else."""

    def subscribe(
        self, callback: Callable[[timedelta], None], *, queues: frozenset[str] | None = None
    ) -> Callable[[], None]:
        """Call *callback* for hints that reach this process, with how long it is until the first of them is due.

        With *queues*, only hints for jobs of these count. It may be called from any thread and must not block; an
        error that it raises disturbs nobody. Return the function that ends the calls; calling that again is harmless.
        """
        ...

    async def enqueue(self, hints: Sequence[JobHint]) -> None:
        """Tell workers that jobs are or will be READY; never raises for an unreachable broker."""
        ...

    async def dequeue(self, request: LeaseRequest) -> Sequence[Lease]:
        """Return leases on at most ``request.limit`` eligible jobs, granted by the store as `Work.lease` does.

        Raises:
            StoreUnavailable: If the store cannot be reached; an unreachable store never looks like an empty queue.
        """
        ...

    async def claim(self, key: StageKey, *, worker: str, ttl: timedelta) -> Lease | None:
        """Return the lease on exactly this job, or None if it is not eligible now."""
        ...

    async def extend(self, leases: Sequence[LeaseRef], *, ttl: timedelta) -> Sequence[LeaseRef]:
        """Move the end of each lease to *ttl* from now and return those that are lost."""
        ...

    async def release(self, lease: Lease, *, delay: timedelta = timedelta()) -> bool:
        """Hand a job back that was not executed to its end: due after *delay*, its attempt refunded, its lease ended.

        Return False if the lease was lost already.
        """
        ...

    async def settle(self, lease: Lease) -> None:
        """Tell a broker that the job's outcome is committed and its message can go."""
        ...
