"""Compensation: what completed stages did is undone, the latest first, when a run fails or is cancelled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast import Context, Flow, NeverRetry, Retry, RunStatus, Stage, StageStatus, run_sync, stage, workflow
from holdfast.authoring.branching import otherwise, when
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.run_resume import RunResume
from holdfast.errors import IllegalTransition
from holdfast.events import EventType
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from tests.kernel.behaviour.flows import ONCE
from tests.kernel.watching import MakeHarness, WatchedHarness


class World:
    """What stages did and what was undone, in order; breaks off at what it is told."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.keys: dict[str, str] = {}
        #: By name of a deed, how often it is still to fail.
        self.failing: dict[str, int] = {}

    def do(self, name: str) -> None:
        """Do something, or break off before it is done."""
        left = self.failing.get(name, 0)
        if left:
            self.failing[name] = left - 1
            raise ConnectionError(f"{name} broke off")
        self.done.append(name)


@pytest.fixture
def world() -> World:
    """Return the world."""
    return World()


def deed(name: str, *, retry: Retry = ONCE, timeout: str | None = None) -> Stage[int, int]:
    """Return a stage that does something, adds one, and can be undone."""

    async def undo(output: int, ctx: Context) -> None:
        ctx.services[World].do(f"undo {name} {output}")
        ctx.services[World].keys[f"undo {name}"] = ctx.idempotency_key

    @stage(name=name, retry=retry, timeout=timeout, compensate=undo)
    async def do(number: int, ctx: Context) -> int:
        ctx.services[World].do(name)
        ctx.services[World].keys[name] = ctx.idempotency_key
        return number + 1

    return do


@stage(retry=ONCE)
async def bang(number: int, ctx: Context) -> int:
    """Do what cannot be undone."""
    ctx.services[World].do("bang")
    return number


def line(*stages: Stage[int, int], timeout: str | None = None) -> Flow[int, int]:
    """Return a workflow that is undone when it does not end well."""
    flow: Flow[int, int] = workflow("saga", input=int, version="1", compensate=True, timeout=timeout)
    for one in stages:
        flow = flow.pipe(one)
    return flow


TRIP = line(deed("flight"), deed("hotel"), deed("car"), bang)


def test_completed_stages_are_undone_in_reverse_when_the_run_fails(make_harness: MakeHarness, world: World) -> None:
    """The latest is undone first, with its own output; what failed or never began is not undone."""
    world.failing["car"] = 1
    harness = make_harness(TRIP, services={World: world})
    ended = harness.run(TRIP, 1)

    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("STAGE_ERROR", "car")
    assert world.done == ["flight", "hotel", "undo hotel 3", "undo flight 2"]
    assert ended.story[-8:] == (
        "stage.failed car",
        "run.compensating",
        "stage.ready ~undo",
        "stage.started ~undo",
        "stage.compensated hotel",
        "stage.compensated flight",
        "stage.completed ~undo",
        "run.failed",
    )
    (undoing,) = [event.data for event in ended.events if event.type is EventType.RUN_COMPENSATING]
    assert undoing["because"] == "failed"
    assert undoing["stage"] == "car"


def test_undoing_goes_under_the_key_of_the_deed(make_harness: MakeHarness, world: World) -> None:
    """The function that undoes sees the idempotency key under which its stage acted."""
    world.failing["bang"] = 1
    make_harness(TRIP, services={World: world}).run(TRIP, 1)
    for name in ("flight", "hotel", "car"):
        assert world.keys[f"undo {name}"] == world.keys[name]


def test_completed_run_is_not_undone(make_harness: MakeHarness, world: World) -> None:
    """A run that ends well is COMPLETED at once, and nothing is undone."""
    ended = make_harness(TRIP, services={World: world}).run(TRIP, 1)
    assert ended.status is RunStatus.COMPLETED
    assert world.done == ["flight", "hotel", "car", "bang"]
    assert all(one.key.stage_id != "~undo" for one in ended.stages)


