"""What every store keeps, refuses and orders, as far as a run can tell."""

from __future__ import annotations

import threading

import attrs
import pytest

from holdfast import (
    Context,
    RunCancel,
    RunCreate,
    RunPause,
    RunRerunFrom,
    RunStatus,
    StageStatus,
    run_sync,
    stage,
    workflow,
)
from holdfast.change import Change, Committed, Fence, Finish, Require, Step
from holdfast.commands.job_heartbeat import Beat, JobHeartbeat
from holdfast.entities.run import LIVE_RUN
from holdfast.entities.stage import StageKey
from holdfast.errors import RunNotFound, StaleVersion
from holdfast.events import EventType, NewEvent
from holdfast.ports.queries import RunFilter
from holdfast.ports.work import LeaseRef
from holdfast_testing.sinks import CollectingSink
from tests.kernel.behaviour.flows import Provider, batching, diamond, flaky, line
from tests.kernel.watching import MANY, MakeHarness


def test_parity_149_run_gets_an_id_and_unknown_ids_find_nothing(make_harness: MakeHarness) -> None:
    """A created run has an id of its own; an unknown id finds nothing, and a change of it is refused."""
    harness = make_harness(line(1))
    first, second = harness.start(line(1), 1), harness.start(line(1), 1)
    store, key = harness.persistence, StageKey(run_id="unknown", stage_id="s1")

    assert first < second
    assert run_sync(store.find_run("unknown")) is None
    assert run_sync(store.find_snapshot("unknown")) is None
    assert run_sync(store.find_stage(key)) is None
    assert run_sync(store.get_outputs("unknown", ["s1"])) == {}
    (outcome,) = run_sync(store.commit((Change(run_id="unknown"),)))
    assert isinstance(outcome, RunNotFound)
    with pytest.raises(RunNotFound, match="unknown"):
        harness.look(line(1), "unknown")


def test_parity_150_every_change_raises_the_version_by_one(make_harness: MakeHarness) -> None:
    """Creation, admission, lease and completion raise the run's version by one each; a wrong one is told with both."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    versions = [harness.run_of(run_id).version]
    harness.admit()
    versions.append(harness.run_of(run_id).version)
    (lease,) = harness.lease()
    versions.append(harness.run_of(run_id).version)
    harness.execute(lease)
    versions.append(harness.run_of(run_id).version)
    assert versions == [1, 2, 3, 4]

    stale = Require(statuses=LIVE_RUN, version=3)
    (outcome,) = run_sync(harness.persistence.commit((Change(run_id=run_id, require=stale),)))
    assert isinstance(outcome, StaleVersion)
    assert "3" in outcome.expected
    assert "4" in outcome.actual
    assert harness.run_of(run_id).version == 4


def test_parity_151_change_leaves_alone_what_it_does_not_name(make_harness: MakeHarness) -> None:
    """A change that only tells progress changes the run's version and number of events, and nothing else."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1, priority=7, config={"s1": {}}, idempotency_key="k")
    harness.admit()
    (lease,) = harness.lease()
    before, stages = harness.run_of(run_id), run_sync(harness.persistence.list_stages(run_id))
    told = NewEvent(type=EventType.STAGE_PROGRESS, key=lease.key, data={"done": 1})
    beat = Beat(lease=LeaseRef(key=lease.key, epoch=lease.epoch), events=(told,))
    harness.dispatch(JobHeartbeat(beats=(beat,)))

    after = harness.run_of(run_id)
    assert after == attrs.evolve(before, version=before.version + 1, events=before.events + 1)
    assert run_sync(harness.persistence.list_stages(run_id)) == stages


