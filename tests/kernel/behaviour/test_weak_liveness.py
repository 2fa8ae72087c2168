"""Runs that other engines kill, strand or lose go on here: nothing is inferred from age."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from holdfast import Pending, RunRerunFrom, RunStatus, StageStatus, run_sync, workflow
from holdfast.commands.job_heartbeat import Beat, JobHeartbeat
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.outbox_flush import OutboxFlush
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.run_transition import RunTransition, TransitionAction
from holdfast.commands.stage_poll_suspended import StagePollSuspended
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.entities.stage import StageKey
from holdfast.errors import StoreUnavailable, Unavailable, UnknownWorkflow
from holdfast.ports.work import LeaseRef
from holdfast.verdicts import JobOutcome
from holdfast_adapters.blobs.memory import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from holdfast_testing.invariants import Ledger
from tests.kernel.behaviour.flows import ONCE, THRICE, Batch, Provider, batching, flaky, line, step, total
from tests.kernel.watching import LEASE_TTL, MakeHarness, WatchedHarness


def maintain(harness: WatchedHarness) -> None:
    """Do what hosts do from time to time, the polls aside."""
    harness.dispatch(LeaseReapStale())
    harness.dispatch(TimerFireDue())
    harness.dispatch(OutboxFlush())


def test_weak_01_stage_that_takes_long_is_not_killed(make_harness: MakeHarness) -> None:
    """A stage that executes for hours with heartbeats, under constant maintenance, completes at its first attempt."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    beat = JobHeartbeat(beats=(Beat(lease=LeaseRef(key=lease.key, epoch=lease.epoch)),))
    for _ in range(200):
        harness.clock.advance(LEASE_TTL * 0.9)
        maintain(harness)
        assert harness.dispatch(beat).lost == ()

    assert harness.execute(lease).outcome is JobOutcome.COMPLETED
    assert harness.look(flow, run_id).output == 2
    assert harness.stage(run_id, "s1").attempt == 1


def test_weak_02_stage_that_is_polled_rarely_is_not_killed(make_harness: MakeHarness) -> None:
    """A suspended stage whose polls are weeks apart survives constant maintenance and completes."""

    class Rare(Batch):
        poll_every, give_up_after = "20d", "365d"

    flow = workflow("rare", input=int, version="1").pipe(Rare())
    provider = Provider(Pending(), Pending("90d"), 8)
    harness = make_harness(flow, services={Provider: provider})
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.work_off()
    for _ in range(129):
        harness.clock.advance("1d")
        maintain(harness)
        harness.dispatch(StagePollSuspended(worker="w1"))
    assert harness.statuses(run_id) == {"Rare": StageStatus.SUSPENDED}
    harness.clock.advance("1d")

    assert harness.dispatch(StagePollSuspended(worker="w1")).resumed == 1
    assert harness.look(flow, run_id).output == 8
    assert len(provider.polled) == 3


def test_weak_03_busy_queue_kills_no_run(make_harness: MakeHarness) -> None:
    """Runs that wait behind a slow worker for hours all complete, the last one too."""
    flow = line(1)
    harness = make_harness(flow)
    run_ids = [harness.start(flow, number) for number in range(30)]
    harness.admit()
    while leases := harness.lease():
        harness.clock.advance("20m")
        beat = Beat(lease=LeaseRef(key=leases[0].key, epoch=leases[0].epoch))
        harness.dispatch(JobHeartbeat(beats=(beat,)))
        maintain(harness)
        harness.execute(leases[0])

    assert {harness.run_of(run_id).status for run_id in run_ids} == {RunStatus.COMPLETED}


