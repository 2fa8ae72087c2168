"""A process that stops in the middle of a transaction keeps nobody for long from what it has locked."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from holdfast.change import Committed
from holdfast_adapters.postgres import PostgresPersistence, access
from holdfast_adapters.postgres.candidates import LOCK_RUN
from holdfast_adapters.postgres.wave import BEGIN, COMMIT
from holdfast_adapters.postgres.wire import ConnectionLost, Wire
from holdfast_testing.contracts.samples import created, run_id, started

#: Longer than the others are held up.
SOON: Final = 20


def test_stopped_process_lets_go_of_its_runs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process had locked when it was stopped goes on without it, and when it wakes up nothing of it stands."""
    monkeypatch.setattr(access, "STANDSTILL", "300ms")

    async def main() -> None:
        stopped, other = PostgresPersistence(url), PostgresPersistence(url)
        await stopped.open()
        await other.open()
        await other.commit([created(1)])
        has_locked, wakes_up = asyncio.Event(), asyncio.Event()

        async def stop_within(wire: Wire) -> None:
            await wire.run((BEGIN, ()), (LOCK_RUN, (run_id(1),)))
            has_locked.set()
            await wakes_up.wait()
            with pytest.raises(ConnectionLost):
                await wire.run((COMMIT, ()))

        sleeper = asyncio.create_task(stopped.access.use(stop_within))
        await has_locked.wait()
        async with asyncio.timeout(SOON):
            (outcome,) = await other.commit([started(1)])
        assert isinstance(outcome, Committed)
        wakes_up.set()
        await sleeper
        await stopped.close()
        await other.close()

    asyncio.run(main())
