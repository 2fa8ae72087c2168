"""Weak spots of the second reference system in its semantics, each in a test that would fail there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast import (
    END,
    Context,
    DefinitionError,
    Flow,
    Graph,
    Ok,
    Retry,
    RunRerunFrom,
    RunStatus,
    otherwise,
    stage,
    when,
    workflow,
)
from holdfast.commands.run_transition import RunTransition
from holdfast.entities.retry import RetryAfter
from holdfast.errors import InvalidInput
from holdfast.events import EventType
from holdfast.verdicts import JobOutcome
from tests.kernel.behaviour.flows import ONCE, Calls, diamond, flaky, line, step
from tests.kernel.watching import MakeHarness, WatchedHarness


def test_weak_86_what_can_be_seen_to_be_ambiguous_is_refused_when_it_is_built() -> None:
    """Two edges without a condition, or one that hides another, are found before anything is executed."""
    first, a, b = step("first"), step("a"), step("b")
    base = Graph("built", int, version="1").entry(first).end(a, b)
    with pytest.raises(DefinitionError):
        base.edge(first, a).edge(first, b).definition()
    with pytest.raises(DefinitionError):
        base.edge(first, a, priority=5).edge(first, b, when=lambda number: number > 1, priority=1).definition()


def test_weak_86_tie_keeps_output_and_state_and_the_run_can_be_retried(make_harness: MakeHarness) -> None:
    """A tie at run time loses neither what the stage gave nor its patch, and after a fix nothing is executed again."""

    @stage(name="s1", retry=ONCE)
    async def patch(number: int, ctx: Context) -> Ok[int]:
        ctx.services[Calls].note(ctx)
        return Ok(number, patch={"paid": True})

    def build(*, tie: bool) -> Flow[int, Any]:
        body: Any = patch
        flow: Flow[int, Any] = workflow("tied", input=int, version="1", state=True).pipe(body)
        return flow.branch(
            when(lambda number: number > 0, step("a")),
            when(lambda number: tie, step("b")),
            otherwise(step("c")),
        )

    broken, fixed = build(tie=True), build(tie=False)
    harness = make_harness(broken)
    ended = harness.run(broken, 5)
    assert ended.state == {"paid": True}
    kept = harness.stage(ended.run.id, "s1").output
    assert kept is not None
    assert kept.text == "5"
    other = make_harness(fixed)
    other.retry(ended.run.id)
    other.drain()
    assert other.look(fixed, ended.run.id).output == 6
    assert other.look(fixed, ended.run.id).state == {"paid": True}
    assert (harness.calls.names, other.calls.names) == (["s1"], ["a"])


def test_weak_88_any_raised_error_is_retried_unless_the_policy_says_otherwise(make_harness: MakeHarness) -> None:
    """An error needs no code to be retried; exceptions from that, and delays that are asked for, are respected."""
    flow = workflow("raised", input=int, version="1").pipe(flaky("s1", failures=2))
    assert make_harness(flow).run(flow, 1).attempts("s1") == 3

    @stage(retry=Retry(3, never=ValueError, base="1s", jitter=0))
    async def picky(number: int, ctx: Context) -> int:
        if ctx.attempt == 1:
            raise RetryAfter("1h")
        raise ValueError("never again")

    other = workflow("picky", input=int, version="1").pipe(picky)
    harness = make_harness(other)
    began = harness.clock.monotonic()
    assert harness.run(other, 1).attempts("picky") == 2
    assert harness.clock.monotonic() - began == 3600


def test_weak_89_every_attempt_is_told_with_its_number_and_turn(make_harness: MakeHarness) -> None:
    """Each attempt has a start of its own, in loops too; events are numbered, and a failed run says where it failed."""
    work = flaky("work", failures=1)
    flow = (
        Graph("turning", int, version="1").entry(work).edge(work, work, when=lambda number: number < 3).edge(work, END)
    )
    ended = make_harness(flow).run(flow, 1)
    told = [
        (event.key.turn, event.data["attempt"])
        for event in ended.events
        if event.type is EventType.STAGE_STARTED and event.key is not None
    ]
    assert told == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [event.number for event in ended.events] == list(range(1, len(ended.events) + 1))
    failing = workflow("failing", input=int, version="1").pipe(step("s1")).pipe(flaky("s2", failures=9))
    harness = make_harness(failing)
    assert harness.failure_of(harness.run(failing, 1).run.id) == ("STAGE_ERROR", "s2")


def test_weak_90_runs_are_cancelled_rerun_prioritized_scheduled_and_run_side_by_side(
    make_harness: MakeHarness,
) -> None:
    """What was missing is there: cancel, rerun, priority, a start later, and several live nodes of one run."""
    flow = diamond()
    harness = make_harness(flow)
    late = harness.start(flow, 1, start_at=harness.clock.now() + timedelta(hours=1))
    low, high = harness.start(flow, 1, priority=1), harness.start(flow, 1, priority=9)
    cancelled = harness.start(flow, 1)
    assert harness.cancel(cancelled).cancelled
    harness.admit()
    assert [lease.key.run_id for lease in harness.lease(limit=2)] == [high, low]
    harness.clock.advance("31s")
    ended = harness.run(flow, 1)
    harness.dispatch(RunRerunFrom(run_id=ended.run.id, from_stage_id="left"))
    harness.drain()
    assert harness.calls.count("right") >= 2
    assert harness.look(flow, ended.run.id).output == 6
    assert harness.look(flow, late).output == 6
    assert harness.run_of(cancelled).status is RunStatus.CANCELLED


def test_weak_91_definition_cannot_be_swapped_under_its_runs(make_harness: MakeHarness) -> None:
    """Another workflow under a registered id and version is refused, and the runs of the first go on with it."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    with pytest.raises(DefinitionError):
        harness.registry.add(line(1))
    harness.drain()
    assert harness.look(flow, run_id).output == 3


