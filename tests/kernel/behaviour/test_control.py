"""Run control: runs start later, are held back and let go on, and are retried from where they failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from holdfast import (
    Context,
    Flow,
    Retry,
    RunCreate,
    RunPause,
    RunRetry,
    RunStatus,
    RunUnpause,
    Stage,
    StageStatus,
    otherwise,
    run_sync,
    stage,
    when,
    workflow,
)
from holdfast.authoring.graph import Graph
from holdfast.commands.run_resume import RunResume
from holdfast.commands.run_transition import RunTransition
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.entities.graph import END
from holdfast.errors import IdempotencyMismatch, IllegalTransition, InvalidInput, RunNotFound
from holdfast.events import EventType
from tests.kernel.behaviour.flows import ONCE, Calls, diamond, flaky, line, step
from tests.kernel.watching import MakeHarness, WatchedHarness


class Weather:
    """Which stages fail; a test changes it."""

    def __init__(self, *failing: str) -> None:
        self.failing = set(failing)


def fair(name: str) -> Stage[int, int]:
    """Return a stage that adds one unless the weather of its name is bad."""

    @stage(name=name, retry=ONCE)
    async def add_one(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        if {name, f"{name}[{number}]"} & ctx.services[Weather].failing:
            raise ConnectionError("it rains")
        return number + 1

    return add_one


@pytest.fixture
def weather() -> Weather:
    """Return the weather."""
    return Weather()


def pause(harness: WatchedHarness, run_id: str, **more: Any) -> Any:
    """Pause the run."""
    return harness.dispatch(RunPause(run_id=run_id, **more))


# Pausing


def test_paused_run_begins_nothing_and_goes_on_where_it_was(make_harness: MakeHarness) -> None:
    """What executes may end; what follows from it is READY but leased to nobody until the run goes on."""
    flow = line(3)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    told = pause(harness, run_id, reason="audit")
    assert (told.paused, told.status) == (True, RunStatus.PAUSED)
    assert harness.execute(lease).outcome.value == "completed"
    assert harness.statuses(run_id) == {"s1": StageStatus.COMPLETED, "s2": StageStatus.READY}
    assert harness.lease() == []
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.PAUSED
    assert harness.events(run_id)[-3].data == {"reason": "audit"}

    let = harness.unpause(run_id)
    assert (let.unpaused, let.status) == (True, RunStatus.RUNNING)
    harness.drain()
    assert harness.look(flow, run_id).output == 4
    assert harness.calls.names == ["s1", "s2", "s3"]


def test_worker_that_would_go_on_does_not_when_its_run_is_paused(make_harness: MakeHarness) -> None:
    """A worker that asks for the next job together with its commit does not get that of a paused run."""

    @stage
    async def first(number: int, ctx: Context) -> int:
        harness.pause(ctx.run_id)
        return number

    flow = workflow("sticky", input=int, version="1").pipe(first).pipe(step("s2"))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.PAUSED
    assert harness.statuses(run_id)["s2"] is StageStatus.READY
    assert harness.calls.names == []
    harness.unpause(run_id)
    harness.drain()
    assert harness.look(flow, run_id).output == 2


def test_pausing_twice_or_what_is_over_is_told(make_harness: MakeHarness) -> None:
    """A second pause or unpause makes no difference and says so; an ended, pending or unknown run is an error."""
    flow = line(2)
    harness = make_harness(flow)
    pending = harness.start(flow, 1)
    with pytest.raises(IllegalTransition, match="RUNNING or WAITING"):
        pause(harness, pending)
    harness.admit()
    assert harness.unpause(pending).unpaused is False
    assert pause(harness, pending).paused is True
    events = len(harness.events(pending))
    assert pause(harness, pending).paused is False
    assert len(harness.events(pending)) == events
    harness.unpause(pending)
    harness.drain()
    for command in (RunPause(run_id=pending), RunUnpause(run_id=pending)):
        with pytest.raises(IllegalTransition):
            harness.dispatch(command)
    for command in (RunPause(run_id="nobody"), RunUnpause(run_id="nobody")):
        with pytest.raises(RunNotFound):
            harness.dispatch(command)


def test_pause_is_answered_once_under_its_operation_id(make_harness: MakeHarness) -> None:
    """The same operation gives its first answer, also when the run has gone on since; another request is refused."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    first = pause(harness, run_id, operation_id="op-1")
    harness.unpause(run_id)
    assert pause(harness, run_id, operation_id="op-1") == first
    assert harness.run_of(run_id).status is RunStatus.RUNNING
    with pytest.raises(IdempotencyMismatch):
        pause(harness, run_id, operation_id="op-1", reason="another")


