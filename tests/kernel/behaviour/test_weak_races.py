"""Workers that race, repeat, or come too late: what they do counts once or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from holdfast import Context, Pending, RunCancel, RunStatus, run_sync, stage, workflow
from holdfast.change import Change, Committed, Fence, Require, Step
from holdfast.commands.job_execute import JobExecute, JobExecuted
from holdfast.commands.job_heartbeat import Beat, JobHeartbeat
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.stage_poll_suspended import StagePollSuspended
from holdfast.decide.advance import advance
from holdfast.decide.fail import fail, retry
from holdfast.decide.release import release
from holdfast.decide.suspend import suspend
from holdfast.entities.definition import Polling
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageKey
from holdfast.errors import LeaseLost, StaleVersion
from holdfast.events import EventType, NewEvent
from holdfast.ports.work import LeaseRef
from holdfast.verdicts import JobOutcome
from tests.kernel.behaviour.flows import THRICE, Provider, batching, line
from tests.kernel.decide.made import sole
from tests.kernel.watching import LEASE_TTL, MakeHarness

PAYLOAD = Payload(text="99", digest="d", size=2)
FAILURE = Failure(code="STAGE_ERROR", message="too late", stage_id="batch")
BATCHING = batching()

#: Everything that the holder of a lease may write.
WRITES: dict[str, Callable[[Lease], Change]] = {
    "complete": lambda lease: advance(
        lease, definition=BATCHING.definition(), output=PAYLOAD, edge=sole(BATCHING.definition(), lease.key.stage_id)
    ),
    "fail": lambda lease: fail(lease, failure=FAILURE, definition=BATCHING.definition()),
    "retry": lambda lease: retry(lease, failure=FAILURE, delay=LEASE_TTL),
    "suspend": lambda lease: suspend(lease, polling=_polling(), state=PAYLOAD),
    "release": release,
    "progress": lambda lease: Change(
        run_id=lease.key.run_id,
        fence=Fence(key=lease.key, epoch=lease.epoch),
        step=Step(events=(NewEvent(type=EventType.STAGE_PROGRESS, key=lease.key),)),
    ),
}


def _polling() -> Polling:
    polling = BATCHING.definition().stages["batch"].polling
    assert polling is not None
    return polling


def test_weak_05_no_job_can_be_seen_before_its_claim_is_committed(make_harness: MakeHarness) -> None:
    """A worker that polls at the very moment of a claim finds no job yet, harms nothing, and gets it afterwards."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    key = StageKey(run_id=run_id, stage_id="s1")

    def poll_early() -> None:
        assert harness.lease() == []
        assert harness.deliver(key).outcome is JobOutcome.LOST

    harness.store.before_commit = poll_early
    harness.admit()
    assert harness.deliver(key).outcome is JobOutcome.COMPLETED
    assert harness.look(flow, run_id).output == 2


def test_weak_06_refused_change_set_does_not_spoil_its_neighbours(make_harness: MakeHarness) -> None:
    """When a run of a claimed batch was cancelled meanwhile, the others stand with everything that follows for them."""
    flow = line(1)
    harness = make_harness(flow)
    run_ids = [harness.start(flow, number) for number in range(5)]
    harness.store.before_commit = lambda: [harness.dispatch(RunCancel(run_id=run_ids[n])) for n in (0, 2, 4)]

    assert [one.run_id for one in harness.admit().claimed] == [run_ids[1], run_ids[3]]
    harness.drain()
    assert [harness.run_of(run_id).status for run_id in run_ids] == [
        RunStatus.CANCELLED,
        RunStatus.COMPLETED,
        RunStatus.CANCELLED,
        RunStatus.COMPLETED,
        RunStatus.CANCELLED,
    ]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("then", ["ready", "leased", "suspended", "completed"])
def test_weak_08_worker_that_lost_its_lease_writes_nothing(make_harness: MakeHarness, write: str, then: str) -> None:
    """A worker whose lease went elsewhere can neither settle nor touch the job, whatever became of that since."""
    harness = make_harness(BATCHING, services={Provider: Provider()})
    run_id = harness.start(BATCHING, 1)
    harness.admit()
    harness.execute(*harness.lease())
    (stale,) = harness.lease(worker="stale")
    harness.clock.advance(LEASE_TTL)
    harness.dispatch(LeaseReapStale())
    if then != "ready":
        (fresh,) = harness.lease(worker="fresh")
        assert fresh.epoch > stale.epoch
        if then != "leased":
            harness.execute(fresh)
        if then == "completed":
            harness.clock.advance("1m")
            harness.work_off()
    picture = harness.picture(run_id)

    (outcome,) = run_sync(harness.persistence.commit((WRITES[write](stale),)))
    assert isinstance(outcome, LeaseLost)
    assert harness.picture(run_id) == picture


