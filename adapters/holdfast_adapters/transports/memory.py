"""Jobs by way of a queue of hints in this process, as a broker would bring them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.change import ZERO
from holdfast.entities.stage import Lease, StageKey
from holdfast.errors import Unavailable
from holdfast.ports.job_transport import JobHint
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRequest
from holdfast_adapters.transports.database import DatabaseTransport

#: More hints than this are not kept; a hint that is lost costs latency only.
MAX_HINTS: Final = 10_000
#: Every so many calls the store is asked first, so that a stream of hints cannot keep back a job whose hint was lost.
STORE_FIRST_EVERY: Final = 8


class MemoryTransport(DatabaseTransport):
    """Takes jobs that were hinted at first, in order of their hints, and asks the store when there are none left.

    Hints of delayed jobs wake hosts but are not kept: the store knows when those jobs are due.
    """

    def __init__(self, persistence: Persistence) -> None:
        super().__init__(persistence)
        self._hints: dict[StageKey, JobHint] = {}
        self._calls = 0

    async def enqueue(self, hints: Sequence[JobHint]) -> None:
        """Keep hints of jobs that are due now, and wake the hosts of this process."""
        for hint in hints:
            if hint.delay <= ZERO and len(self._hints) < MAX_HINTS:
                self._hints[hint.key] = hint
        await super().enqueue(hints)

    async def dequeue(self, request: LeaseRequest) -> Sequence[Lease]:
        """Return leases on at most ``request.limit`` eligible jobs, granted by the store."""
        self._calls += 1
        if self._calls % STORE_FIRST_EVERY and (leases := await self._lease_hinted(request)):
            return leases
        return await super().dequeue(request)

    async def _lease_hinted(self, request: LeaseRequest) -> Sequence[Lease]:
        leases: list[Lease] = []
        # Hints for other queues stay for the workers of those.
        wanted = [hint.key for hint in tuple(self._hints.values()) if hint.queue in request.queues]
        for key in wanted:
            if len(leases) == request.limit:
                break
            if self._hints.pop(key, None) is None:
                continue
            try:
                lease = await self._lease_if_eligible(key, request)
            except Unavailable:
                # Leases that were granted already must reach the worker, or nobody executes them until they expire.
                if not leases:
                    raise
                break
            if lease is not None:
                leases.append(lease)
        return leases

    async def _lease_if_eligible(self, key: StageKey, request: LeaseRequest) -> Lease | None:
        """Lease the job if it is one that the store would have given for *request*; a hint proves nothing."""
        run = await self._persistence.find_run(key.run_id)
        stage = await self._persistence.find_stage(key)
        if run is None or stage is None or stage.status not in request.statuses:
            return None
        if (run.header.workflow_id, run.header.workflow_version) not in request.known:
            return None
        return await self._persistence.lease_one(key, worker=request.worker, ttl=request.ttl)