def crash_story(plan: FaultPlan) -> None:
    """Let a process begin a run under the plan, a second one finish it, and check that everything was done once."""
    joined = workflow("story", input=int, version="1").pipe(step("first", retry=THRICE))
    flow = joined.parallel(flaky("left", failures=1), step("right", retry=THRICE)).pipe(total.using(retry=THRICE))
    clock = FakeClock()
    shared: Any = {
        "persistence": MemoryPersistence(clock=clock),
        "clock": clock,
        "ledger": Ledger(),
        "blob_store": MemoryBlobStore(),
    }
    mortal = WatchedHarness(flow, **shared, plan=plan)
    with suppress(ProcessDied, Unavailable):
        mortal.start(flow, 1, idempotency_key="k")
        mortal.drain()
    assert plan.is_spent, plan.describe()
    clock.advance("1ms")
    second = WatchedHarness(flow, **shared)
    run_id = second.start(flow, 1, idempotency_key="k")
    second.drain()

    assert second.dispatch(RunTransition(run_id=run_id)).action is TransitionAction.NOOP
    ended = second.look(flow, run_id)
    assert (ended.status, ended.output) == (RunStatus.COMPLETED, 6), plan.describe()
    done = sorted(word for word in ended.story if word.startswith("stage.completed"))
    assert done == [f"stage.completed {name}" for name in ("first", "left", "right", "total")], plan.describe()


def test_weak_04_no_crash_separates_a_completion_from_what_follows() -> None:
    """Whichever port call the process dies at or fails in, a second process finishes the run, each stage just once."""
    whole = FaultPlan()
    crash_story(whole)
    assert sum(call.method == "commit" for call in whole.trace) == 7
    for number in range(2, whole.calls + 1):
        for fault in Fault:
            crash_story(FaultPlan({number: fault}))


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE, Fault.DIE_AFTER])
def test_weak_14_rerun_is_whole_whenever_its_host_dies(make_harness: MakeHarness, fault: Fault) -> None:
    """When the host dies around the commit of a rerun, the rerun stands with its job or not at all, and repeats."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id
    harness.clock.advance("1s")
    plan = FaultPlan({4: fault})
    dying = make_harness(flow, plan=plan)
    again = RunRerunFrom(run_id=run_id, from_stage_id="s1", idempotency_key="again")
    with pytest.raises(ProcessDied):
        dying.dispatch(again)
    assert plan.trace[-1].method == "commit"
    stands = fault is Fault.DIE_AFTER
    assert (harness.run_of(run_id).generation == 2) is stands
    assert (harness.run_of(run_id).status is RunStatus.RUNNING) is stands

    assert harness.dispatch(again).generation == 2
    assert [lease.key.generation for lease in harness.lease(limit=9)] == [2]


def test_weak_15_jobs_from_before_a_rerun_do_not_come_back(make_harness: MakeHarness) -> None:
    """Jobs that were queued or leased when the run failed are gone for good; a rerun executes its own ones only."""
    bad = flaky("left", failures=9, retry=ONCE)
    flow = workflow("three", input=int, version="1").parallel(bad, step("leased"), step("queued"))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    first, second = harness.lease(limit=2)
    failing, old = (first, second) if first.key.stage_id == "left" else (second, first)
    harness.execute(failing)
    assert harness.run_of(run_id).status is RunStatus.FAILED
    harness.dispatch(RunRerunFrom(run_id=run_id, from_stage_id="left"))

    assert harness.execute(old).outcome is JobOutcome.LOST
    leases = harness.lease(limit=9)
    assert sorted(lease.key.stage_id for lease in leases) == ["leased", "left", "queued"]
    assert {lease.key.generation for lease in leases} == {2}


def test_weak_16_job_that_kills_its_workers_ends(make_harness: MakeHarness) -> None:
    """A job whose workers die one after the other ends in FAILED with that reason when its attempts are used up."""
    flow = line(1, retry=THRICE)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    for attempt in (1, 2, 3):
        (lease,) = harness.lease(worker=f"victim{attempt}")
        assert lease.attempt == attempt
        harness.clock.advance(LEASE_TTL)
        result = harness.dispatch(LeaseReapStale())
        assert (result.released, result.failed) == ((0, 1) if attempt == 3 else (1, 0))

    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert (failure.code, failure.stage_id) == ("LEASE_EXPIRED", "s1")
    assert "victim3" in failure.message
    assert harness.lease() == []
    assert run_sync(harness.persistence.next_due()) is None


def test_weak_16_worker_is_never_given_what_it_does_not_know(make_harness: MakeHarness) -> None:
    """Jobs of a workflow version that a worker does not know cost it nothing and stay for one that does."""
    flow, other = line(1), line(1, id="other")
    harness, ignorant = make_harness(flow), make_harness(other)
    run_id = harness.start(flow, 1)
    harness.admit()

    assert ignorant.lease(limit=9) == []
    assert harness.stage(run_id, "s1").attempt == 0
    assert harness.lease()[0].attempt == 1


def test_weak_17_job_that_met_a_failing_store_is_handed_back(make_harness: MakeHarness) -> None:
    """After a failure of the world the holder of the lease hands the job back: due at once, its attempt refunded."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    failing = make_harness(flow, plan=FaultPlan({2: Fault.FAIL_BEFORE}))
    with pytest.raises(StoreUnavailable):
        failing.execute(lease)

    assert harness.stage(run_id, "s1").status is StageStatus.RUNNING
    assert run_sync(harness.transport.release(lease)) is True
    (again,) = harness.lease(worker="w2")
    assert (again.attempt, again.worker) == (1, "w2")
    assert harness.execute(again).outcome is JobOutcome.COMPLETED


