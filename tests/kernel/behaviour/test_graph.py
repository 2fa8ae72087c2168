"""Graphs: one edge is taken, the others are skipped, and joins hear of all of them."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from holdfast import (
    Context,
    Graph,
    Ok,
    RunStatus,
    Seen,
    StageStatus,
    line,
    otherwise,
    stage,
    when,
    workflow,
)
from holdfast.entities.graph import END
from tests.kernel.behaviour.flows import ONCE, Calls, flaky, step
from tests.kernel.behaviour.taken import chosen, skipped
from tests.kernel.watching import MakeHarness


@stage(retry=ONCE)
async def merge(parts: dict[str, int], ctx: Context) -> dict[str, int]:
    """Hand on what led here."""
    ctx.services[Calls].note(ctx)
    return parts


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