def test_retry_that_becomes_due_while_paused_waits(make_harness: MakeHarness) -> None:
    """The delay of a retry goes on during a pause; the attempt begins when the run goes on, and not before its time."""
    flow = workflow("flaky", input=int, version="1").pipe(flaky("s1", failures=1))
    harness = make_harness(flow)
    for before in ("1h", "2s"):
        run_id = harness.start(flow, 1)
        harness.admit()
        harness.execute(*harness.lease())
        harness.pause(run_id)
        harness.clock.advance(before)
        assert harness.lease() == []
        harness.unpause(run_id)
        assert len(harness.lease()) == (before == "1h")
        harness.clock.advance("31s")
        harness.drain()
        assert harness.look(flow, run_id).output == 2


def test_timers_that_become_due_while_paused_act_when_it_goes_on(make_harness: MakeHarness) -> None:
    """A sleep ends and a payload is taken during the pause, but the stage is called only when the run goes on."""

    @stage(waits={"go": bool}, retry=ONCE)
    async def wait(number: int, ctx: Context) -> int:
        await ctx.sleep("nap", "1h")
        harness.calls.names.append("woken")
        await ctx.wait_for("go", bool)
        return number

    flow = workflow("napping", input=int, version="1").pipe(wait)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.drain(until=timedelta())
    harness.pause(run_id)
    harness.clock.advance("2h")
    assert harness.dispatch(TimerFireDue()).fired == 1
    harness.dispatch(RunResume(run_id=run_id, name="go", payload=True))
    harness.drain()
    assert harness.calls.names == []
    assert harness.run_of(run_id).status is RunStatus.PAUSED
    assert harness.stage(run_id, "wait").status is StageStatus.READY
    harness.unpause(run_id)
    harness.drain()
    assert harness.look(flow, run_id).output == 1
    assert harness.calls.names == ["woken", "woken"]


def test_waiting_run_is_waiting_again_after_its_pause(make_harness: MakeHarness) -> None:
    """Unpausing a run of which nothing can go on leaves it WAITING."""
    flow = workflow("patient", input=int, version="1").wait_for("go", bool)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.drain(until=timedelta())
    harness.pause(run_id)
    assert harness.run_of(run_id).status is RunStatus.PAUSED
    harness.unpause(run_id)
    assert harness.run_of(run_id).status is RunStatus.WAITING
    harness.resume(run_id, "go", True)
    harness.drain()
    assert harness.look(flow, run_id).output == (1, True)


def test_deadline_is_not_held_back(make_harness: MakeHarness) -> None:
    """A paused run still ends at its deadline."""
    flow = workflow("hasty", input=int, version="1", timeout="1h").pipe(step("s1"))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.pause(run_id)
    harness.drain()
    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert failure.code == "RUN_TIMEOUT"


