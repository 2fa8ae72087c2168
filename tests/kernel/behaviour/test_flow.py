"""How data and order flow through the stages of a run."""

from __future__ import annotations

from datetime import timedelta

from holdfast import Context, Flow, RunStatus, StageStatus, stage, workflow
from holdfast.driving import run_sync
from holdfast_testing.clock import FakeClock
from tests.kernel.behaviour.flows import Calls, diamond, line, pair, step
from tests.kernel.watching import MANY, MakeHarness


def test_parity_031_input_is_the_output_of_the_stage_before(make_harness: MakeHarness) -> None:
    """A stage is called with what the stage before it returned, the first one with the run's input."""
    inputs: list[int] = []

    @stage
    async def double(number: int) -> int:
        inputs.append(number)
        return number * 2

    flow = workflow("doubling", input=int, version="1").pipe(double.using(name="a")).pipe(double.using(name="b"))

    assert make_harness(flow).run(flow, 5).output == 20
    assert inputs == [5, 10]


def test_parity_032_stage_behind_a_group_gets_every_member(make_harness: MakeHarness) -> None:
    """A stage behind a parallel group takes all outputs in order, and finds each by its stage in the context."""
    small = step("small")

    @stage
    async def grow(number: int) -> int:
        return number * 100

    @stage
    async def join(parts: tuple[int, int], ctx: Context) -> list[object]:
        return [parts, ctx.output(small), ctx.require("grow")]

    flow = workflow("joining", input=int, version="1").parallel(small, grow).pipe(join)

    assert make_harness(flow).run(flow, 7).output == [[8, 700], 8, 700]


def test_parity_033_each_stage_sees_all_outputs_before_it(make_harness: MakeHarness) -> None:
    """In a line of five whose stages need all earlier ones, they see no, one, two, three and four outputs."""
    ids = [f"n{number}" for number in range(5)]
    seen: list[int] = []

    async def count(number: int, ctx: Context) -> int:
        seen.append(sum(ctx.optional(stage_id) is not None for stage_id in ids))
        return number

    flow: Flow[int, int] = workflow("counting", input=int, version="1").pipe(stage(name="n0")(count))
    for number in range(1, 5):
        flow = flow.pipe(stage(name=ids[number], needs=ids[:number])(count))

    make_harness(flow).run(flow, 1)

    assert seen == [0, 1, 2, 3, 4]


def test_parity_034_late_stage_reads_any_earlier_one(make_harness: MakeHarness) -> None:
    """A stage reads the output of any earlier stage that it needs, not only of the one before it."""
    first = step("s0")

    @stage(needs=[first])
    async def look_back(number: int, ctx: Context) -> tuple[int, int]:
        return number, ctx.output(first)

    flow = workflow("far", input=int, version="1").pipe(first).pipe(step("s1")).pipe(step("s2")).pipe(look_back)

    assert make_harness(flow).run(flow, 0).output == (3, 1)


def test_parity_035_long_line_executes_each_stage_once_in_order(make_harness: MakeHarness) -> None:
    """Seven stages in a line are executed once each, in order, and the run completes."""
    flow = line(7)
    harness = make_harness(flow)
    ended = harness.run(flow, 0)

    assert ended.status is RunStatus.COMPLETED
    assert ended.output == 7
    assert harness.calls.names == ["s1", "s2", "s3", "s4", "s5", "s6", "s7"]


def test_parity_036_group_begins_after_what_is_before_and_ends_before_what_follows(make_harness: MakeHarness) -> None:
    """No member of a group is ready before the stage in front of it completed, and what follows waits for all."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    assert harness.statuses(run_id) == {"first": StageStatus.READY}
    harness.execute(*harness.lease())

    members = harness.lease(limit=9)
    assert {lease.key.stage_id for lease in members} == {"left", "right"}
    harness.execute(members[0])
    assert harness.lease(limit=9) == []
    harness.execute(members[1])
    assert [lease.key.stage_id for lease in harness.lease(limit=9)] == ["total"]


def test_parity_037_output_of_the_run_is_that_of_its_last_stage(make_harness: MakeHarness) -> None:
    """A run's output is its last stage's; behind a parallel last group it is a tuple in definition order."""
    lined, paired = line(2), pair()
    harness = make_harness(lined, paired)

    assert harness.run(lined, 0).output == 2
    ended = harness.run(paired, 5)
    assert ended.output == (6, 6)
    assert ended.run.output_of == ("left", "right")


def test_parity_038_finished_instants_and_durations_are_kept(make_harness: MakeHarness) -> None:
    """A completed run and its stages say when they began and ended, by the store's clock."""

    @stage
    async def take_long(number: int, ctx: Context) -> int:
        ctx.services[FakeClock].advance("5s")
        return number

    flow = workflow("slow", input=int, version="1").pipe(take_long).pipe(take_long.using(name="again"))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.clock.advance("1h")
    harness.drain()
    ended = harness.look(flow, run_id)

    assert ended.run.started_at is not None
    assert ended.run.finished_at is not None
    assert ended.run.started_at - ended.run.created_at == timedelta(hours=1)
    assert ended.run.finished_at - ended.run.started_at == timedelta(seconds=10)
    for instance in ended.stages:
        assert instance.started_at is not None
        assert instance.finished_at is not None
        assert instance.finished_at - instance.started_at == timedelta(seconds=5)


def test_parity_040_every_artifact_is_a_blob_of_its_own(make_harness: MakeHarness) -> None:
    """Each artifact of a stage is stored as a blob of its own, beside the output."""

    @stage
    async def draw(_: int, ctx: Context) -> str:
        ctx.services[Calls].note(ctx)
        await ctx.save("picture", b"\x89PNG")
        await ctx.save("caption", {"text": "a rock"})
        return "drawn"

    flow = workflow("drawing", input=int, version="1").pipe(draw)
    harness = make_harness(flow)
    ended = harness.run(flow, 1)

    artifacts = run_sync(harness.persistence.list_artifacts(ended.run.id))
    assert [(one.name, one.media_type) for one in artifacts] == [
        ("caption", "application/json"),
        ("picture", "application/octet-stream"),
    ]
    assert {one.blob for one in artifacts} == set(run_sync(harness.blob_store.list("", limit=MANY)))
    assert run_sync(harness.blob_store.get(artifacts[1].blob)) == b"\x89PNG"
    assert ended.output == "drawn"
