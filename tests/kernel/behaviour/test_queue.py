"""In which order jobs are handed out, to whom, and how often."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from holdfast import Context, Retry, RetryAfter, RunStatus, StageStatus, run_sync, stage, workflow
from holdfast.change import Change, Fence, Finish
from holdfast.entities.stage import StageKey
from holdfast.errors import LeaseLost, RunNotFound, StoreUnavailable
from holdfast.ports.persistence import Persistence
from tests.kernel.behaviour.flows import THRICE, Calls, flaky, line, step
from tests.kernel.watching import LEASE_TTL, MakeHarness


def test_parity_121_higher_priority_first_then_longest_due(make_harness: MakeHarness) -> None:
    """Jobs are handed out by priority, and first come first served within one."""
    flow = line(1)
    harness = make_harness(flow)
    low = harness.start(flow, 1, priority=1)
    harness.admit()
    harness.clock.advance("1s")
    older = harness.start(flow, 1)
    harness.admit()
    harness.clock.advance("1s")
    newer = harness.start(flow, 1)
    harness.admit()
    high = harness.start(flow, 1, priority=10)
    harness.admit()

    assert [harness.lease()[0].key.run_id for _ in range(4)] == [high, older, newer, low]
    assert harness.lease() == []


def test_parity_121_every_job_of_one_instant_is_handed_out_once(make_harness: MakeHarness) -> None:
    """Jobs that became due at the same instant are all handed out, none twice, whether one by one or many at once."""
    flow = line(1)
    harness = make_harness(flow)
    run_ids = {harness.start(flow, number) for number in range(20)}
    harness.admit()
    leases = [*harness.lease(limit=7), *harness.lease(), *harness.lease(limit=100)]

    assert len(leases) == 20
    assert {lease.key.run_id for lease in leases} == run_ids


def test_parity_122_job_that_is_not_due_is_not_handed_out(make_harness: MakeHarness) -> None:
    """A job that waits for its retry is passed over, whatever its priority, until its instant comes."""
    flow = workflow("flaky", input=int, version="1").pipe(flaky("a", failures=1))
    harness = make_harness(flow)
    urgent = harness.start(flow, 1, priority=100)
    harness.admit()
    harness.execute(*harness.lease())
    ordinary = harness.start(flow, 1, priority=1)
    harness.admit()

    assert harness.stage(urgent, "a").due_at == harness.clock.now() + timedelta(seconds=10)
    assert [lease.key.run_id for lease in harness.lease(limit=9)] == [ordinary]
    harness.clock.advance(timedelta(seconds=10) - timedelta(milliseconds=1))
    assert harness.lease(limit=9) == []
    harness.clock.advance("1ms")
    assert [lease.key.run_id for lease in harness.lease(limit=9)] == [urgent]


def test_parity_123_lease_says_who_executes_until_when(make_harness: MakeHarness) -> None:
    """A leased job is RUNNING with its worker, the end of its lease, and attempt 1 at the first delivery."""
    flow = line(1, retry=THRICE)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease(worker="w9")
    leased = harness.stage(run_id, "s1")

    assert (leased.status, leased.worker, leased.attempt) == (StageStatus.RUNNING, "w9", 1)
    assert (leased.started_at, leased.lease_until) == (harness.clock.now(), harness.clock.now() + LEASE_TTL)
    assert (leased.epoch, leased.due_at) == (lease.epoch, None)
    assert harness.events(run_id)[-1].data == {"attempt": 1, "worker": "w9"}


def test_parity_125_attempts_that_are_used_up_end_the_stage(make_harness: MakeHarness) -> None:
    """A stage whose attempts are used up is FAILED, even if its error asks for another one."""

    @stage(retry=Retry(2, backoff="fixed", base="1s", jitter=0))
    async def ask_again(_: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        raise RetryAfter("5s", "not now")

    flow = workflow("asking", input=int, version="1").pipe(ask_again)
    harness = make_harness(flow)
    began = harness.clock.now()
    ended = harness.run(flow, 1)

    assert ended.status is RunStatus.FAILED
    assert harness.calls.count("ask_again") == 2
    assert harness.clock.now() - began == timedelta(seconds=5)
    assert ended.failure is not None
    assert ended.failure.message == "not now"
    assert harness.lease() == []


def test_parity_126_completing_what_does_not_exist_is_refused(make_harness: MakeHarness) -> None:
    """A completion of an unknown run, an unknown job, or a job that was never leased is refused by name."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    never = StageKey(run_id=run_id, stage_id="s9")
    finish = Finish(status=StageStatus.COMPLETED)

    unknown = attrs.evolve(lease, key=StageKey(run_id="unknown", stage_id="s1"))
    changes = [Change(run_id=key.run_id, fence=Fence(key=key, epoch=1), settle=finish) for key in (unknown.key, never)]
    outcomes = run_sync(harness.persistence.commit(changes))
    assert [type(outcome) for outcome in outcomes] == [RunNotFound, LeaseLost]
    assert "s9" in str(outcomes[1])
    assert run_sync(harness.transport.release(unknown)) is False


def test_parity_127_store_that_cannot_be_reached_never_looks_empty(
    make_harness: MakeHarness, store: Persistence
) -> None:
    """Asking a closed store for jobs, or for one of them, raises instead of finding none."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    key = StageKey(run_id=run_id, stage_id="s1")
    run_sync(store.close())

    with pytest.raises(StoreUnavailable):
        harness.lease()
    with pytest.raises(StoreUnavailable):
        harness.deliver(key)


def test_job_goes_to_workers_that_serve_its_queue(make_harness: MakeHarness) -> None:
    """A stage with a queue of its own is leased by workers of that queue only."""

    @stage(queue="heavy")
    async def lift(number: int) -> int:
        return number

    flow = workflow("lifting", input=int, version="1").pipe(step("a")).pipe(lift)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())

    assert harness.lease() == []
    assert harness.deliver(StageKey(run_id=run_id, stage_id="lift")).repeated is False
    assert harness.run_of(run_id).status is RunStatus.COMPLETED


def test_retry_waits_as_its_policy_says(make_harness: MakeHarness) -> None:
    """Attempts are apart by the policy's backoff, each with an event that names the delay."""
    retry = Retry(4, base="1s", cap="3s", jitter=0)
    flow = workflow("backing", input=int, version="1").pipe(flaky("a", failures=3, retry=retry))
    harness = make_harness(flow)
    began = harness.clock.now()
    ended = harness.run(flow, 1)

    delays = [event.data["delaySeconds"] for event in ended.events if event.type.value == "stage.retrying"]
    assert delays == [1.0, 2.0, 3.0]
    assert harness.clock.now() - began == timedelta(seconds=6)
    assert ended.output == 2