def test_branches_that_end_during_a_pause_meet_all_the_same(make_harness: MakeHarness) -> None:
    """Two branches that were under way end while the run is paused; what follows from both begins after it."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    leases = harness.lease(limit=2)
    harness.pause(run_id)
    for lease in leases:
        harness.execute(lease)
    assert harness.statuses(run_id)["total"] is StageStatus.READY
    assert harness.lease() == []
    harness.unpause(run_id)
    harness.drain()
    assert harness.look(flow, run_id).output == 6


def test_paused_run_can_be_cancelled_and_may_fail(make_harness: MakeHarness) -> None:
    """Cancelling a paused run, or the failure of what executes, ends it as it would otherwise."""
    flow = diamond(left=flaky("left", failures=1, retry=ONCE))
    harness = make_harness(flow)
    cancelled, failed = harness.start(flow, 1), harness.start(flow, 1)
    harness.admit()
    for lease in harness.lease(limit=2):
        harness.execute(lease)
    leases = harness.lease(limit=4)
    harness.pause(cancelled)
    harness.pause(failed)
    assert harness.cancel(cancelled).cancelled
    for lease in leases:
        harness.execute(lease)
    assert harness.run_of(cancelled).status is RunStatus.CANCELLED
    assert harness.run_of(failed).status is RunStatus.FAILED
    assert run_sync(harness.persistence.next_due()) is None


# Starting later


def test_run_starts_at_its_instant_and_not_before(make_harness: MakeHarness) -> None:
    """A run with `start_at` is PENDING, is admitted by nobody before its instant, and begins then."""
    flow = line(1)
    harness = make_harness(flow)
    at = harness.clock.now() + timedelta(days=2)
    run_id = harness.start(flow, 1, start_at=at)
    assert harness.admit().leases == ()
    harness.clock.advance(timedelta(days=2, microseconds=-1))
    harness.drain(until=timedelta())
    assert harness.run_of(run_id).status is RunStatus.PENDING
    assert harness.calls.names == []
    harness.drain()

    ended = harness.look(flow, run_id)
    assert ended.output == 2
    assert ended.run.started_at == at
    assert ended.story[:3] == ("run.created", "run.due", "run.started")
    assert ended.events[0].data["startInSeconds"] == 172_800


def test_start_in_the_past_is_a_start_now(make_harness: MakeHarness) -> None:
    """An instant that lies behind lets the run begin at once; one without a zone, or in ages, is refused."""
    flow = line(1)
    harness = make_harness(flow)
    now = harness.clock.now()
    assert harness.run(flow, 1, start_at=now - timedelta(days=1)).output == 2
    for wrong in (now.replace(tzinfo=None), datetime.max.replace(tzinfo=now.tzinfo)):
        with pytest.raises(InvalidInput, match="start_at"):
            harness.start(flow, 1, start_at=wrong)


def test_same_key_with_the_same_start_is_the_same_run(make_harness: MakeHarness) -> None:
    """The start is a part of the request: repeated later it gives the same run, with another start it is refused."""
    flow = line(1)
    harness = make_harness(flow)
    at = harness.clock.now() + timedelta(hours=1)
    first = harness.start(flow, 1, start_at=at, idempotency_key="k")
    harness.clock.advance("30m")
    assert harness.start(flow, 1, start_at=at, idempotency_key="k") == first
    for other in (at + timedelta(hours=1), None):
        with pytest.raises(IdempotencyMismatch):
            harness.start(flow, 1, start_at=other, idempotency_key="k")
    harness.drain()
    assert harness.start(flow, 1, start_at=at, idempotency_key="k") == first
    assert harness.calls.names == ["s1"]


def test_run_that_is_cancelled_before_its_start_never_begins(make_harness: MakeHarness) -> None:
    """Cancelling takes the timer away; at the instant nothing happens."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1, start_at=harness.clock.now() + timedelta(hours=1))
    assert harness.cancel(run_id).status is RunStatus.CANCELLED
    assert run_sync(harness.persistence.next_due()) is None
    harness.clock.advance("2h")
    harness.drain()
    assert harness.kinds(run_id) == ["run.created", "run.cancelled"]


# Retrying