def test_weak_17_job_that_was_leased_by_its_message_is_handed_back_at_once(make_harness: MakeHarness) -> None:
    """When the world fails under a job that a message named, the kernel itself hands it back, and tells the error."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    key = StageKey(run_id=run_id, stage_id="s1")
    failing = make_harness(flow, plan=FaultPlan({3: Fault.FAIL_BEFORE}))
    with pytest.raises(StoreUnavailable, match="commit"):
        failing.deliver(key)

    assert harness.stage(run_id, "s1").status is StageStatus.READY
    assert harness.stage(run_id, "s1").attempt == 0
    assert harness.deliver(key).outcome is JobOutcome.COMPLETED


def test_weak_17_poll_that_met_a_failing_store_costs_no_attempt(make_harness: MakeHarness) -> None:
    """When the world fails under a poll, the stage stays SUSPENDED and is polled again with all its attempts."""
    flow = batching()
    harness = make_harness(flow, services={Provider: Provider(1, 2)})
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.work_off()
    harness.clock.advance("1m")
    plan = FaultPlan({3: Fault.FAIL_BEFORE})
    failing = make_harness(flow, plan=plan, services={Provider: Provider(1)})
    with pytest.raises(StoreUnavailable, match="commit"):
        failing.dispatch(StagePollSuspended(worker="w1"))

    suspended = harness.stage(run_id, "batch")
    assert (suspended.status, suspended.attempt, suspended.lease_until) == (StageStatus.SUSPENDED, 0, None)
    harness.clock.advance(LEASE_TTL)
    assert harness.dispatch(StagePollSuspended(worker="w1")).resumed == 1


def test_weak_18_host_that_lost_a_workflow_leaves_its_stages_to_others(make_harness: MakeHarness) -> None:
    """A host without the workflow of a suspended stage neither polls nor fails it, and one with it completes it."""
    flow = batching()
    harness = make_harness(flow, services={Provider: Provider(9)})
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.work_off()
    harness.clock.advance("1m")
    vanished = make_harness(line(1))
    assert vanished.dispatch(StagePollSuspended(worker="w2")).checked == 0
    with pytest.raises(UnknownWorkflow):
        vanished.deliver(StageKey(run_id=run_id, stage_id="batch"))

    assert harness.statuses(run_id)["batch"] is StageStatus.SUSPENDED
    harness.drain()
    assert harness.look(flow, run_id).output == 10


def test_weak_07_any_number_of_runs_is_claimed_in_one_commit(make_harness: MakeHarness) -> None:
    """Claiming hundreds of runs in one command is one commit, bounded by what the caller asks for."""
    flow = line(1)
    harness = make_harness(flow)
    for number in range(400):
        harness.start(flow, number)
    harness.store.calls.clear()

    assert len(harness.dispatch(RunClaimPending(worker="w1", max_claims=390)).claimed) == 390
    assert harness.store.calls == ["list_pending", "commit"]
    assert len(harness.dispatch(RunClaimPending(worker="w1", max_claims=390)).claimed) == 10
    assert len(harness.lease(limit=1000)) == 400