def test_cancelled_run_is_undone_and_then_cancelled(make_harness: MakeHarness, world: World) -> None:
    """Cancelling begins to undo; the run is COMPENSATING meanwhile, and CANCELLED in the end, without a failure."""
    harness = make_harness(TRIP, services={World: world})
    run_id = harness.start(TRIP, 1)
    harness.admit()
    harness.execute(*harness.lease())
    (executing,) = harness.lease()
    result = harness.cancel(run_id, reason="rain")
    assert (result.cancelled, result.status) == (True, RunStatus.COMPENSATING)
    assert harness.statuses(run_id)["hotel"] is StageStatus.CANCELLED
    assert harness.execute(executing).outcome.value == "lost"
    again = harness.cancel(run_id)
    assert (again.cancelled, again.status) == (False, RunStatus.COMPENSATING)
    with pytest.raises(IllegalTransition):
        harness.pause(run_id)
    harness.drain()

    ended = harness.look(TRIP, run_id)
    assert (ended.status, ended.failure) == (RunStatus.CANCELLED, None)
    # What the worker that lost its lease did to the world is not known to the store; the key can tell its service.
    assert world.done == ["flight", "hotel", "undo flight 2"]


def test_pending_run_is_cancelled_without_more_ado(make_harness: MakeHarness, world: World) -> None:
    """Nothing was done, so nothing is undone."""
    harness = make_harness(TRIP, services={World: world})
    run_id = harness.start(TRIP, 1)
    assert harness.cancel(run_id).status is RunStatus.CANCELLED
    harness.drain()
    assert world.done == []


def test_waiting_run_that_is_cancelled_is_undone(make_harness: MakeHarness, world: World) -> None:
    """Its wait is closed, a payload is refused from then on, and what was done before is undone."""
    flow = line(deed("flight")).wait_for("go", bool)
    harness = make_harness(flow, services={World: world})
    run_id = harness.start(flow, 1)
    harness.drain(until=timedelta())
    assert harness.run_of(run_id).status is RunStatus.WAITING
    harness.cancel(run_id)
    with pytest.raises(IllegalTransition):
        harness.dispatch(RunResume(run_id=run_id, name="go", payload=True))
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.CANCELLED
    assert world.done == ["flight", "undo flight 2"]


def test_deadline_of_the_run_is_a_failure_like_others(make_harness: MakeHarness, world: World) -> None:
    """A run that takes too long is undone and ends with RUN_TIMEOUT; undoing itself has no deadline."""
    flow = line(deed("flight"), timeout="1h").wait_for("go", bool)
    world.failing["undo flight 2"] = 3
    harness = make_harness(flow, services={World: world})
    ended = harness.run(flow, 1)
    assert ended.failure is not None
    assert ended.failure.code == "RUN_TIMEOUT"
    assert world.done == ["flight", "undo flight 2"]


def test_undoing_is_patient(make_harness: MakeHarness, world: World) -> None:
    """A compensation that fails is tried again with growing delays, and what was undone before it is not repeated."""
    world.failing |= {"bang": 1, "undo hotel 3": 5}
    harness = make_harness(TRIP, services={World: world})
    ended = harness.run(TRIP, 1)
    assert world.done == ["flight", "hotel", "car", "undo car 4", "undo hotel 3", "undo flight 2"]
    assert ended.attempts("~undo") == 6
    assert ended.failure is not None
    assert ended.failure.stage_id == "bang"


def test_exhausted_compensation_says_so_and_goes_on_when_retried(make_harness: MakeHarness, world: World) -> None:
    """The run is FAILED with COMPENSATION_FAILED; `run.retry` undoes what is left and gives the first failure back."""
    world.failing |= {"bang": 1, "undo hotel 3": 20}
    harness = make_harness(TRIP, services={World: world})
    ended = harness.run(TRIP, 1)
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("COMPENSATION_FAILED", "~undo")
    assert "undo hotel 3 broke off" in ended.failure.message
    assert harness.stage(ended.run.id, "~undo").status is StageStatus.FAILED
    assert run_sync(harness.persistence.next_due()) is None

    assert harness.retry(ended.run.id).retried == ("~undo",)
    assert harness.run_of(ended.run.id).status is RunStatus.COMPENSATING
    harness.drain()
    again = harness.look(TRIP, ended.run.id)
    assert again.status is RunStatus.FAILED
    assert again.failure is not None
    assert (again.failure.code, again.failure.stage_id) == ("STAGE_ERROR", "bang")
    assert "bang broke off" in again.failure.message
    assert world.done == ["flight", "hotel", "car", "undo car 4", "undo hotel 3", "undo flight 2"]
    with pytest.raises(IllegalTransition, match="undone"):
        harness.retry(ended.run.id)


