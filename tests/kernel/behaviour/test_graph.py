"""Graphs: one edge is taken, the others are skipped, joins hear of all of them, and loops count their turns."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from holdfast import (
    Context,
    Flow,
    Graph,
    Ok,
    Retry,
    RunStatus,
    Seen,
    Stage,
    StageStatus,
    line,
    otherwise,
    stage,
    when,
    workflow,
)
from holdfast.entities.graph import END
from holdfast.events import EventType
from tests.kernel.behaviour.flows import ONCE, Calls, flaky, step
from tests.kernel.watching import MakeHarness, WatchedHarness


@stage(retry=ONCE)
async def merge(parts: dict[str, int], ctx: Context) -> dict[str, int]:
    """Hand on what led here."""
    ctx.services[Calls].note(ctx)
    return parts


def chosen(harness: WatchedHarness, run_id: str, stage_id: str) -> tuple[object, object]:
    """Return which edge was taken behind the stage and why, as the timeline tells it."""
    (data,) = [
        event.data
        for event in harness.events(run_id)
        if event.type is EventType.STAGE_COMPLETED and event.key is not None and event.key.stage_id == stage_id
    ]
    return data["edge"], data["because"]


def skipped(harness: WatchedHarness, run_id: str) -> list[str]:
    """Return the stages that were skipped, by name."""
    return sorted(name for name, status in harness.statuses(run_id).items() if status is StageStatus.SKIPPED)


# Choices


def choosing() -> Graph[int, int]:
    """Return a graph with a choice of three."""
    first, small, large, rest = step("first"), step("small"), step("large"), step("rest")
    return (
        Graph("choosing", int, int, version="1")
        .entry(first)
        .edge(first, small, when=lambda number: number < 10)
        .edge(first, large, when=lambda number: number > 100, priority=5)
        .edge(first, rest)
        .end(small, large, rest)
    )


@pytest.mark.parametrize(
    ("number", "taken", "because"),
    [(1, "small", "number < 10"), (500, "large", "number > 100"), (50, "rest", "otherwise")],
)
def test_one_edge_is_taken_and_the_others_are_skipped(
    make_harness: MakeHarness, number: int, taken: str, because: str
) -> None:
    """The branch whose condition is true executes, the others are SKIPPED, and the timeline says which and why."""
    flow = choosing()
    harness = make_harness(flow)
    ended = harness.run(flow, number)
    assert ended.output == number + 2
    assert harness.calls.names == ["first", taken]
    assert skipped(harness, ended.run.id) == sorted({"small", "large", "rest"} - {taken})
    assert chosen(harness, ended.run.id, "first")[1] == because
    assert harness.stage(ended.run.id, "first").edge == chosen(harness, ended.run.id, "first")[0]


def test_highest_priority_wins_and_lower_ones_are_not_asked(make_harness: MakeHarness) -> None:
    """Of conditions that are true the highest is taken; whether those below it would raise does not matter."""
    first, high, low = step("first"), step("high"), step("low")

    def never(number: int) -> bool:
        raise AssertionError("nobody asks")

    flow = (
        Graph("priorities", int, version="1")
        .entry(first)
        .edge(first, low, when=never, priority=1)
        .edge(first, high, when=lambda number: number > 0, priority=2)
        .edge(first, END)
        .end(high, low)
    )
    harness = make_harness(flow)
    assert harness.run(flow, 1).output == 3
    assert harness.calls.names == ["first", "high"]


def test_condition_sees_state_input_and_outputs(make_harness: MakeHarness) -> None:
    """With a second parameter a condition knows the run's state with the newest patch, its input and what it sees."""
    seen: list[object] = []

    @stage(name="first", retry=ONCE)
    async def patch_score(number: int, ctx: Context) -> Ok[int]:
        return Ok(number + 1, patch={"score": {"value": number}, "gone": None})

    @stage(name="second", retry=ONCE, needs=["first"])
    async def patch_more(number: int, ctx: Context) -> Ok[int]:
        return Ok(number + 1, patch={"second": True})

    # What checkers take for a stage that gives an Ok gives what is in it.
    first: Any = patch_score
    second: Any = patch_more

    def ask(number: int, run: Seen) -> bool:
        seen.append((number, dict(run.state), run.input, run.output(first), dict(run.outputs)))
        return bool(run.state["score"]["value"] == 7)

    yes, no = step("yes"), step("no")
    flow = (
        Graph("seeing", int, version="1", state=True)
        .entry(first)
        .edge(first, second)
        .edge(second, yes, when=ask)
        .edge(second, no)
        .end(yes, no)
    )
    harness = make_harness(flow)
    ended = harness.run(flow, 7, initial_state={"gone": 1, "kept": 2})
    assert harness.calls.names == ["yes"]
    state = {"kept": 2, "score": {"value": 7}, "second": True}
    assert seen == [(9, state, 7, 8, {"first": 8, "second": 9})]
    assert ended.state == state


