"""How a run that ended is done again from one of its stages."""

from __future__ import annotations

import pytest

from holdfast import Context, RunCancel, RunRerunFrom, RunStatus, StageStatus, run_sync, stage, workflow
from holdfast.commands.run_rerun_from import RunRerunFromResult
from holdfast.entities.stage import StageInstance, StageKey
from holdfast.errors import IllegalTransition, InvalidInput, RunNotFound, UnknownStage
from tests.kernel.behaviour.flows import ONCE, Calls, diamond, flaky, line, step
from tests.kernel.watching import MANY, MakeHarness, WatchedHarness


def rerun(harness: WatchedHarness, run_id: str, stage_id: str) -> RunRerunFromResult:
    """Dispatch run.rerunFrom."""
    return harness.dispatch(RunRerunFrom(run_id=run_id, from_stage_id=stage_id))


def instances(harness: WatchedHarness, run_id: str) -> dict[StageKey, StageInstance]:
    """Return every stage instance of the run, superseded ones too."""
    return {stage.key: stage for stage in run_sync(harness.persistence.list_stages(run_id))}


def test_parity_077_rerun_does_the_stage_and_those_behind_it_again(make_harness: MakeHarness) -> None:
    """A rerun from the third of four stages supersedes the third and fourth, readies the third, and keeps the rest."""
    flow = line(4)
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id
    before = instances(harness, run_id)
    result = rerun(harness, run_id, "s3")

    assert result == RunRerunFromResult(run_id=run_id, from_stage_id="s3", generation=2, superseded=("s3", "s4"))
    after = instances(harness, run_id)
    for key, instance in before.items():
        again = key.stage_id in {"s3", "s4"}
        assert after[key].superseded is again
        assert after[key].output == instance.output
        assert after[key].status is StageStatus.COMPLETED
    assert after.keys() - before.keys() == {StageKey(run_id=run_id, stage_id="s3", generation=2)}
    assert harness.stage(run_id, "s3", generation=2).status is StageStatus.READY
    assert harness.run_of(run_id).status is RunStatus.RUNNING

    harness.drain()
    assert harness.look(flow, run_id).output == 5
    assert harness.calls.names == ["s1", "s2", "s3", "s4", "s3", "s4"]


def test_parity_078_rerun_from_the_first_stage_uses_the_input_of_the_run(make_harness: MakeHarness) -> None:
    """A rerun from the first stage supersedes everything, readies the entry group only, and begins with the input."""
    flow = line(3)
    harness = make_harness(flow)
    run_id = harness.run(flow, 40).run.id

    assert rerun(harness, run_id, "s1").superseded == ("s1", "s2", "s3")
    snapshot = run_sync(harness.persistence.find_snapshot(run_id))
    assert snapshot is not None
    assert [instance.key.stage_id for instance in snapshot.stages] == ["s1"]
    harness.drain()
    assert harness.look(flow, run_id).output == 43


def test_parity_079_rerun_clears_how_the_run_ended(make_harness: MakeHarness) -> None:
    """A run that is rerun has no output, failure or end any more, and began when the rerun did."""
    flow = workflow("failing", input=int, version="1").pipe(flaky("a", failures=9, retry=ONCE))
    harness = make_harness(flow, line(1))
    failed, completed = harness.run(flow, 1).run.id, harness.run(line(1), 1).run.id
    assert harness.run_of(failed).failure is not None
    assert harness.run_of(completed).output_of == ("s1",)
    harness.clock.advance("1d")
    rerun(harness, failed, "a")
    rerun(harness, completed, "s1")

    for run_id in (failed, completed):
        run = harness.run_of(run_id)
        assert (run.status, run.failure, run.output_of, run.finished_at) == (RunStatus.RUNNING, None, (), None)
        assert run.started_at == harness.clock.now()
    assert harness.look(line(1), completed).output is None


