"""The right to execute a job: how it is kept, how it ends, and that nothing is inferred from age."""

from __future__ import annotations

from holdfast import RunStatus, StageStatus, run_sync
from holdfast.commands.job_heartbeat import Beat, JobHeartbeat
from holdfast.commands.lease_reap_stale import LeaseReapStale, LeaseReapStaleResult
from holdfast.commands.run_transition import RunTransition, TransitionAction
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.entities.stage import Lease
from holdfast.ports.work import LeaseRef
from holdfast.verdicts import JobOutcome
from tests.kernel.behaviour.flows import THRICE, Provider, batching, line, pair
from tests.kernel.behaviour.test_transition import end_alone
from tests.kernel.watching import LEASE_TTL, MakeHarness, WatchedHarness

NOTHING = LeaseReapStaleResult(released=0, failed=0)


def reap(harness: WatchedHarness) -> LeaseReapStaleResult:
    """Take back what is past its end."""
    return harness.dispatch(LeaseReapStale())


def beat(harness: WatchedHarness, *leases: Lease) -> list[LeaseRef]:
    """Extend the leases and return those that are lost."""
    beats = tuple(Beat(lease=LeaseRef(key=lease.key, epoch=lease.epoch)) for lease in leases)
    return list(harness.dispatch(JobHeartbeat(beats=beats)).lost)


def maintain(harness: WatchedHarness) -> None:
    """Do what hosts do from time to time, whatever it finds."""
    reap(harness)
    harness.dispatch(TimerFireDue())


def test_parity_118_only_leases_past_their_end_are_taken_back(make_harness: MakeHarness) -> None:
    """A lease past its end is taken back and its job is READY; younger leases and other jobs are not touched."""
    flow, batched = line(1, retry=THRICE), batching()
    harness = make_harness(flow, batched, services={Provider: Provider()})
    parked = harness.start(batched, 1)
    harness.admit()
    done = harness.start(flow, 1)
    harness.admit()
    harness.work_off()
    old, young, ready = (harness.start(flow, number) for number in range(3))
    harness.admit()
    (first,) = harness.lease()
    harness.clock.advance(LEASE_TTL / 2)
    (second,) = harness.lease()
    assert reap(harness) == NOTHING
    harness.clock.advance(LEASE_TTL / 2)

    assert (first.key.run_id, second.key.run_id) == (old, young)
    assert reap(harness) == LeaseReapStaleResult(released=1, failed=0)
    taken = harness.stage(old, "s1")
    assert (taken.status, taken.lease_until, taken.due_at) == (StageStatus.READY, None, harness.clock.now())
    assert harness.stage(young, "s1").status is StageStatus.RUNNING
    assert harness.stage(ready, "s1").status is StageStatus.READY
    assert harness.stage(done, "s1").status is StageStatus.COMPLETED
    assert harness.stage(parked, "batch").status is StageStatus.SUSPENDED
    assert reap(harness) == NOTHING


def test_parity_119_job_that_was_taken_back_goes_to_any_worker(make_harness: MakeHarness) -> None:
    """A job whose worker died is leased by another one, with its input and priority as they were."""
    flow = line(1, retry=THRICE)
    harness = make_harness(flow)
    run_id = harness.start(flow, 41, priority=7)
    harness.admit()
    (dead,) = harness.lease(worker="dead")
    harness.clock.advance(LEASE_TTL)
    reap(harness)
    (alive,) = harness.lease(worker="alive")

    assert (alive.key, alive.run, alive.worker) == (dead.key, dead.run, "alive")
    assert alive.run.priority == 7
    assert (alive.attempt, alive.epoch > dead.epoch) == (2, True)
    harness.execute(alive)
    assert harness.look(flow, run_id).output == 42
    assert harness.kinds(run_id)[3:6] == ["stage.started", "stage.lease_expired", "stage.started"]