def test_branch_of_a_pipeline_goes_on_with_one_value(make_harness: MakeHarness) -> None:
    """Whichever case was taken, the stage behind the branch takes its output; a line is skipped as a whole."""
    flow = (
        workflow("piped", input=int, version="1")
        .pipe(step("first"))
        .branch(
            when(lambda number: number > 10, line(int).pipe(step("a1")).pipe(step("a2"))),
            otherwise(step("b")),
        )
        .pipe(step("last"))
    )
    harness = make_harness(flow)
    high, low = harness.run(flow, 10), harness.run(flow, 1)
    assert (high.output, low.output) == (14, 4)
    assert skipped(harness, high.run.id) == ["b"]
    assert skipped(harness, low.run.id) == ["a1", "a2"]


# Joins


def mixed() -> Graph[int, Any]:
    """Return a fork of two branches, one of which chooses between a detour and nothing, and a join behind them."""
    first, left, right, detour = step("first"), step("left"), step("right"), step("detour")
    return (
        Graph("mixed", int, version="1")
        .entry(first)
        .edge(first, (left, right))
        .edge(left, detour, when=lambda number: number > 10)
        .edge(left, merge)
        .edge(detour, merge)
        .edge(right, merge)
        .end(merge)
    )


def test_join_waits_for_every_way_that_may_still_come(make_harness: MakeHarness) -> None:
    """The join begins once all ways are resolved; what was skipped counts as resolved and gives nothing."""
    flow = mixed()
    harness = make_harness(flow)
    short, long = harness.run(flow, 1), harness.run(flow, 10)
    assert short.output == {"left": 3, "right": 3}
    assert long.output == {"detour": 13, "right": 12}
    assert harness.calls.count("merge") == 2
    assert skipped(harness, short.run.id) == ["detour"]


def test_join_begins_once_in_every_order_of_completion(make_harness: MakeHarness) -> None:
    """In whatever order three branches end, each held by another worker, what follows begins once, after the last."""
    first, branches = step("first"), [step(name) for name in ("a", "b", "c")]
    flow: Graph[int, Any] = Graph("orders", int, version="1").entry(first).edge(first, tuple(branches))
    for one in branches:
        flow = flow.edge(one, merge)
    flow = flow.end(merge)
    harness = make_harness(flow)
    for order in permutations("abc"):
        run_id = harness.start(flow, 1)
        harness.admit()
        harness.execute(*harness.lease())
        leases = {lease.key.stage_id: lease for lease in harness.lease(limit=3)}
        for name in order[:2]:
            harness.execute(leases[name])
            assert "merge" not in harness.statuses(run_id)
        harness.execute(leases[order[2]])
        assert harness.statuses(run_id)["merge"] is StageStatus.READY
        assert harness.stage(run_id, "merge").via == order
        harness.drain()
        assert harness.look(flow, run_id).output == {"a": 3, "b": 3, "c": 3}
    assert harness.calls.count("merge") == 6


def test_dead_path_is_skipped_to_its_end(make_harness: MakeHarness) -> None:
    """Everything that only an untaken edge leads to is skipped with it, joins included, and the run still ends."""
    first, left, right, last = (step(name) for name in ("first", "left", "right", "last"))
    flow = (
        Graph("dead", int, version="1")
        .entry(first)
        .edge(first, (left, right), when=lambda number: number > 10)
        .edge(first, last)
        .edge(left, merge)
        .edge(right, merge)
        .edge(merge, behind)
        .edge(behind, END)
        .end(last)
    )
    harness = make_harness(flow)
    ended = harness.run(flow, 1)
    assert ended.output == 3
    assert skipped(harness, ended.run.id) == ["behind", "left", "merge", "right"]


