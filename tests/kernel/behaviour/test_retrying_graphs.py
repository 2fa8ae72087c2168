"""Retried runs of groups, maps, loops and choices: what failed is done again, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast import (
    Flow,
    RunStatus,
    StageStatus,
    otherwise,
    stage,
    when,
    workflow,
)
from holdfast.authoring.graph import Graph
from holdfast.entities.graph import END
from holdfast.events import EventType
from tests.kernel.behaviour.flows import ONCE, step
from tests.kernel.behaviour.weather import Weather, fair
from tests.kernel.watching import MakeHarness


@pytest.fixture
def weather() -> Weather:
    """Return the weather."""
    return Weather()


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
