"""Workers that want the same work at the same instant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, cast

from holdfast import RunStatus
from holdfast.entities.run import Run
from holdfast.ports.persistence import Persistence
from holdfast_adapters.blobs import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.system import SystemClock
from holdfast_hosts.maintenance import Bounds, maintain
from holdfast_hosts.wiring import Store
from tests.hosts.scenes import LINE, Outage, create, ended, opened, quick, working

NEVER: Final = timedelta(seconds=3600)


class Contested(Outage):
    """A store in which a rival admits what this worker has just been told of, a few times."""

    def __init__(self, persistence: MemoryPersistence) -> None:
        super().__init__(cast("Persistence", persistence))
        self.rival: Any = None
        self.times = 0

    async def list_pending(self, **wanted: Any) -> Sequence[Run]:
        """Return pending runs, which may not be pending any more when the caller acts on them."""
        found: Sequence[Run] = await self._persistence.list_pending(**wanted)
        if found and self.times:
            self.times -= 1
            did = await maintain(self.rival.kernel, worker="rival", bounds=Bounds(claims=len(found), polls=0))
            assert did.claimed == len(found)
        return found


def test_worker_that_comes_second_looks_again_at_once() -> None:
    """A worker whose pending runs another admitted first knows by that that there is work, and goes on looking."""
    persistence = MemoryPersistence(clock=SystemClock())
    contested = Contested(persistence)
    blobs = MemoryBlobStore()
    # Hints of the rival reach nobody, and nobody polls.
    settings = quick(concurrency=1, poll_min=NEVER, poll_max=NEVER, reap_interval=NEVER)

    async def main() -> None:
        rivals = opened(Store(persistence=cast("Persistence", persistence), blob_store=blobs))
        ours = opened(Store(persistence=cast("Persistence", contested), blob_store=blobs))
        async with rivals as contested.rival, ours as there:
            run_ids = [await create(there, LINE) for _ in range(4)]
            contested.times = 2
            async with working(there, settings) as worker:
                assert await ended(there, *run_ids) == [RunStatus.COMPLETED] * 4
                assert worker.stats().claimed == 2

    asyncio.run(main())