def test_retried_run_keeps_what_completed(make_harness: MakeHarness, weather: Weather) -> None:
    """Stages that completed are not executed again; the failed one is, under the same idempotency key."""
    keys: list[tuple[str, int, int]] = []

    @stage(retry=Retry(2, base="1s"))
    async def pay(number: int, ctx: Context) -> int:
        keys.append((ctx.idempotency_key, ctx.generation, ctx.attempt))
        if "pay" in ctx.services[Weather].failing:
            raise ConnectionError("it rains")
        return number + 1

    flow = workflow("paying", input=int, version="1").pipe(step("s1")).pipe(pay).pipe(step("s3"))
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("pay")
    ended = harness.run(flow, 1)
    assert ended.status is RunStatus.FAILED
    weather.failing.clear()
    result = harness.retry(ended.run.id)
    assert (result.generation, result.retried) == (2, ("pay",))
    running = harness.run_of(ended.run.id)
    assert (running.status, running.failure, running.finished_at) == (RunStatus.RUNNING, None, None)
    harness.drain()

    again = harness.look(flow, ended.run.id)
    assert again.output == 4
    assert harness.calls.names == ["s1", "s3"]
    assert len({key for key, _, _ in keys}) == 1
    assert [(generation, attempt) for _, generation, attempt in keys] == [(1, 1), (1, 2), (2, 1)]
    (told,) = [event.data for event in again.events if event.type is EventType.RUN_RETRIED]
    assert told == {"generation": 2, "stages": ["pay"]}


def test_retried_stage_finds_its_checkpoints_and_answers(make_harness: MakeHarness, weather: Weather) -> None:
    """What the failed stage did once, slept and was answered is not done, slept and asked again, however often."""

    @stage(waits={"go": str}, retry=ONCE)
    async def long(number: int, ctx: Context) -> str:
        await ctx.once("pay", harness.calls.names.append, "paid")
        await ctx.sleep("nap", "1h")
        said = await ctx.wait_for("go", str)
        if "long" in ctx.services[Weather].failing:
            raise ConnectionError("it rains")
        return said

    flow = workflow("long", input=int, version="1").pipe(long)
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("long")
    run_id = harness.start(flow, 1)
    harness.resume(run_id, "go", "yes")
    harness.drain()
    began = harness.clock.monotonic()
    for _ in range(2):
        assert harness.run_of(run_id).status is RunStatus.FAILED
        harness.retry(run_id)
        harness.drain()
    weather.failing.clear()
    harness.retry(run_id)
    harness.drain()
    assert harness.look(flow, run_id).output == "yes"
    assert harness.calls.names == ["paid"]
    assert harness.clock.monotonic() == began


def test_retry_waits_for_what_was_not_answered(make_harness: MakeHarness, weather: Weather) -> None:
    """A wait that was open when its run failed elsewhere is open again after the retry, with its limit anew."""
    flow = (
        workflow("forked", input=int, version="1")
        .parallel(_approval, fair("other"))
        .pipe(stage(name="both", retry=ONCE)(_both))
    )
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("other")
    run_id = harness.start(flow, 1)
    harness.admit()
    for lease in sorted(harness.lease(limit=2), key=lambda one: one.key.stage_id):
        harness.execute(lease)
    assert harness.statuses(run_id) == {"_approval": StageStatus.CANCELLED, "other": StageStatus.FAILED}
    weather.failing.clear()
    harness.retry(run_id)
    harness.drain(until=timedelta())
    assert harness.run_of(run_id).status is RunStatus.WAITING
    harness.resume(run_id, "approval", True)
    harness.drain(until=timedelta())
    assert harness.look(flow, run_id).output == "True 2"


@stage(waits={"approval": bool}, retry=ONCE)
async def _approval(number: int, ctx: Context) -> bool:
    return await ctx.wait_for("approval", bool, timeout="1d")


async def _both(parts: tuple[bool, int]) -> str:
    return f"{parts[0]} {parts[1]}"


