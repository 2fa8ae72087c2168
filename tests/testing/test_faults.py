"""What a plan of faults does to the ports that share it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import pytest

from holdfast.driving import run_sync
from holdfast.errors import BlobMissing, CommitUnknown, StoreUnavailable, Unavailable
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.persistence import Persistence
from holdfast_adapters.blobs.memory import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import begin, created, run_id
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied, faulty
from holdfast_testing.schedulers import FakeScheduler

KEY: Final = "run/a"


def store() -> Persistence:
    persistence = MemoryPersistence(clock=FakeClock())
    run_sync(persistence.open())
    return persistence


def is_there(blob_store: BlobStore) -> bool:
    return list(run_sync(blob_store.list("", limit=1))) == [KEY]


def test_without_faults_ports_work_and_are_counted() -> None:
    """An empty plan changes nothing, and its trace tells every call of every port in order."""
    plan = FaultPlan()
    persistence = faulty(store(), plan)
    blob_store = faulty(MemoryBlobStore(), plan, name="blobs")
    begin(persistence)
    run_sync(blob_store.put(KEY, b"x"))
    assert run_sync(blob_store.get(KEY)) == b"x"
    assert plan.describe() == "1. MemoryPersistence.commit\n2. MemoryPersistence.commit\n3. blobs.put\n4. blobs.get"
    assert plan.calls == 4
    assert plan.is_spent


def test_failure_before_a_call_is_a_call_that_was_not_made() -> None:
    """The caller is told that nothing was done, which is so, and the next call works."""
    plan = FaultPlan({2: Fault.FAIL_BEFORE})
    inner = MemoryBlobStore()
    blob_store = faulty(inner, plan)
    with pytest.raises(BlobMissing):
        run_sync(blob_store.get(KEY))
    with pytest.raises(StoreUnavailable, match=r"2\. MemoryBlobStore\.put  <- fail before"):
        run_sync(blob_store.put(KEY, b"x"))
    assert not is_there(inner)
    run_sync(blob_store.put(KEY, b"x"))
    assert is_there(inner)


def test_failure_after_a_call_is_a_call_that_was_made() -> None:
    """The caller is told that the world failed, and must not conclude that nothing was done."""
    inner = MemoryBlobStore()
    with pytest.raises(Unavailable) as caught:
        run_sync(faulty(inner, FaultPlan({1: Fault.FAIL_AFTER})).put(KEY, b"x"))
    assert not isinstance(caught.value, StoreUnavailable)
    assert is_there(inner)


def test_commit_that_fails_after_is_unknown() -> None:
    """A commit that was made and reported as failed raises CommitUnknown."""
    inner = store()
    with pytest.raises(CommitUnknown):
        run_sync(faulty(inner, FaultPlan({1: Fault.FAIL_AFTER})).commit([created()]))
    assert run_sync(inner.find_run(run_id())) is not None


@pytest.mark.parametrize(("fault", "is_made"), [(Fault.DIE_BEFORE, False), (Fault.DIE_AFTER, True)])
def test_dead_process_makes_no_calls(fault: Fault, is_made: bool) -> None:
    """After its death no call of any port of the process is made, sync ones included."""
    plan = FaultPlan({1: fault})
    inner, scheduler = MemoryBlobStore(), FakeScheduler()
    blob_store, wakes = faulty(inner, plan), faulty(scheduler, plan)
    with pytest.raises(ProcessDied):
        run_sync(blob_store.put(KEY, b"x"))
    assert plan.is_dead
    assert is_there(inner) is is_made
    with pytest.raises(ProcessDied):
        run_sync(blob_store.delete(KEY))
    with pytest.raises(ProcessDied):
        wakes.wake_in(timedelta())
    assert is_there(inner) is is_made
    assert scheduler.delays == []
    assert plan.calls == 1
    assert plan.describe().endswith("the process died")


def test_process_dies_after_a_call_that_raised() -> None:
    """A call that fails by itself does not save the process from its planned death."""
    plan = FaultPlan({1: Fault.DIE_AFTER})
    with pytest.raises(ProcessDied):
        run_sync(faulty(MemoryBlobStore(), plan).get(KEY))
    assert plan.is_dead


def test_death_is_not_caught_as_an_error() -> None:
    """Code that handles every Exception does not go on after the death of its process."""
    assert not issubclass(ProcessDied, Exception)


def test_call_under_way_ends_with_its_process() -> None:
    """A call that was waiting when another task died does not come back to tell."""
    plan = FaultPlan({2: Fault.DIE_BEFORE})

    class Slow(MemoryBlobStore):
        async def get(self, key: str) -> bytes:
            await asyncio.sleep(0)
            return b"x"

    blob_store = faulty(Slow(), plan)

    async def main() -> tuple[object, object]:
        return await asyncio.gather(blob_store.get(KEY), blob_store.put(KEY, b"x"), return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(main())] == [ProcessDied, ProcessDied]


def test_sync_methods_and_attributes_are_not_counted() -> None:
    """What does not wait for the world cannot fail, so it works as before and has no number."""
    plan = FaultPlan({1: Fault.FAIL_BEFORE})
    scheduler = FakeScheduler()
    wakes = faulty(scheduler, plan)
    wakes.wake_in(timedelta(seconds=1))
    assert wakes.delays is scheduler.delays
    assert scheduler.delays == [timedelta(seconds=1)]
    assert plan.calls == 0


@pytest.mark.parametrize(
    ("fault", "is_given", "is_dead"),
    [
        (Fault.FAIL_BEFORE, False, False),
        (Fault.FAIL_AFTER, True, False),
        (Fault.DIE_BEFORE, False, True),
        (Fault.DIE_AFTER, True, True),
    ],
)
def test_hint_may_get_lost_and_never_raises(fault: Fault, is_given: bool, is_dead: bool) -> None:
    """A hint counts as a call; it is given or lost, and only the death of the process stops whoever gives it."""
    plan = FaultPlan({1: fault})
    scheduler = FakeScheduler()

    def give() -> None:
        plan.tell("scheduler", "wake_in", lambda: scheduler.wake_in(timedelta()))

    if is_dead:
        with pytest.raises(ProcessDied):
            give()
    else:
        give()
    assert bool(scheduler.delays) is is_given
    assert plan.is_dead is is_dead
    assert plan.calls == 1


def test_process_can_die_by_itself() -> None:
    """A process that ends for reasons of its own makes no calls any more."""
    plan = FaultPlan()
    blob_store = faulty(MemoryBlobStore(), plan)
    with pytest.raises(ProcessDied, match="out of memory"):
        plan.die("out of memory")
    with pytest.raises(ProcessDied):
        run_sync(blob_store.put(KEY, b"x"))
    assert plan.calls == 0


def test_unspent_plan_is_told() -> None:
    """A story that ends before its fault was due can be told from one that survived it."""
    plan = FaultPlan({2: Fault.FAIL_BEFORE})
    blob_store = faulty(MemoryBlobStore(), plan)
    run_sync(blob_store.put(KEY, b"x"))
    assert not plan.is_spent
    with pytest.raises(StoreUnavailable):
        run_sync(blob_store.delete(KEY))
    assert plan.is_spent
