"""Retried runs: they go on from where they failed, and keep what completed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast import (
    Context,
    Retry,
    RunRetry,
    RunStatus,
    StageStatus,
    stage,
    workflow,
)
from holdfast.commands.run_transition import RunTransition
from holdfast.errors import IllegalTransition, RunNotFound
from holdfast.events import EventType
from tests.kernel.behaviour.flows import ONCE, line, step
from tests.kernel.behaviour.weather import Weather, fair
from tests.kernel.watching import MakeHarness


@pytest.fixture
def weather() -> Weather:
    """Return the weather."""
    return Weather()


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