def test_only_a_failed_run_is_retried(make_harness: MakeHarness, weather: Weather) -> None:
    """Runs that are pending, live, completed, cancelled or unknown are not, and the error says what to do instead."""
    flow = line(1)
    harness = make_harness(flow, services={Weather: weather})
    pending = harness.start(flow, 1)
    with pytest.raises(IllegalTransition, match="FAILED"):
        harness.retry(pending)
    harness.drain()
    with pytest.raises(IllegalTransition, match="rerun"):
        harness.retry(pending)
    other = harness.start(flow, 1)
    harness.cancel(other)
    with pytest.raises(IllegalTransition, match="rerun"):
        harness.retry(other)
    with pytest.raises(RunNotFound):
        harness.retry("nobody")


def test_retry_is_carried_out_once_under_its_key(make_harness: MakeHarness, weather: Weather) -> None:
    """The same key gives the first answer, whatever the run has become; without one a second retry is refused."""
    flow = workflow("fair", input=int, version="1").pipe(fair("s1"))
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("s1")
    run_id = harness.run(flow, 1).run.id
    first = harness.dispatch(RunRetry(run_id=run_id, idempotency_key="again"))
    with pytest.raises(IllegalTransition):
        harness.retry(run_id)
    assert harness.dispatch(RunRetry(run_id=run_id, idempotency_key="again")) == first
    harness.drain()
    assert harness.dispatch(RunRetry(run_id=run_id, idempotency_key="again")) == first
    assert harness.run_of(run_id).generation == 2


def test_retried_group_keeps_the_member_that_completed(make_harness: MakeHarness, weather: Weather) -> None:
    """Of a group the failed member and those that it cancelled are done again, and the join hears of all of them."""
    flow = (
        workflow("group", input=int, version="1")
        .pipe(step("first"))
        .parallel(fair("a"), fair("b"), fair("c"))
        .pipe(stage(name="sum", retry=ONCE)(_sum))
    )
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("b")
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    for lease in sorted(harness.lease(limit=3), key=lambda one: one.key.stage_id):
        harness.execute(lease)
    statuses = harness.statuses(run_id)
    assert [statuses[name] for name in "abc"] == [StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.CANCELLED]
    weather.failing.clear()
    assert harness.retry(run_id).retried == ("b", "c")
    harness.drain()
    assert harness.look(flow, run_id).output == 9
    # Member c was executing when its run failed: what it did then was discarded.
    assert harness.calls.names == ["first", "a", "b", "c", "b", "c"]


async def _sum(parts: tuple[int, int, int]) -> int:
    return sum(parts)


def test_retried_map_keeps_the_items_that_completed(make_harness: MakeHarness, weather: Weather) -> None:
    """Only items that have no result yet are executed; the list is whole, in order, and items keep their keys."""
    flow = workflow("mapped", input=list[int], version="1").map(fair("item"), limit=3)
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("item[4]")
    ended = harness.run(flow, list(range(8)))
    assert ended.status is RunStatus.FAILED
    done = [one.key.item for one in ended.stages if one.key.stage_id == "item" and one.status is StageStatus.COMPLETED]
    assert 0 < len(done) < 8
    before = harness.calls.count("item")
    weather.failing.clear()
    for lost in (5, None):
        weather.failing = set() if lost is None else {f"item[{lost}]"}
        harness.retry(ended.run.id)
        harness.drain()
    again = harness.look(flow, ended.run.id)
    assert again.output == list(range(1, 9))
    assert again.run.generation == 3
    # Each item was executed once with success; item 4 and item 5 failed once before.
    assert harness.calls.count("item") == 8 + 2
    assert before <= 8


def looping(weather_name: str = "work") -> Flow[int, int]:
    """Return a graph with a loop that is left at ten."""
    work, check = fair(weather_name), step("check")
    return (
        Graph("looping", int, version="1")
        .entry(work)
        .edge(work, check)
        .edge(check, work, when=lambda number: number < 10)
        .edge(check, END)
    )


