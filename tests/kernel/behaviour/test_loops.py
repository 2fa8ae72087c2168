"""Loops count their turns and are bounded, and waits on the way lead on by their outcome."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from holdfast import (
    Context,
    Flow,
    Graph,
    Retry,
    RunStatus,
    Stage,
    stage,
    workflow,
)
from holdfast.entities.graph import END
from holdfast.events import EventType
from tests.kernel.behaviour.flows import ONCE, Calls, flaky, step
from tests.kernel.behaviour.taken import chosen, skipped
from tests.kernel.watching import MakeHarness


def counting(*, until: int, step_limit: int = 10_000, retry: Retry = ONCE) -> Graph[int, int]:
    """Return a graph that goes round until its number is reached."""

    @stage(retry=retry)
    async def work(number: int, ctx: Context) -> int:
        ctx.services[Calls].names.append(f"work {ctx.turn} {ctx.idempotency_key.partition(':')[2]}")
        return number + 1

    check = step("check")
    return (
        Graph("counting", int, int, version="1", step_limit=step_limit)
        .entry(work)
        .edge(work, check)
        .edge(check, work, when=lambda number: number < until)
        .edge(check, END)
    )


def test_loop_counts_its_turns(make_harness: MakeHarness) -> None:
    """Each turn has instances, outputs and idempotency keys of its own, and the last one's output is the run's."""
    flow = counting(until=6)
    harness = make_harness(flow)
    ended = harness.run(flow, 0)
    assert ended.output == 6
    assert [name for name in harness.calls.names if name != "check"] == [
        "work 1 work:1:0",
        "work 2 work:1:0:1",
        "work 3 work:1:0:2",
    ]
    assert [(one.key.turn, one.depth) for one in ended.stages if one.key.stage_id == "work"] == [(0, 1), (1, 3), (2, 5)]
    assert skipped(harness, ended.run.id) == []


def test_loop_without_end_is_stopped_by_the_step_limit(make_harness: MakeHarness) -> None:
    """A path that is longer than the limit fails the run with an error that says where and what to do."""
    flow = counting(until=10**9, step_limit=20)
    harness = make_harness(flow)
    ended = harness.run(flow, 0)
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("STEP_LIMIT", "work")
    assert "20 steps" in ended.failure.message
    assert "step_limit" in ended.failure.message
    assert len(harness.calls.names) == 20


def test_step_limit_is_ten_thousand_unless_said_otherwise() -> None:
    """The limit of a workflow that names none is 10,000."""
    assert counting(until=1).definition().step_limit == 10_000
    assert workflow("plain", input=int).pipe(step("s1")).definition().step_limit == 10_000


def test_wide_run_is_not_long(make_harness: MakeHarness) -> None:
    """The limit counts the path, not the stages: a map over many items takes few steps."""
    flow = workflow("wide", input=list[int], version="1", step_limit=5).map(step("item"), limit=5)
    assert make_harness(flow).run(flow, list(range(50))).output == list(range(1, 51))


def test_attempts_are_counted_for_each_turn(make_harness: MakeHarness) -> None:
    """A stage in a loop has all its attempts in every turn."""
    work, check = flaky("work", failures=2), step("check")
    flow = (
        Graph("shaky", int, int, version="1")
        .entry(work)
        .edge(work, check)
        .edge(check, work, when=lambda number: number < 6)
        .edge(check, END)
    )
    harness = make_harness(flow)
    ended = harness.run(flow, 0)
    assert ended.output == 6
    started = [
        (event.key.turn, event.data["attempt"])
        for event in ended.events
        if event.type is EventType.STAGE_STARTED and event.key is not None and event.key.stage_id == "work"
    ]
    assert started == [(turn, attempt) for turn in range(3) for attempt in (1, 2, 3)]


def test_loop_inside_of_a_loop_begins_again_with_each_turn(make_harness: MakeHarness) -> None:
    """The inner loop counts from its beginning in every turn of the outer one."""
    seen: list[tuple[str, int]] = []

    def told(name: str) -> Stage[int, int]:
        @stage(name=name, retry=ONCE)
        async def note(number: int, ctx: Context) -> int:
            seen.append((name, ctx.turn))
            return number + 1

        return note

    outer, inner, check = told("outer"), told("inner"), told("check")
    flow = (
        Graph("nested", int, int, version="1")
        .entry(outer)
        .edge(outer, inner)
        .edge(inner, inner, when=lambda number: number % 4 != 0)
        .edge(inner, check)
        .edge(check, outer, when=lambda number: number < 10)
        .edge(check, END)
    )
    ended = make_harness(flow).run(flow, 0)
    assert ended.status is RunStatus.COMPLETED
    assert seen == [
        *[("outer", 1), ("inner", 1), ("inner", 2), ("inner", 3), ("check", 1)],
        *[("outer", 2), ("inner", 1), ("inner", 2), ("check", 2)],
        *[("outer", 3), ("inner", 1), ("inner", 2), ("check", 3)],
    ]
    assert len({(one.key.stage_id, one.key.turn) for one in ended.stages}) == len(ended.stages)


def test_fork_within_a_loop_is_joined_in_every_turn(make_harness: MakeHarness) -> None:
    """The join of a turn hears of the branches of that turn only."""
    work, left, right = step("work"), step("left"), step("right")

    @stage(retry=ONCE)
    async def total(parts: dict[str, int], ctx: Context) -> int:
        return sum(parts.values())

    flow = (
        Graph("looping", int, int, version="1")
        .entry(work)
        .edge(work, (left, right))
        .edge((left, right), total)
        .edge(total, work, when=lambda number: number < 30)
        .edge(total, END)
    )
    harness = make_harness(flow)
    ended = harness.run(flow, 1)
    # 1 → 2 → 3 + 3 = 6 → 7 → 16 → 17 → 36.
    assert ended.output == 36
    assert harness.calls.count("left") == harness.calls.count("right") == 3


def test_loop_is_left_by_one_of_its_ways_and_the_others_are_skipped(make_harness: MakeHarness) -> None:
    """When a loop has two ways out, the join behind them hears that one was taken and the other never will be."""
    work, check, good, bad, last = (step(name) for name in ("work", "check", "good", "bad", "last"))
    flow = (
        Graph("exits", int, int, version="1")
        .entry(work)
        .edge(work, bad, when=lambda number: number > 100)
        .edge(work, check)
        .edge(check, work, when=lambda number: number < 6)
        .edge(check, good)
        .edge((good, bad), last)
        .end(last)
    )
    harness = make_harness(flow)
    fine, wrong = harness.run(flow, 0), harness.run(flow, 100)
    assert (fine.output, wrong.output) == (8, 103)
    assert (skipped(harness, fine.run.id), skipped(harness, wrong.run.id)) == (["bad"], ["check", "good"])


def test_loop_that_waits_asks_in_every_turn(make_harness: MakeHarness) -> None:
    """A wait inside a loop is another one in each turn: an answer counts for its own turn only."""
    draft = step("draft")
    review = Graph.wait("review", bool, reason="a reviewer")

    @stage(retry=ONCE)
    async def decide(given: tuple[int, bool]) -> tuple[int, bool]:
        return given

    @stage(name="again", retry=ONCE)
    async def again(given: tuple[int, bool]) -> int:
        return given[0]

    flow = (
        Graph("reviewed", int, version="1")
        .entry(draft)
        .edge(draft, review)
        .edge(review, decide)
        .edge(decide, END, when=lambda given: given[1])
        .edge(decide, again)
        .edge(again, draft)
    )
    harness = make_harness(flow)
    run_id = harness.start(flow, 0)
    for answer in (False, False, True):
        harness.drain(until=timedelta())
        assert harness.run_of(run_id).status is RunStatus.WAITING
        harness.resume(run_id, "review", answer)
    harness.drain()
    assert harness.look(flow, run_id).output == (3, True)
    assert [wait.key.turn for wait in harness.waits(run_id)] == [0, 1, 2]


def escalating() -> Graph[int, Any]:
    """Return a graph that waits for an answer and goes another way when nobody gives one."""
    first, ok, escalate = step("first"), stage(name="ok", retry=ONCE)(_pair), step("escalate")
    approval = Graph.wait("approval", bool, timeout="1d")
    return (
        Graph("escalating", int, version="1")
        .entry(first)
        .edge(first, approval)
        .edge(approval, ok)
        .edge(approval, escalate, on="timeout")
        .end(ok, escalate)
    )


async def _pair(given: tuple[int, bool]) -> str:
    return f"{given[0]} {given[1]}"


def test_wait_goes_one_way_when_answered_and_another_when_not(make_harness: MakeHarness) -> None:
    """The answer is paired with what the wait was given; at its limit the edge for that is taken with the input."""
    flow = escalating()
    harness = make_harness(flow)
    answered, late = harness.start(flow, 1), harness.start(flow, 1)
    harness.drain(until=timedelta(hours=1))
    harness.resume(answered, "approval", True)
    harness.drain()
    assert harness.look(flow, answered).output == "2 True"
    assert harness.look(flow, late).output == 3
    assert skipped(harness, answered) == ["escalate"]
    assert skipped(harness, late) == ["ok"]
    assert chosen(harness, late, "approval")[1] == "timeout"


def test_wait_of_a_pipeline_has_its_path_for_a_timeout(make_harness: MakeHarness) -> None:
    """What `on_timeout` gives takes the payload's place; without it the run fails with WAIT_TIMEOUT."""
    base = workflow("asked", input=int, version="1").pipe(step("first"))

    @stage(retry=ONCE)
    async def assume(number: int) -> bool:
        return number > 100

    patient: Flow[int, Any] = base.wait_for("approval", bool, timeout="1d", on_timeout=assume).pipe(
        stage(name="ok", retry=ONCE)(_pair)
    )
    harness = make_harness(patient)
    assert harness.run(patient, 1).output == "2 False"
    strict = workflow("strict", input=int, version="1").wait_for("approval", bool, timeout="1d")
    harness.know(strict)
    failure = harness.run(strict, 1).failure
    assert failure is not None
    assert failure.code == "WAIT_TIMEOUT"
