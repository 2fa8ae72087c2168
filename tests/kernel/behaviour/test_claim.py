"""How pending runs are admitted: in which order, by whom, and each on its own."""

from __future__ import annotations

import pytest

from holdfast import RunCancel, RunStatus, StageStatus
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.errors import StoreUnavailable
from holdfast_testing.faults import Fault, FaultPlan
from tests.kernel.behaviour.flows import line, pair
from tests.kernel.watching import MakeHarness


def test_parity_053_059_claiming_readies_the_entry_stages(make_harness: MakeHarness) -> None:
    """Claiming makes runs RUNNING and gives each entry stage one job, not yet attempted, with an event for each run."""
    lined, paired = line(2), pair()
    harness = make_harness(lined, paired)
    first, second = harness.start(lined, 1), harness.start(paired, 1)
    result = harness.admit()

    assert {one.run_id: (one.workflow_id, [key.stage_id for key in one.jobs]) for one in result.claimed} == {
        first: ("line", ["s1"]),
        second: ("pair", ["left", "right"]),
    }
    assert result.leases == ()
    assert harness.statuses(first) == {"s1": StageStatus.READY}
    assert harness.statuses(second) == {"left": StageStatus.READY, "right": StageStatus.READY}
    assert harness.stage(first, "s1").attempt == 0
    assert harness.run_of(first).status is harness.run_of(second).status is RunStatus.RUNNING
    assert harness.kinds(first) == ["run.created", "run.started", "stage.ready"]
    assert harness.kinds(second) == ["run.created", "run.started", "stage.ready", "stage.ready"]


def test_parity_054_nothing_pending_gives_an_empty_list(make_harness: MakeHarness) -> None:
    """Claiming without pending runs claims nothing and writes nothing."""
    harness = make_harness(line(1))
    assert harness.admit().claimed == ()

    harness.run(line(1), 1)
    written = len(harness.store.committed)
    assert harness.admit().claimed == ()
    assert len(harness.store.committed) == written


def test_parity_056_higher_priority_is_claimed_first_then_older(make_harness: MakeHarness) -> None:
    """Runs are claimed in order of priority, and in order of age where that is equal."""
    flow = line(1)
    harness = make_harness(flow)
    low = harness.start(flow, 1, priority=1)
    older = harness.start(flow, 1)
    harness.clock.advance("1s")
    newer = harness.start(flow, 1)
    high = harness.start(flow, 1, priority=10)
    one_by_one = RunClaimPending(worker="w1", max_claims=1)

    order = [harness.dispatch(one_by_one).claimed[0].run_id for _ in range(4)]

    assert order == [high, older, newer, low]


def test_parity_058_run_of_a_workflow_unknown_here_waits_for_another_host(make_harness: MakeHarness) -> None:
    """A run whose workflow is not registered here is left alone, and a host that knows it claims it."""
    flow = line(1)
    knowing, ignorant = make_harness(flow), make_harness(pair())
    run_id = knowing.start(flow, 1)

    assert ignorant.admit().claimed == ()
    assert knowing.run_of(run_id).status is RunStatus.PENDING
    assert [one.run_id for one in knowing.admit().claimed] == [run_id]


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.FAIL_AFTER])
def test_parity_060_claim_that_failed_halfway_gives_one_job(make_harness: MakeHarness, fault: Fault) -> None:
    """When the store fails around the commit of a claim, the run ends up with exactly one job for its entry stage."""
    flow = pair()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    plan = FaultPlan({3: fault})
    failing = make_harness(flow, plan=plan)

    with pytest.raises(Exception, match="planned"):
        failing.admit()
    assert plan.trace[-1].method == "commit"
    harness.admit()

    assert harness.statuses(run_id) == {"left": StageStatus.READY, "right": StageStatus.READY}
    assert harness.kinds(run_id).count("run.started") == 1
    assert len(harness.lease(limit=9)) == 2


def test_parity_062_run_that_cannot_be_claimed_does_not_disturb_the_others(make_harness: MakeHarness) -> None:
    """When one of several runs changes while it is claimed, the others are claimed all the same."""
    flow = line(1)
    harness = make_harness(flow)
    first, second, third = (harness.start(flow, number) for number in range(3))
    harness.store.before_commit = lambda: harness.dispatch(RunCancel(run_id=second))
    claimed = harness.admit().claimed

    assert [one.run_id for one in claimed] == [first, third]
    assert harness.run_of(second).status is RunStatus.CANCELLED
    assert harness.statuses(second) == {}


def test_claim_by_a_worker_leases_one_entry_job_to_it(make_harness: MakeHarness) -> None:
    """A worker that asks for it gets one entry job of each run in the same commit, if it serves the queue."""
    flow = pair()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    asking = RunClaimPending(worker="w7", keep_queues=frozenset({"default"}))
    (lease,) = harness.dispatch(asking).leases

    assert (lease.key.stage_id, lease.worker, lease.attempt, lease.epoch) == ("left", "w7", 1, 1)
    assert harness.statuses(run_id) == {"left": StageStatus.RUNNING, "right": StageStatus.READY}
    assert harness.execute(lease).repeated is False

    harness.start(flow, 1)
    other_queue = RunClaimPending(worker="w7", keep_queues=frozenset({"heavy"}))
    assert harness.dispatch(other_queue).leases == ()


def test_unreachable_store_is_told_apart_from_nothing_pending(make_harness: MakeHarness) -> None:
    """Claiming from a store that cannot be reached raises instead of claiming nothing."""
    harness = make_harness(line(1))
    failing = make_harness(line(1), plan=FaultPlan({2: Fault.FAIL_BEFORE}))
    harness.start(line(1), 1)

    with pytest.raises(StoreUnavailable):
        failing.admit()