def test_retried_loop_goes_on_in_the_turn_that_failed(make_harness: MakeHarness, weather: Weather) -> None:
    """Turns that completed are kept, and the loop goes on from the one that failed."""
    flow = looping()
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("work[4]")
    ended = harness.run(flow, 0)
    assert ended.status is RunStatus.FAILED
    assert harness.calls.names == ["work", "check"] * 2 + ["work"]
    weather.failing.clear()
    harness.retry(ended.run.id)
    harness.drain()
    assert harness.look(flow, ended.run.id).output == 10
    assert harness.calls.names == ["work", "check"] * 2 + ["work"] + ["work", "check"] * 3


def test_retried_run_has_a_deadline_anew(make_harness: MakeHarness, weather: Weather) -> None:
    """A run that ran out of time gets all of it again, and ends at the end of that."""
    flow = workflow("timed", input=int, version="1", timeout="1h").pipe(step("s1")).wait_for("go", bool)
    harness = make_harness(flow, services={Weather: weather})
    run_id = harness.run(flow, 1).run.id
    assert harness.run_of(run_id).failure is not None
    harness.retry(run_id)
    harness.drain(until=timedelta(minutes=59))
    assert harness.run_of(run_id).status is RunStatus.WAITING
    harness.resume(run_id, "go", True)
    harness.drain()
    assert harness.look(flow, run_id).output == (2, True)
    assert harness.calls.names == ["s1"]


def routed(condition: Callable[[int], bool]) -> Flow[int, int]:
    """Return a workflow whose branch asks *condition* beside one that is true of 5."""
    return (
        workflow("routed", input=int, version="1")
        .pipe(step("s1"))
        .branch(
            when(lambda number: number == 5, step("five")),
            when(condition, step("other")),
            otherwise(step("rest")),
        )
    )


def _more(number: int) -> bool:
    return number > 2


def _raises(_: int) -> bool:
    raise LookupError("no such rate")


@pytest.mark.parametrize(
    ("condition", "code", "said"),
    [
        (_more, "AMBIGUOUS_EDGE", "priority 0"),
        (_raises, "CONDITION_FAILED", "no such rate"),
    ],
)
def test_routing_error_keeps_the_output_and_goes_on_after_a_fix(
    make_harness: MakeHarness, condition: Callable[[int], bool], code: str, said: str
) -> None:
    """A run that no edge could be chosen for keeps what its stage gave; after a fix it goes on without executing it."""
    broken, fixed = routed(condition), routed(lambda number: number > 100)
    harness = make_harness(broken)
    ended = harness.run(broken, 4)
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == (code, "s1")
    assert said in ended.failure.message
    kept = harness.stage(ended.run.id, "s1")
    assert (kept.status, kept.edge) == (StageStatus.COMPLETED, "")
    assert kept.output is not None
    assert kept.output.text == "5"

    harness.retry(ended.run.id)
    harness.drain()
    again = harness.run_of(ended.run.id).failure
    assert again is not None
    assert again.code == code

    other = make_harness(fixed)
    result = other.retry(ended.run.id)
    other.drain()
    assert result.retried == ("s1",)
    assert other.look(fixed, ended.run.id).output == 6
    assert (harness.calls.names, other.calls.names) == (["s1"], ["five"])
    told = [
        event.data
        for event in other.events(ended.run.id)
        if event.type is EventType.STAGE_COMPLETED and event.key is not None and event.key.stage_id == "s1"
    ]
    assert [data.get("cached") for data in told] == [None, True, True]
    assert told[-1]["because"] == "number == 5"


def test_transition_does_not_help_a_run_that_lacks_nothing(make_harness: MakeHarness, weather: Weather) -> None:
    """Neither a paused, a failed nor a retried run lacks anything that a transition could derive."""
    flow = workflow("fair", input=int, version="1").pipe(fair("s1")).pipe(step("s2"))
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("s1")
    run_id = harness.run(flow, 1).run.id
    assert harness.dispatch(RunTransition(run_id=run_id)).action.value == "noop"
    harness.retry(run_id)
    assert harness.dispatch(RunTransition(run_id=run_id)).action.value == "noop"
    harness.pause(run_id)
    assert harness.dispatch(RunTransition(run_id=run_id)).action.value == "noop"