def test_weak_08_worker_that_lost_its_lease_cannot_renew_the_new_one(make_harness: MakeHarness) -> None:
    """A late heartbeat is told that its lease is lost, moves no lease, and stores none of its progress."""
    flow = line(1, retry=THRICE)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (stale,) = harness.lease(worker="stale")
    harness.clock.advance(LEASE_TTL)
    harness.dispatch(LeaseReapStale())
    (fresh,) = harness.lease(worker="fresh")
    harness.clock.advance("1s")
    until = harness.stage(run_id, "s1").lease_until
    told = (NewEvent(type=EventType.STAGE_PROGRESS, key=stale.key, data={"done": 1}),)
    ref = LeaseRef(key=stale.key, epoch=stale.epoch)

    assert harness.dispatch(JobHeartbeat(beats=(Beat(lease=ref, events=told),))).lost == (ref,)
    assert harness.stage(run_id, "s1").lease_until == until
    assert "stage.progress" not in harness.kinds(run_id)
    assert harness.execute(stale).outcome is JobOutcome.LOST
    assert harness.execute(fresh).outcome is JobOutcome.COMPLETED


def test_weak_08_stale_attempt_does_not_overwrite_the_newer_ones_blob(make_harness: MakeHarness) -> None:
    """Artifacts of a stale attempt lie beside those of the newer one, whose outcome alone is visible."""

    @stage(retry=THRICE)
    async def write(_: int, ctx: Context) -> str:
        if ctx.attempt == 1:
            harness.clock.advance(LEASE_TTL)
            harness.dispatch(LeaseReapStale())
            harness.execute(*harness.lease(worker="fresh"))
        await ctx.save("report", f"attempt {ctx.attempt}")
        await ctx.save("same", "same")
        return f"attempt {ctx.attempt}"

    flow = workflow("writing", input=int, version="1").pipe(write)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()

    assert harness.execute(*harness.lease(worker="stale")).outcome is JobOutcome.LOST
    assert harness.look(flow, run_id).output == "attempt 2"
    report, same = run_sync(harness.persistence.list_artifacts(run_id))
    assert run_sync(harness.blob_store.get(report.blob)) == b'"attempt 2"'
    assert run_sync(harness.blob_store.get(same.blob)) == b'"same"'
    assert len(run_sync(harness.blob_store.list("", limit=9))) == 4


def test_weak_09_delivery_to_a_suspended_stage_does_not_execute_it(make_harness: MakeHarness) -> None:
    """A message for a stage that is SUSPENDED submits no second batch, and the first reference stays."""
    provider = Provider()
    harness = make_harness(BATCHING, services={Provider: provider})
    run_id = harness.start(BATCHING, 1)
    harness.admit()
    harness.work_off()
    key = StageKey(run_id=run_id, stage_id="batch")
    for _ in range(3):
        again = harness.deliver(key, worker="w2")
        assert (again.outcome, again.repeated) == (JobOutcome.SUSPENDED, True)
    harness.drain()

    assert provider.submitted == [2]
    assert provider.polled == ["batch-1"]
    assert harness.look(BATCHING, run_id).output == 4


def test_weak_09_poll_that_is_delivered_twice_asks_once(make_harness: MakeHarness) -> None:
    """While one host polls a stage, a message for it and another host's polls leave it alone."""

    class Slow(Provider):
        def ask(self, reference: str) -> int | Pending:
            assert harness.deliver(StageKey(run_id=run_id, stage_id="batch"), worker="w2").repeated is True
            assert harness.dispatch(StagePollSuspended(worker="w3")).checked == 0
            return super().ask(reference)  # type: ignore[no-any-return]  # the answer is what the test gave

    provider = Slow(5)
    harness = make_harness(BATCHING, services={Provider: provider})
    run_id = harness.start(BATCHING, 1)
    harness.admit()
    harness.work_off()
    harness.clock.advance("1m")

    assert harness.dispatch(StagePollSuspended(worker="w1")).resumed == 1
    assert provider.polled == ["batch-1"]


def test_run_that_changed_is_told_with_both_versions(make_harness: MakeHarness) -> None:
    """A change-set that expects another version of the run is refused and says which it expected and found."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    version = harness.run_of(run_id).version
    require = Require(statuses=frozenset({RunStatus.RUNNING}), version=version - 1)
    (outcome,) = run_sync(harness.persistence.commit((Change(run_id=run_id, require=require),)))

    assert isinstance(outcome, StaleVersion)
    assert str(version - 1) in outcome.expected
    assert str(version) in outcome.actual
    (outcome,) = run_sync(harness.persistence.commit((Change(run_id=run_id),)))
    assert isinstance(outcome, Committed)


def test_weak_31_parallel_stages_of_one_host_run_at_once(make_harness: MakeHarness) -> None:
    """Three stages of a group that one host executes in tasks of its own meet each other while they run."""
    barrier = asyncio.Barrier(3)

    @stage
    async def meet(number: int) -> int:
        async with asyncio.timeout(5):
            await barrier.wait()
        return number

    a, b, c = (meet.using(name=name) for name in "abc")
    flow = workflow("meeting", input=int, version="1").parallel(a, b, c)
    harness = make_harness(flow, ledger=None)
    run_id = harness.start(flow, 4)
    harness.admit()
    jobs = [JobExecute(job=lease.key, worker="w1", lease=lease) for lease in harness.lease(limit=3)]

    async def execute_all() -> list[JobExecuted]:
        return await asyncio.gather(*(harness.kernel.dispatch(job) for job in jobs))

    assert [one.outcome for one in asyncio.run(execute_all())] == [JobOutcome.COMPLETED] * 3
    assert harness.look(flow, run_id).output == (4, 4, 4)