def bytes_of(harness: WatchedHarness, flow: Flow[Any, Any], given: object) -> int:
    """Return how much a run of *flow* writes, from its start to its end."""
    harness.store.committed.clear()
    ended = harness.run(flow, given)
    assert ended.status is RunStatus.COMPLETED
    return sum(len(repr(change)) for change in harness.store.committed)


def test_weak_92_run_writes_and_reads_in_proportion_to_its_length(make_harness: MakeHarness) -> None:
    """Eight times the stages write about eight times the bytes and read as often for each; nothing is rewritten."""

    def swelling(number: int) -> Any:
        @stage(name=f"s{number}")
        async def swell(text: str, ctx: Context) -> Ok[str]:
            return Ok("x" * 1000, patch={f"p{number}": "y" * 1000})

        return swell

    sizes: list[int] = []
    reads: list[int] = []
    for length in (5, 40):
        flow: Flow[str, Any] = workflow(f"long{length}", input=str, version="1", state=True)
        for number in range(length):
            flow = flow.pipe(swelling(number))
        harness = make_harness(flow)
        harness.store.calls.clear()
        sizes.append(bytes_of(harness, flow, "begin"))
        reads.append(len(harness.store.calls))
    assert sizes[1] < 9 * sizes[0]
    assert reads[1] < 9 * reads[0]


def test_weak_92_patch_can_delete(make_harness: MakeHarness) -> None:
    """None takes a member out of the state, at any depth, and what is not JSON is refused."""

    @stage(retry=ONCE)
    async def clean(number: int, ctx: Context) -> Ok[int]:
        patch: dict[str, Any] = {"a": None, "deep": {"b": None}} if number else {"bad": object()}
        return Ok(number, patch=patch)

    body: Any = clean
    flow: Flow[int, Any] = workflow("clean", input=int, version="1", state=True).pipe(body)
    harness = make_harness(flow)
    state = {"a": 1, "deep": {"b": 2, "c": 3}}
    assert harness.run(flow, 1, initial_state=state).state == {"deep": {"c": 3}}
    wrong = harness.run(flow, 0, initial_state=state)
    assert harness.failure_of(wrong.run.id) == ("INVALID_PATCH", "clean")
    assert wrong.state == state
    with pytest.raises(InvalidInput, match="state"):
        make_harness(line(1)).start(line(1), 1, initial_state={"a": 1})


def test_weak_84_waiting_run_is_not_executed_by_a_step(make_harness: MakeHarness) -> None:
    """A transition or a message for a job that waits does nothing: the stage is called when it is answered."""
    calls: list[int] = []

    @stage(waits={"go": bool}, retry=ONCE)
    async def ask(number: int, ctx: Context) -> int:
        calls.append(ctx.attempt)
        await ctx.wait_for("go", bool)
        return number

    flow = workflow("ask", input=int, version="1").pipe(ask)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.drain()
    for _ in range(3):
        assert harness.dispatch(RunTransition(run_id=run_id)).action.value == "noop"
        assert harness.deliver(harness.stage(run_id, "ask").key).outcome is JobOutcome.SUSPENDED
    assert calls == [1]
    harness.resume(run_id, "go", True)
    harness.drain()
    assert (harness.look(flow, run_id).output, len(calls)) == (1, 2)