def test_run_is_rerun_after_a_retry_and_retried_after_a_rerun(make_harness: MakeHarness, weather: Weather) -> None:
    """Generations follow each other whatever opened them, and each does again what it says."""
    flow = workflow("fair", input=int, version="1").pipe(fair("s1")).pipe(fair("s2")).pipe(fair("s3"))
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("s2")
    run_id = harness.run(flow, 1).run.id
    weather.failing = {"s3"}
    harness.retry(run_id)
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.FAILED
    harness.rerun(run_id, "s2")
    harness.drain()
    weather.failing.clear()
    assert harness.retry(run_id).generation == 4
    harness.drain()
    assert harness.look(flow, run_id).output == 4
    assert harness.calls.names == ["s1", "s2", "s2", "s3", "s2", "s3", "s3"]


def test_created_run_says_when_it_starts_on_the_wire(make_harness: MakeHarness) -> None:
    """The instant crosses the wire as text, and the run starts then."""
    flow = line(1)
    harness = make_harness(flow)
    at = (harness.clock.now() + timedelta(hours=1)).isoformat()
    message = {"type": RunCreate.type, "workflowId": "line", "input": 1, "startAt": at}
    created = run_sync(harness.kernel.dispatch_json(message))
    assert harness.admit().leases == ()
    harness.drain()
    assert harness.look(flow, created["runId"]).output == 2


def test_retry_does_not_touch_a_failure_that_was_tolerated(make_harness: MakeHarness, weather: Weather) -> None:
    """A member that failed before a join which went on without it is not done again when the run fails further on."""
    flow = (
        workflow("tolerant", input=int, version="1")
        .parallel(fair("a"), fair("b"), tolerate=1)
        .pipe(stage(name="join", retry=ONCE)(_either))
        .pipe(fair("last"))
    )
    harness = make_harness(flow, services={Weather: weather})
    weather.failing = {"a", "last"}
    ended = harness.run(flow, 1)
    assert ended.status is RunStatus.FAILED
    weather.failing.clear()
    assert harness.retry(ended.run.id).retried == ("last",)
    harness.drain()
    assert harness.look(flow, ended.run.id).output == 3
    assert harness.calls.names == ["a", "b", "last", "last"]


async def _either(parts: tuple[int | None, int | None]) -> int:
    return sum(part for part in parts if part is not None)


def test_retry_does_again_what_failed_when_too_much_did(make_harness: MakeHarness, weather: Weather) -> None:
    """When a join failed because too many members did, the retry does all of the failed ones again."""
    flow = (
        workflow("tolerant", input=int, version="1")
        .parallel(fair("a"), fair("b"), fair("c"), tolerate=1)
        .pipe(stage(name="join", retry=ONCE)(_any_of))
    )
    harness = make_harness(flow, services={Weather: weather})
    weather.failing = {"a", "b"}
    ended = harness.run(flow, 1)
    assert ended.failure is not None
    assert ended.failure.code == "TOO_MANY_FAILED"
    weather.failing.clear()
    harness.retry(ended.run.id)
    harness.drain()
    assert harness.look(flow, ended.run.id).output == [2, 2, 2]


async def _any_of(parts: tuple[int | None, int | None, int | None]) -> list[int | None]:
    return list(parts)


def test_retried_run_waits_for_a_payload_that_came_early(make_harness: MakeHarness, weather: Weather) -> None:
    """A message that is kept for a wait further on survives the failure and the retry of a stage before it."""
    flow = workflow("early", input=int, version="1").pipe(fair("s1")).wait_for("go", bool)
    harness = make_harness(flow, services={Weather: weather})
    weather.failing.add("s1")
    run_id = harness.start(flow, 1)
    harness.resume(run_id, "go", True)
    harness.drain()
    weather.failing.clear()
    harness.retry(run_id)
    harness.drain()
    assert harness.look(flow, run_id).output == (2, True)