@stage(retry=ONCE)
async def behind(parts: dict[str, int]) -> int:
    """Take what the join gives."""
    return sum(parts.values())


def test_join_that_needs_some_begins_early_and_ends_the_rest(make_harness: MakeHarness) -> None:
    """A join that needs one of three begins with the first and takes that alone; the end of its run ends the others."""
    flow = (
        workflow("fastest", input=int, version="1")
        .parallel(step("a"), step("b"), step("c"), need=1)
        .pipe(stage(name="last", retry=ONCE)(_first_of))
    )
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    leases = {lease.key.stage_id: lease for lease in harness.lease(limit=3)}
    harness.execute(leases["b"])
    assert harness.statuses(run_id)["last"] is StageStatus.READY
    harness.execute(leases["a"])
    harness.execute(*harness.lease())
    assert harness.look(flow, run_id).status is RunStatus.COMPLETED
    assert harness.look(flow, run_id).output == [None, 2, None]
    assert harness.statuses(run_id)["c"] is StageStatus.CANCELLED
    assert harness.execute(leases["c"]).outcome.value == "lost"


async def _first_of(parts: tuple[int | None, int | None, int | None]) -> list[int | None]:
    return list(parts)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_join_tolerates_so_many_failures_and_no_more(make_harness: MakeHarness, failing: int) -> None:
    """Failed members give None while the join tolerates them; one more fails the run with TOO_MANY_FAILED."""
    names = ("a", "b", "c")
    members = [flaky(name, failures=9 if number < failing else 0, retry=ONCE) for number, name in enumerate(names)]
    flow = (
        workflow("tolerant", input=int, version="1")
        .parallel(members[0], members[1], members[2], tolerate=1)
        .pipe(stage(name="last", retry=ONCE)(_first_of))
    )
    harness = make_harness(flow)
    ended = harness.run(flow, 1)
    if failing < 2:
        assert ended.output == [None if number < failing else 2 for number in range(3)]
    else:
        assert ended.failure is not None
        assert (ended.failure.code, ended.failure.stage_id) == ("TOO_MANY_FAILED", "last")
    statuses = harness.statuses(ended.run.id)
    assert [statuses[name] for name in names[:failing]] == [StageStatus.FAILED] * failing


def test_join_that_cannot_get_what_it_needs_fails_its_run(make_harness: MakeHarness) -> None:
    """Once all ways are resolved and fewer than needed were taken the run fails, and does not hang."""
    first, left, right, other = step("first"), step("left"), step("right"), step("other")
    flow = (
        Graph("short", int, version="1")
        .entry(first)
        .edge(first, (left, right))
        .edge(left, other, when=lambda number: number > 0)
        .edge(left, merge)
        .edge(right, merge)
        .join(merge, need=2)
        .end(merge, other)
    )
    ended = make_harness(flow).run(flow, 1)
    assert ended.failure is not None
    assert ended.failure.code == "TOO_MANY_FAILED"


def test_both_ends_are_awaited_when_two_ways_reach_the_end(make_harness: MakeHarness) -> None:
    """A run whose fork is never joined is COMPLETED when both branches are, with the outputs of both."""
    first, left, right = step("first"), step("left"), step("right")
    flow = Graph("ends", int, version="1").entry(first).edge(first, (left, right)).end(left, right)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    one, two = harness.lease(limit=2)
    harness.execute(two)
    assert harness.run_of(run_id).status is RunStatus.RUNNING
    harness.execute(one)
    assert harness.run_of(run_id).status is RunStatus.COMPLETED
    assert harness.run_of(run_id).output_of == ("left", "right")


def test_several_entries_begin_at_once(make_harness: MakeHarness) -> None:
    """A graph may begin with several stages, each of which takes the run's input."""
    left, right = step("left"), step("right")
    flow = Graph("entries", int, version="1").entry(left, right).edge((left, right), merge).end(merge)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    leases = harness.lease(limit=5)
    assert len(leases) == 2
    for lease in leases:
        harness.execute(lease)
    harness.drain()
    assert harness.look(flow, run_id).output == {"left": 2, "right": 2}


# Loops


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


# Waits on the way


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
