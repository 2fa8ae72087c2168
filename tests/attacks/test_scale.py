"""Crowds that stand in the way: runs that nobody here knows, streams that stopped, leases that all ended at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from holdfast import RunCreate, Settings
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.outbox_flush import OutboxFlush
from holdfast.commands.plugin_replay_dlq import PluginReplayDlq
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.events import Event
from holdfast.kernel import Kernel
from holdfast.ports.persistence import Persistence
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.harness import Harness
from tests.hosts.scenes import LINE, ONE

CROWD: Final = 2_000


@pytest.fixture(params=["memory", "sqlite"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """Return a kernel on each kind of store, with a sink that takes nothing until it is told to."""
    clock = FakeClock()
    persistence: Persistence = (
        MemoryPersistence(clock=clock)
        if request.param == "memory"
        else SqlitePersistence(tmp_path / "crowd.db", clock=clock)
    )
    settings = Settings(delivery_attempts=1)
    yield Harness(ONE, LINE, clock=clock, persistence=persistence, event_sink=Gate(), settings=settings)
    run_sync(persistence.close())


class Gate:
    """A sink that is shut."""

    name = "gate"

    def __init__(self) -> None:
        self.is_open = False
        self.taken = 0

    async def deliver(self, events: Sequence[Event]) -> None:
        """Take the events if the gate is open."""
        if not self.is_open:
            raise RuntimeError("shut")
        self.taken += len(events)


def gate_of(kernel: Kernel) -> Gate:
    """Return the sink of the kernel."""
    (gate,) = kernel.ports.event_sinks
    assert isinstance(gate, Gate)
    return gate


def crowd(harness: Harness, size: int = CROWD, *, priority: int = 5) -> None:
    """Create runs, many at once so that a store can take them together."""

    async def all_of_them() -> None:
        for first in range(0, size, 500):
            commands = [RunCreate(workflow_id="line", input=1, priority=priority) for _ in range(first, first + 500)]
            await asyncio.gather(*(harness.kernel.dispatch(command) for command in commands))

    asyncio.run(all_of_them())


def test_runs_that_nobody_knows_delay_no_other(harness: Harness) -> None:
    """Thousands of older runs of higher priority whose workflow is unknown here do not keep a known one waiting."""
    crowd(harness, priority=100)
    # The ids of a harness are counted from its clock's instant.
    harness.clock.advance(timedelta(minutes=1))
    known = Harness(ONE, clock=harness.clock, persistence=harness.persistence)
    ended = known.run(ONE, 1)
    assert ended.output == 2
    assert known.dispatch(RunClaimPending(worker="w", max_claims=10)).claimed == ()


def test_expired_leases_are_taken_back_in_bounded_passes(harness: Harness) -> None:
    """Thousands of leases that ended at once are taken back in passes of the size asked for, each exactly once."""
    crowd(harness)
    queues = frozenset({"default"})
    claimed = 0
    while leases := harness.dispatch(RunClaimPending(worker="dead", max_claims=500, keep_queues=queues)).leases:
        claimed += len(leases)
    assert claimed == CROWD
    assert harness.dispatch(LeaseReapStale(limit=300)).released == 0
    harness.clock.advance(timedelta(hours=1))
    passes: list[int] = []
    while (did := harness.dispatch(LeaseReapStale(limit=300))).released + did.failed:
        passes.append(did.released + did.failed)
    assert sum(passes) == CROWD
    assert max(passes) == 300


def test_parked_streams_cost_the_others_nothing(harness: Harness) -> None:
    """Thousands of streams that stopped are not tried again, are put back in bounded passes, and arrive complete."""
    gate = gate_of(harness.kernel)
    crowd(harness)
    parked = 0
    while (did := harness.dispatch(OutboxFlush(max_events=500))).parked:
        parked += did.parked
    assert parked == CROWD
    gate.is_open = True
    assert harness.dispatch(OutboxFlush(max_events=500)).published == 0
    run_id = harness.start(ONE, 1)
    assert harness.dispatch(OutboxFlush(max_events=500)).published == 1
    replayed: list[int] = []
    while did_replay := harness.dispatch(PluginReplayDlq(limit=700)).replayed:
        replayed.append(did_replay)
    assert replayed == [700, 700, 600]
    while harness.dispatch(OutboxFlush(max_events=500)).published:
        pass
    assert gate.taken == CROWD + 1
    assert harness.look(ONE, run_id).status is RunStatus.PENDING