def test_parity_080_rerun_of_a_failed_run_uses_what_was_completed(make_harness: MakeHarness) -> None:
    """A failed run that is rerun from its failed stage executes nothing again that was completed."""

    @stage(retry=ONCE)
    async def mended(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        if ctx.generation == 1:
            raise RuntimeError("not yet")
        return number * 10

    flow = workflow("mending", input=int, version="1").pipe(step("a")).pipe(step("b")).pipe(mended).pipe(step("c"))
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id
    assert harness.run_of(run_id).status is RunStatus.FAILED
    rerun(harness, run_id, "mended")
    harness.drain()

    assert harness.look(flow, run_id).output == 31
    assert harness.calls.names == ["a", "b", "mended", "mended", "c"]


def test_parity_081_rerun_from_where_it_cannot_begin_is_refused(make_harness: MakeHarness) -> None:
    """A rerun from an unknown stage, or behind stages that never completed, is refused and changes nothing."""
    flow = workflow("short", input=int, version="1").pipe(flaky("a", failures=9, retry=ONCE)).pipe(step("b"))
    harness = make_harness(flow)
    ended = harness.run(flow, 1)

    with pytest.raises(UnknownStage, match='no stage "z"'):
        rerun(harness, ended.run.id, "z")
    with pytest.raises(IllegalTransition, match="never completed: a"):
        rerun(harness, ended.run.id, "b")
    with pytest.raises(RunNotFound):
        rerun(harness, "unknown", "a")
    assert harness.look(flow, ended.run.id) == ended


def test_rerun_of_a_run_that_has_not_ended_is_refused(make_harness: MakeHarness) -> None:
    """A pending or running run is not rerun; a cancelled one is."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    for _ in range(2):
        with pytest.raises(IllegalTransition, match="Cancel it first"):
            rerun(harness, run_id, "s1")
        harness.admit()
    harness.dispatch(RunCancel(run_id=run_id))
    rerun(harness, run_id, "s1")
    harness.drain()

    assert harness.look(flow, run_id).output == 3


def test_parity_082_every_rerun_raises_the_generation_by_one(make_harness: MakeHarness) -> None:
    """Each rerun makes instances of the next generation, whose attempts count from one again."""
    flow = workflow("often", input=int, version="1").pipe(flaky("a", failures=1)).pipe(step("b"))
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id
    for generation in (2, 3, 4):
        assert rerun(harness, run_id, "a").generation == generation
        assert harness.stage(run_id, "a", generation=generation).attempt == 0
        harness.drain()
        assert harness.stage(run_id, "a", generation=generation).attempt == 2
        assert harness.stage(run_id, "b", generation=generation).attempt == 1
        assert harness.run_of(run_id).generation == generation


def test_parity_083_annotations_survive_a_rerun(make_harness: MakeHarness) -> None:
    """Annotations of an earlier generation stay with it, and new ones carry the new one, downstream too."""

    @stage
    async def sign(number: int, ctx: Context) -> int:
        ctx.annotate("signed", f"{ctx.stage_id} {ctx.generation}")
        return number

    flow = workflow("signing", input=int, version="1").pipe(sign.using(name="a")).pipe(sign.using(name="b"))
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id
    rerun(harness, run_id, "a")
    harness.drain()

    notes = run_sync(harness.persistence.list_annotations(run_id, limit=MANY))
    assert [note.value for note in notes] == ["a 1", "b 1", "a 2", "b 2"]
    for note in notes:
        assert note.key is not None
        assert note.value == f"{note.key.stage_id} {note.key.generation}"
        assert note.attempt == 1


def test_rerun_from_a_member_does_its_whole_group_again(make_harness: MakeHarness) -> None:
    """A rerun from one member of a parallel group does the group again, and its join waits for all of it."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id

    assert rerun(harness, run_id, "right").superseded == ("left", "right", "total")
    harness.execute(*harness.lease())
    assert harness.statuses(run_id)["total"] is StageStatus.COMPLETED
    assert harness.run_of(run_id).status is RunStatus.RUNNING
    harness.drain()
    assert harness.look(flow, run_id).output == 6
    assert harness.calls.count("first") == 1


def test_rerun_that_comes_second_finds_the_run_running(make_harness: MakeHarness) -> None:
    """Of two reruns at once one stands, and the other is refused because the run is RUNNING."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id
    harness.store.before_commit = lambda: rerun(harness, run_id, "s2")

    with pytest.raises(IllegalTransition, match="RUNNING"):
        rerun(harness, run_id, "s1")
    assert harness.run_of(run_id).generation == 2
    assert [lease.key.stage_id for lease in harness.lease(limit=9)] == ["s2"]


def test_key_that_not_every_store_can_hold_is_refused(make_harness: MakeHarness) -> None:
    """An empty idempotency key is refused before anything changes."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.run(flow, 1).run.id

    with pytest.raises(InvalidInput):
        harness.dispatch(RunRerunFrom(run_id=run_id, from_stage_id="s1", idempotency_key=""))