def test_parity_120_heartbeat_moves_the_end_of_a_lease(make_harness: MakeHarness) -> None:
    """A lease with a heartbeat outlives the reap that takes one without; what is not leased cannot be extended."""
    flow = pair()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    beating, silent = harness.lease(limit=2)
    harness.clock.advance(LEASE_TTL / 2)
    assert beat(harness, beating) == []
    assert harness.stage(run_id, beating.key.stage_id).lease_until == harness.clock.now() + LEASE_TTL
    harness.clock.advance(LEASE_TTL / 2)

    assert reap(harness).failed == 1
    assert beat(harness, silent) == [LeaseRef(key=silent.key, epoch=silent.epoch)]
    assert harness.stage(run_id, silent.key.stage_id).lease_until is None


def test_parity_128_what_is_active_pending_or_done_is_left_alone(make_harness: MakeHarness) -> None:
    """Maintenance does nothing to a run that is active, one that waits to be admitted, and one that ended."""
    flow = line(2)
    harness = make_harness(flow)
    done, active = harness.run(flow, 1).run.id, harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    pending = harness.start(flow, 1)
    pictures = [harness.picture(run_id) for run_id in (done, active, pending)]
    maintain(harness)
    beat(harness, lease)
    harness.clock.advance(LEASE_TTL / 2)
    maintain(harness)

    assert [harness.picture(run_id) for run_id in (done, active, pending)] == pictures


def test_parity_129_job_may_wait_in_its_queue_for_any_time(make_harness: MakeHarness) -> None:
    """A run whose job waits for a worker for months is not failed, and completes once a worker comes."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    for _ in range(100):
        harness.clock.advance("1d")
        maintain(harness)

    assert harness.stage(run_id, "s1").status is StageStatus.READY
    harness.drain()
    assert harness.look(flow, run_id).output == 2


def test_parity_130_run_without_a_job_is_advanced_not_failed(make_harness: MakeHarness) -> None:
    """A run that lacks its next job, however long, is never failed for it, and gets that job by a transition."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    end_alone(harness, *harness.lease())
    assert run_sync(harness.persistence.list_orphans(limit=9)) == [run_id]
    harness.clock.advance("365d")
    maintain(harness)
    assert harness.run_of(run_id).status is RunStatus.RUNNING

    assert harness.dispatch(RunTransition(run_id=run_id)).action is TransitionAction.ADVANCED
    harness.drain()
    assert harness.look(flow, run_id).status is RunStatus.COMPLETED


def test_parity_131_of_two_reapers_one_takes_the_lease(make_harness: MakeHarness) -> None:
    """When two hosts reap the same lease at once, one of them takes it and the other finds nothing."""
    flow = line(1, retry=THRICE)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.lease()
    harness.clock.advance(LEASE_TTL)
    faster: list[LeaseReapStaleResult] = []
    harness.store.before_commit = lambda: faster.append(reap(harness))

    assert reap(harness) == NOTHING
    assert faster == [LeaseReapStaleResult(released=1, failed=0)]
    assert harness.kinds(run_id).count("stage.lease_expired") == 1
    assert harness.lease()[0].attempt == 2


def test_lease_that_is_extended_or_settled_while_it_is_reaped_stands(make_harness: MakeHarness) -> None:
    """A worker that comes back at the last instant, with a heartbeat or its outcome, wins over the reaper."""
    flow = line(1)
    harness = make_harness(flow)
    beating, settling = harness.start(flow, 1), harness.start(flow, 1)
    harness.admit()
    first, second = harness.lease(limit=2)
    harness.clock.advance(LEASE_TTL)

    def come_back() -> None:
        assert beat(harness, first) == []
        assert harness.execute(second).outcome is JobOutcome.COMPLETED

    harness.store.before_commit = come_back
    assert reap(harness) == NOTHING
    assert harness.stage(beating, "s1").status is StageStatus.RUNNING
    assert harness.run_of(settling).status is RunStatus.COMPLETED
    assert harness.execute(first).outcome is JobOutcome.COMPLETED