def test_parity_152_stages_are_listed_in_order(make_harness: MakeHarness) -> None:
    """Stage instances are listed in order of their start, parallel ones by key, and a snapshot has them by key."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    for _ in range(4):
        harness.execute(*harness.lease())
        harness.clock.advance("1s")

    listed = [one.key.stage_id for one in run_sync(harness.persistence.list_stages(run_id))]
    assert listed == ["first", "left", "right", "total"]
    snapshot = run_sync(harness.persistence.find_snapshot(run_id))
    assert snapshot is not None
    assert [one.key for one in snapshot.stages] == sorted(one.key for one in snapshot.stages)


def test_parity_153_suspended_stage_is_not_due_before_its_poll(make_harness: MakeHarness) -> None:
    """A suspended stage is handed out when its poll is due and not an instant before."""
    harness = make_harness(batching(), services={Provider: Provider()})
    harness.start(batching(), 1)
    harness.admit()
    harness.work_off()
    suspended = frozenset({StageStatus.SUSPENDED})
    harness.clock.advance("59s")
    assert harness.lease(statuses=suspended) == []
    harness.clock.advance("1s")

    assert harness.lease(statuses=frozenset({StageStatus.READY})) == []
    (lease,) = harness.lease(statuses=suspended)
    assert lease.status is StageStatus.SUSPENDED
    assert harness.lease(statuses=suspended) == []


def test_parity_154_annotations_outlive_the_instances_they_are_about(make_harness: MakeHarness) -> None:
    """Annotations, logs and artifacts of an instance that a rerun superseded are still there."""

    @stage
    async def note(number: int, ctx: Context) -> int:
        ctx.annotate("generation", ctx.generation, actor="tester")
        ctx.log("noted", generation=ctx.generation)
        await ctx.save(f"report {ctx.generation}", number)
        return number

    flow = workflow("noting", input=int, version="1").pipe(note)
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id
    harness.dispatch(RunRerunFrom(run_id=run_id, from_stage_id="note"))
    harness.drain()

    store = harness.persistence
    notes = run_sync(store.list_annotations(run_id, limit=MANY))
    keys = [StageKey(run_id=run_id, stage_id="note", generation=generation) for generation in (1, 2)]
    assert [(one.key, one.value, one.actor) for one in notes] == [(keys[0], 1, "tester"), (keys[1], 2, "tester")]
    assert [one.data for one in run_sync(store.list_logs(run_id, limit=MANY))] == [{"generation": 1}, {"generation": 2}]
    assert [one.name for one in run_sync(store.list_artifacts(run_id))] == ["report 1", "report 2"]
    assert harness.stage(run_id, "note").superseded is True


def test_parity_155_events_of_writers_at_once_are_numbered_without_gaps(make_harness: MakeHarness) -> None:
    """Eight threads that append events to one run at the same time get numbers that neither collide nor leave gaps."""
    flow = line(1)
    harness = make_harness(flow, ledger=None)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    barrier = threading.Barrier(8)

    def append(thread: int) -> None:
        barrier.wait(5)
        for number in range(20):
            event = NewEvent(type=EventType.STAGE_PROGRESS, key=lease.key, data={"thread": thread, "number": number})
            fence = Fence(key=lease.key, epoch=lease.epoch)
            (outcome,) = run_sync(
                harness.persistence.commit((Change(run_id=run_id, fence=fence, step=Step(events=(event,))),))
            )
            assert isinstance(outcome, Committed)

    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    events = harness.events(run_id)
    assert [event.number for event in events] == list(range(1, 4 + 160 + 1))
    for thread_number in range(8):
        told = [event.data["number"] for event in events if event.data.get("thread") == thread_number]
        assert told == list(range(20))
    assert harness.run_of(run_id).version == 3 + 160


def unbook(number: int) -> None:
    """Undo it."""


@stage(compensate=unbook)
async def booked(number: int) -> int:
    """Do something that can be undone."""
    return number


@pytest.mark.parametrize("status", RunStatus)
def test_parity_156_every_run_status_comes_back(make_harness: MakeHarness, status: RunStatus) -> None:
    """A run in any status is found, listed and counted in that status."""
    bad = workflow("bad", input=int, version="1").pipe(flaky("a", failures=9))
    idle = workflow("idle", input=int, version="1").wait_for("flag", bool)
    undone = workflow("undone", input=int, version="1", compensate=True).pipe(booked)
    harness = make_harness(line(1), bad, idle, undone, ledger=None)
    flows = {RunStatus.FAILED: bad, RunStatus.WAITING: idle, RunStatus.COMPENSATING: undone}
    run_id = harness.start(flows.get(status, line(1)), 1)
    if status in {RunStatus.COMPLETED, RunStatus.FAILED}:
        harness.drain()
    elif status is RunStatus.CANCELLED:
        harness.dispatch(RunCancel(run_id=run_id))
    elif status is not RunStatus.PENDING:
        harness.admit()
    if status is RunStatus.PAUSED:
        harness.dispatch(RunPause(run_id=run_id))
    elif status is RunStatus.COMPENSATING:
        harness.dispatch(RunCancel(run_id=run_id))

    assert harness.run_of(run_id).status is status
    found = run_sync(harness.persistence.list_runs(RunFilter(statuses=frozenset({status})), limit=9))
    assert [run.id for run in found] == [run_id]
    assert run_sync(harness.persistence.count()).runs == {status: 1}


@pytest.mark.parametrize("status", [status for status in StageStatus if status.is_terminal])
def test_parity_156_every_final_stage_status_comes_back(make_harness: MakeHarness, status: StageStatus) -> None:
    """A stage instance that ended in any status is found in that status."""
    harness = make_harness(line(1), ledger=None)
    run_id = harness.start(line(1), 1)
    harness.admit()
    (lease,) = harness.lease()
    ended = Change(run_id=run_id, fence=Fence(key=lease.key, epoch=lease.epoch), settle=Finish(status=status))
    assert isinstance(run_sync(harness.persistence.commit((ended,)))[0], Committed)

    assert harness.stage(run_id, "s1").status is status


def test_parity_158_workflow_completes_on_every_store(make_harness: MakeHarness) -> None:
    """Two stages complete, their events reach the sink, and the repeated creation gives the same run."""
    sink = CollectingSink()
    flow = line(2)
    harness = make_harness(flow, event_sink=sink)
    command = RunCreate(workflow_id="line", input=1, idempotency_key="k")
    created = harness.dispatch(command)
    harness.drain()
    ended = harness.look(flow, created.run_id)

    assert (ended.status, ended.output) == (RunStatus.COMPLETED, 3)
    assert sink.events == list(ended.events)
    assert harness.dispatch(command) == created
    assert len(run_sync(harness.persistence.list_runs(RunFilter(), limit=9))) == 1
