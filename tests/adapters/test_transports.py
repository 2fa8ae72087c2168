"""What is true of one transport only, and what happens when the store fails in the middle of a call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NoReturn

import pytest

from holdfast.change import Change
from holdfast.driving import run_sync
from holdfast.entities.stage import Lease, StageStatus
from holdfast.errors import CommitUnknown, StoreUnavailable, Unavailable
from holdfast.ports.job_transport import JobHint
from holdfast.ports.persistence import Persistence
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.transports import DatabaseTransport, MemoryTransport
from holdfast_adapters.transports.memory import MAX_HINTS
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import begin, key, take, the_stage, wanted
from holdfast_testing.faults import Fault, FaultPlan, faulty


@pytest.fixture
def persistence() -> Persistence:
    store = MemoryPersistence(clock=FakeClock())
    run_sync(store.open())
    return store


def hint(stage_id: str) -> JobHint:
    return JobHint(key=key(stage_id), queue="default")


def dequeue(transport: DatabaseTransport, *, limit: int = 10) -> list[Lease]:
    return list(run_sync(transport.dequeue(wanted(limit=limit))))


def test_release_whose_commit_is_unknown_is_looked_up(persistence: Persistence) -> None:
    """A job that was handed back although the commit was reported as failed counts as handed back."""
    begin(persistence)
    lease = take(persistence)
    transport = DatabaseTransport(faulty(persistence, FaultPlan({1: Fault.FAIL_AFTER})))
    assert run_sync(transport.release(lease))
    assert the_stage(persistence).status is StageStatus.READY


def test_release_that_did_not_happen_is_told(persistence: Persistence) -> None:
    """A job that could not be handed back stays leased, and the caller learns why."""
    begin(persistence)
    lease = take(persistence)
    transport = DatabaseTransport(faulty(persistence, FaultPlan({1: Fault.FAIL_BEFORE})))
    with pytest.raises(StoreUnavailable):
        run_sync(transport.release(lease))
    assert the_stage(persistence).status is StageStatus.RUNNING


class CommitNever(MemoryPersistence):
    """A store that loses every commit on the way to it, as a broken connection does."""

    async def commit(self, changes: Sequence[Change]) -> NoReturn:
        raise CommitUnknown("connection reset")


def test_release_whose_outcome_is_no_commit_is_told(persistence: Persistence) -> None:
    """A commit that is unknown and, by the look-up, did not happen is not taken for a release."""
    begin(persistence)
    lease = take(persistence)
    with pytest.raises(CommitUnknown):
        run_sync(DatabaseTransport(CommitNever(clock=FakeClock())).release(lease))


def test_hinted_jobs_come_first_and_in_order(persistence: Persistence) -> None:
    """The transport in memory hands out what was hinted at in the order of the hints, then what the store has."""
    begin(persistence, *"abcd")
    transport = MemoryTransport(persistence)
    run_sync(transport.enqueue([hint("c"), hint("b")]))
    assert [lease.key.stage_id for lease in dequeue(transport)] == ["c", "b"]
    assert sorted(lease.key.stage_id for lease in dequeue(transport)) == ["a", "d"]


def test_hints_of_delayed_jobs_take_no_room(persistence: Persistence) -> None:
    """However many delayed jobs were hinted at, a hint of one that is due is kept."""
    begin(persistence, *"ab")
    transport = MemoryTransport(persistence)
    later = timedelta(hours=1)
    run_sync(
        transport.enqueue([JobHint(key=key(item=n), queue="default", delay=later) for n in range(1, MAX_HINTS + 1)])
    )
    run_sync(transport.enqueue([hint("b")]))
    assert [lease.key.stage_id for lease in dequeue(transport)] == ["b"]


def test_hints_are_bounded(persistence: Persistence) -> None:
    """Hints beyond the bound are dropped, and their jobs are found in the store."""
    begin(persistence)
    transport = MemoryTransport(persistence)
    run_sync(transport.enqueue([JobHint(key=key(item=n), queue="gpu") for n in range(MAX_HINTS)]))
    run_sync(transport.enqueue([hint("a")]))
    assert [lease.key for lease in dequeue(transport)] == [key()]


@pytest.mark.parametrize("failing", range(4, 10))
def test_leases_granted_before_a_failure_reach_the_worker(persistence: Persistence, failing: int) -> None:
    """When the store fails in the middle of a call, what it granted before is handed out and nothing is stranded."""
    begin(persistence, *"abc")
    plan = FaultPlan({failing: Fault.FAIL_BEFORE})
    transport = MemoryTransport(faulty(persistence, plan))
    run_sync(transport.enqueue([hint(stage) for stage in "abc"]))
    granted = dequeue(transport)
    assert plan.is_spent
    assert [lease.key.stage_id for lease in granted] == list("abc"[: (failing - 1) // 3])
    leased = [stage for stage in "abc" if the_stage(persistence, key(stage)).status is StageStatus.RUNNING]
    assert leased == [lease.key.stage_id for lease in granted]


@pytest.mark.parametrize("failing", range(1, 4))
def test_failure_before_any_lease_is_told(persistence: Persistence, failing: int) -> None:
    """When the store fails before anything was granted, the worker learns it and nothing is leased."""
    begin(persistence, *"abc")
    transport = MemoryTransport(faulty(persistence, FaultPlan({failing: Fault.FAIL_BEFORE})))
    run_sync(transport.enqueue([hint(stage) for stage in "abc"]))
    with pytest.raises(Unavailable):
        dequeue(transport)
    assert {the_stage(persistence, key(stage)).status for stage in "abc"} == {StageStatus.READY}