def test_cancelled_run_whose_undoing_failed_is_cancelled_after_its_retry(
    make_harness: MakeHarness, world: World
) -> None:
    """What the run was going to be is not forgotten when undoing it takes a second effort."""
    undone: list[int] = []

    def refuse_once(output: int) -> None:
        undone.append(output)
        if len(undone) == 1:
            raise NeverRetry("not today")

    @stage(retry=ONCE, compensate=refuse_once)
    async def stubborn(number: int) -> int:
        return number

    flow = line(stubborn).wait_for("go", bool)
    harness = make_harness(flow, services={World: world})
    run_id = harness.start(flow, 1)
    harness.drain(until=timedelta())
    harness.cancel(run_id)
    harness.drain()
    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert failure.code == "COMPENSATION_FAILED"
    harness.retry(run_id)
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.CANCELLED
    assert harness.run_of(run_id).failure is None


def _compensating(make_harness: MakeHarness, world: World, plan: FaultPlan) -> tuple[WatchedHarness, str]:
    world.failing["bang"] = 1
    harness = make_harness(TRIP, services={World: world}, plan=plan)
    run_id = harness.start(TRIP, 1)
    harness.admit()
    while harness.run_of(run_id).status is not RunStatus.COMPENSATING:
        harness.execute(*harness.lease())
    return harness, run_id


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(12))
def test_crash_while_undoing_repeats_at_most_one(make_harness: MakeHarness, number: int, fault: Fault) -> None:
    """Whichever call of the store fails or is the last one, everything is undone, and at most one thing twice."""
    world, plan = World(), FaultPlan()
    harness, run_id = _compensating(make_harness, world, plan)
    (lease,) = harness.lease()
    plan.fail_next(fault, after=number)
    try:
        harness.execute(lease)
    except (ProcessDied, Exception):  # noqa: BLE001 - whatever it was, another worker takes over
        harness.clock.advance("31s")
    other = make_harness(TRIP, services={World: world})
    other.drain()
    assert other.look(TRIP, run_id).status is RunStatus.FAILED
    undone = [name for name in world.done if name.startswith("undo")]
    assert list(dict.fromkeys(undone)) == ["undo car 4", "undo hotel 3", "undo flight 2"]
    assert len(undone) <= 4


def test_lost_worker_with_the_last_attempt_is_followed_by_undoing(make_harness: MakeHarness, world: World) -> None:
    """The reaper cannot know what follows, so a worker that knows is asked; it does not execute the stage again."""
    harness = make_harness(TRIP, services={World: world})
    run_id = harness.start(TRIP, 1)
    harness.admit()
    harness.execute(*harness.lease())
    harness.lease()
    harness.clock.advance("31s")
    reaped = harness.dispatch(LeaseReapStale())
    assert (reaped.released, reaped.failed) == (1, 0)
    harness.drain()

    ended = harness.look(TRIP, run_id)
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("LEASE_EXPIRED", "hotel")
    assert world.done == ["flight", "undo flight 2"]


def test_lost_worker_that_was_to_tell_is_replaced(make_harness: MakeHarness, world: World) -> None:
    """However many workers die while they only have to tell of a failure, one of them will."""
    harness = make_harness(TRIP, services={World: world})
    run_id = harness.start(TRIP, 1)
    harness.admit()
    harness.execute(*harness.lease())
    for _ in range(5):
        assert len(harness.lease()) == 1
        harness.clock.advance("31s")
        assert harness.dispatch(LeaseReapStale()).released == 1
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.FAILED
    assert world.done == ["flight", "undo flight 2"]


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
