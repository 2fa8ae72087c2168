"""Functions that undo: how they are called, what they may do, and what they undo of maps, choices and reruns."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast import Context, Flow, NeverRetry, RunStatus, stage, workflow
from holdfast.authoring.branching import otherwise, when
from holdfast.errors import IllegalTransition
from holdfast.events import EventType
from tests.kernel.behaviour.flows import ONCE
from tests.kernel.behaviour.sagas import TRIP, World, bang, deed, line
from tests.kernel.watching import MakeHarness


@pytest.fixture
def world() -> World:
    """Return the world."""
    return World()


def test_undoing_goes_under_the_key_of_the_deed(make_harness: MakeHarness, world: World) -> None:
    """The function that undoes sees the idempotency key under which its stage acted."""
    world.failing["bang"] = 1
    make_harness(TRIP, services={World: world}).run(TRIP, 1)
    for name in ("flight", "hotel", "car"):
        assert world.keys[f"undo {name}"] == world.keys[name]


def test_sync_function_undoes_as_well(make_harness: MakeHarness) -> None:
    """A plain function of the output alone is called like an async one with the context."""
    undone: list[object] = []

    @stage(compensate=undone.append)
    def book(number: int) -> dict[str, int]:
        return {"booking": number}

    @stage(retry=ONCE)
    def fail(booking: dict[str, int]) -> int:
        raise ConnectionError("no")

    flow = workflow("sync", input=int, version="1", compensate=True).pipe(book).pipe(fail)
    ended = make_harness(flow).run(flow, 7)
    assert ended.status is RunStatus.FAILED
    assert undone == [{"booking": 7}]


def test_steps_inside_of_compensations_do_not_mix(make_harness: MakeHarness) -> None:
    """Two stages that are undone by one function each have their own checkpoints in it."""
    refunded: list[str] = []

    async def refund(output: str, ctx: Context) -> None:
        await ctx.once("refund", refunded.append, output)

    @stage(name="first", compensate=refund)
    async def pay(text: str) -> str:
        return f"{text}!"

    @stage(retry=ONCE)
    async def fail(text: str) -> str:
        raise ConnectionError("no")

    second = stage(name="second", compensate=refund)(_shouted)
    flow = workflow("paid", input=str, version="1", compensate=True).pipe(pay).pipe(second).pipe(fail)
    make_harness(flow).run(flow, "a")
    assert refunded == ["a!!", "a!"]


async def _shouted(text: str) -> str:
    return f"{text}!"


def test_compensation_may_sleep(make_harness: MakeHarness) -> None:
    """A function that waits for its time gives its worker back like a stage does."""
    undone: list[str] = []

    async def later(output: int, ctx: Context) -> None:
        await ctx.sleep("cooling", "1h")
        undone.append(ctx.stage_id)

    @stage(name="first", compensate=later)
    async def do(number: int) -> int:
        return number

    @stage(retry=ONCE)
    async def fail(number: int) -> int:
        raise ConnectionError("no")

    second = stage(name="second", compensate=later)(_same)
    flow = workflow("cooling", input=int, version="1", compensate=True).pipe(do).pipe(second).pipe(fail)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.drain(until=timedelta(minutes=59))
    assert (undone, harness.lease()) == ([], [])
    assert harness.run_of(run_id).status is RunStatus.COMPENSATING
    began = harness.clock.monotonic()
    harness.drain()
    assert undone == ["second", "first"]
    assert harness.clock.monotonic() - began >= 3600
    assert harness.run_of(run_id).status is RunStatus.FAILED


async def _same(number: int) -> int:
    return number


def test_items_of_a_map_are_undone_each(make_harness: MakeHarness, world: World) -> None:
    """Every completed instance is undone, those of a map one by one, the last first."""
    flow = (
        workflow("many", input=list[int], version="1", compensate=True)
        .map(deed("seat"), limit=1)
        .pipe(stage(name="fail", retry=ONCE)(_fails))
    )
    ended = make_harness(flow, services={World: world}).run(flow, [10, 20, 30])
    assert ended.status is RunStatus.FAILED
    assert world.done[3:] == ["undo seat 31", "undo seat 21", "undo seat 11"]


async def _fails(numbers: list[int]) -> int:
    raise ConnectionError("no")


def test_run_that_is_stranded_waits_for_a_fix_instead(make_harness: MakeHarness, world: World) -> None:
    """When no edge can be chosen nothing is undone: after a fix the run goes on from there."""
    flow = line(deed("flight")).branch(
        when(lambda number: number > 0, deed("hotel")),
        when(lambda number: number > 1, deed("car")),
        otherwise(bang),
    )
    ended = make_harness(flow, services={World: world}).run(flow, 1)
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "AMBIGUOUS_EDGE"
    assert world.done == ["flight"]


def test_undone_run_is_rerun_from_its_beginning_only(make_harness: MakeHarness, world: World) -> None:
    """What was undone cannot be kept by a rerun; from the first stage everything is done, and undone, anew."""
    world.failing["bang"] = 2
    harness = make_harness(TRIP, services={World: world})
    ended = harness.run(TRIP, 1)
    with pytest.raises(IllegalTransition, match="undone"):
        harness.rerun(ended.run.id, "car")
    harness.rerun(ended.run.id, "flight")
    harness.drain()
    assert harness.run_of(ended.run.id).status is RunStatus.FAILED
    once = ["flight", "hotel", "car", "undo car 4", "undo hotel 3", "undo flight 2"]
    assert world.done == once * 2
    harness.rerun(ended.run.id, "flight")
    harness.drain()
    assert harness.run_of(ended.run.id).status is RunStatus.COMPLETED


def test_run_without_compensate_is_not_undone(make_harness: MakeHarness, world: World) -> None:
    """A workflow that does not ask for it just fails; a stage with `compensate` there is refused when it is built."""
    flow = workflow("plain", input=int, version="1").pipe(bang)
    world.failing["bang"] = 1
    ended = make_harness(flow, services={World: world}).run(flow, 1)
    assert EventType.RUN_COMPENSATING not in [event.type for event in ended.events]


def test_broken_compensation_does_not_hide_its_error(make_harness: MakeHarness) -> None:
    """A compensation that always raises is told with its own words, and is not tried again if it says so."""
    calls: list[int] = []

    def undo(output: int) -> None:
        calls.append(output)
        raise NeverRetry("the partner is gone")

    @stage(compensate=undo)
    async def do(number: int) -> int:
        return number

    flow: Flow[int, Any] = (
        workflow("broken", input=int, version="1", compensate=True).pipe(do).pipe(stage(name="fail", retry=ONCE)(_no))
    )
    ended = make_harness(flow).run(flow, 1)
    assert ended.failure is not None
    assert ended.failure.code == "COMPENSATION_FAILED"
    assert "the partner is gone" in ended.failure.message
    assert calls == [1]


async def _no(number: int) -> int:
    raise ConnectionError("no")
