"""Limits of time: the deadline of a run is a durable timer, and an attempt that takes too long counts as failed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast import Context, Retry, RunRerunFrom, RunStatus, StageStatus, run_sync, stage, workflow
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.ports.executor import StageTimeout
from holdfast.verdicts import JobOutcome
from holdfast_testing.clock import FakeClock
from tests.kernel.behaviour.flows import Calls, step
from tests.kernel.watching import MakeHarness, WatchedHarness

FLOW = workflow("timed", input=int, version="1", timeout="1h").pipe(step("s1")).pipe(step("s2"))


def fire(harness: WatchedHarness) -> int:
    """Fire what is due and return how many timers acted."""
    return harness.dispatch(TimerFireDue()).fired


def test_run_that_takes_too_long_fails_with_all_that_is_live(make_harness: MakeHarness) -> None:
    """At its deadline a run fails, its live stages are cancelled, and what a worker still does for it is lost."""
    harness = make_harness(FLOW)
    run_id = harness.start(FLOW, 1)
    harness.admit()
    (lease,) = harness.lease()
    harness.clock.advance(timedelta(hours=1) - timedelta(milliseconds=1))
    assert fire(harness) == 0
    harness.clock.advance("1ms")

    assert fire(harness) == 1
    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert (failure.code, failure.stage_id) == ("RUN_TIMEOUT", None)
    assert harness.statuses(run_id) == {"s1": StageStatus.CANCELLED}
    assert harness.execute(lease).outcome is JobOutcome.LOST
    assert run_sync(harness.persistence.next_due()) is None


def test_deadline_counts_from_admission(make_harness: MakeHarness) -> None:
    """The time that a run waits to be admitted is not counted against its timeout."""
    harness = make_harness(FLOW)
    run_id = harness.start(FLOW, 1)
    harness.clock.advance("3h")
    assert fire(harness) == 0
    harness.drain()

    assert harness.run_of(run_id).status is RunStatus.COMPLETED
    harness.clock.advance("3h")
    assert fire(harness) == 0


def test_timer_fires_once_whoever_fires_it(make_harness: MakeHarness) -> None:
    """Of two hosts that fire the same timer at once one acts, and the run fails once."""
    harness = make_harness(FLOW)
    run_id = harness.start(FLOW, 1)
    harness.admit()
    harness.clock.advance("1h")
    faster: list[int] = []
    harness.store.before_commit = lambda: faster.append(fire(harness))

    assert fire(harness) == 0
    assert faster == [1]
    assert harness.kinds(run_id).count("run.failed") == 1


def test_completion_beats_a_deadline_that_is_fired_at_once(make_harness: MakeHarness) -> None:
    """A run that completes while its deadline is fired stays COMPLETED."""
    harness = make_harness(FLOW)
    run_id = harness.start(FLOW, 1)
    harness.admit()
    harness.execute(*harness.lease())
    harness.clock.advance("1h")
    (lease,) = harness.lease()
    harness.store.before_commit = lambda: harness.execute(lease)

    assert fire(harness) == 0
    assert harness.run_of(run_id).status is RunStatus.COMPLETED


def test_rerun_has_a_deadline_of_its_own(make_harness: MakeHarness) -> None:
    """A rerun has the whole time of the workflow again, and fails when that is over."""
    harness = make_harness(FLOW)
    run_id = harness.run(FLOW, 1).run.id
    harness.clock.advance("5h")
    harness.dispatch(RunRerunFrom(run_id=run_id, from_stage_id="s2"))
    harness.clock.advance("59m")
    assert fire(harness) == 0
    harness.clock.advance("1m")

    assert fire(harness) == 1
    assert harness.run_of(run_id).status is RunStatus.FAILED


def test_attempt_that_takes_too_long_is_retried(make_harness: MakeHarness) -> None:
    """An attempt beyond its stage's timeout fails with TIMEOUT and is retried by the policy."""

    @stage(timeout="10s", retry=Retry(2, backoff="fixed", base="1s", jitter=0))
    async def dawdle(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        assert ctx.deadline == ctx.services[FakeClock].now() + timedelta(seconds=10)
        ctx.services[FakeClock].advance("11s" if ctx.attempt < number else "9s")
        return number

    flow = workflow("dawdling", input=int, version="1").pipe(dawdle)
    harness = make_harness(flow)
    assert harness.run(flow, 2).output == 2
    failure = harness.run(flow, 3).failure

    assert failure is not None
    assert (failure.code, failure.error) == ("TIMEOUT", "StageTimeout")
    assert harness.calls.count("dawdle") == 4


@pytest.mark.parametrize(
    ("retry", "attempts"), [(Retry(2, on=ConnectionError), 2), (Retry(2, never=StageTimeout), 1)], ids=["on", "never"]
)
def test_policy_for_errors_says_nothing_of_timeouts(make_harness: MakeHarness, retry: Retry, attempts: int) -> None:
    """A timeout is retried whatever errors the policy names, unless it names timeouts as never worth it."""

    @stage(timeout="1s", retry=retry)
    async def dawdle(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        ctx.services[FakeClock].advance("2s")
        return number

    flow = workflow("dawdling", input=int, version="1").pipe(dawdle)
    harness = make_harness(flow)

    assert harness.run(flow, 1).status is RunStatus.FAILED
    assert harness.calls.count("dawdle") == attempts
