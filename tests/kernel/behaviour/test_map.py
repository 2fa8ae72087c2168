"""Maps: one instance for each item, so many at a time, and a list in the order of the items."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from holdfast import (
    END,
    Context,
    Flow,
    Graph,
    Retry,
    RunStatus,
    Settings,
    StageStatus,
    line,
    otherwise,
    run_sync,
    stage,
    when,
    workflow,
)
from holdfast.entities.stage import StageInstance, StageKey
from holdfast.errors import UnknownStage
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from tests.kernel.behaviour.flows import ONCE, Calls, step
from tests.kernel.watching import MakeHarness, WatchedHarness


class Bad:
    """The items that fail, and how often."""

    def __init__(self, **times: int) -> None:
        self.times = {int(name[1:]): count for name, count in times.items()}


@stage(retry=Retry(3, base="10s", backoff="fixed", jitter=0))
async def item(number: int, ctx: Context) -> int:
    """Take ten times the item."""
    ctx.services[Calls].names.append(f"{number}.{ctx.attempt}")
    left = ctx.services[Bad].times.get(number, 0)
    if left:
        ctx.services[Bad].times[number] = left - 1
        raise ConnectionError("not now")
    return number * 10


def mapping(*, limit: int = 3, tolerate: float | None = None, id: str = "mapped") -> Flow[list[int], Any]:
    """Return a workflow that is one map."""
    flow = workflow(id, input=list[int], version="1")
    if tolerate is None:
        return flow.map(item, limit=limit)
    return flow.map(item, limit=limit, tolerate=tolerate)


def live_items(harness: WatchedHarness, run_id: str, stage_id: str = "item") -> list[int]:
    """Return the items that are under way."""
    stages = run_sync(harness.persistence.list_stages(run_id))
    return sorted(one.key.item for one in stages if one.key.stage_id == stage_id and not one.status.is_terminal)


def instances(harness: WatchedHarness, run_id: str, stage_id: str = "item") -> list[StageInstance]:
    """Return the instances of the items."""
    return [one for one in run_sync(harness.persistence.list_stages(run_id)) if one.key.stage_id == stage_id]


def begun(harness: WatchedHarness, flow: Flow[list[int], Any], items: list[int]) -> str:
    """Start a run and split its list."""
    run_id = harness.start(flow, items)
    harness.admit()
    harness.execute(*harness.lease())
    return run_id


def test_list_has_the_order_of_the_items(make_harness: MakeHarness) -> None:
    """Whichever item ends first, the outputs stand in the order of the items."""
    flow = mapping(limit=5)
    harness = make_harness(flow, services={Bad: Bad()})
    run_id = begun(harness, flow, [4, 3, 2, 1, 0])
    for lease in sorted(harness.lease(limit=5), key=lambda one: -one.key.item):
        harness.execute(lease)
    harness.drain()
    assert harness.look(flow, run_id).output == [40, 30, 20, 10, 0]
    assert harness.calls.names == ["0.1", "1.1", "2.1", "3.1", "4.1"]


def test_window_is_kept_exactly(make_harness: MakeHarness) -> None:
    """So many items are under way, no more and no less, until none is left; a slow one holds back nobody."""
    flow = mapping(limit=3)
    harness = make_harness(flow, services={Bad: Bad()})
    run_id = begun(harness, flow, list(range(8)))
    slow, *others = sorted(harness.lease(limit=8), key=lambda one: one.key)
    assert [slow.key.item, *(lease.key.item for lease in others)] == [0, 1, 2]
    seen = [live_items(harness, run_id)]
    for lease in others:
        harness.execute(lease)
        seen.append(live_items(harness, run_id))
    while leases := harness.lease():
        harness.execute(*leases)
        seen.append(live_items(harness, run_id))
    assert seen == [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5], [0, 5, 6], [0, 6, 7], [0, 7], [0]]
    harness.execute(slow)
    harness.drain()
    assert harness.look(flow, run_id).output == [number * 10 for number in range(8)]


def test_map_over_nothing_gives_an_empty_list(make_harness: MakeHarness) -> None:
    """Without items nothing is executed, and what follows gets an empty list."""
    flow = mapping().pipe(stage(name="count", retry=ONCE)(_count))
    harness = make_harness(flow, services={Bad: Bad()})
    ended = harness.run(flow, list[int]())
    assert ended.output == 0
    assert harness.calls.names == []
    assert "item" not in harness.statuses(ended.run.id)


async def _count(numbers: list[int]) -> int:
    return len(numbers)


@pytest.mark.parametrize("items", [1, 3, 4])
def test_map_of_few_items_is_complete(make_harness: MakeHarness, items: int) -> None:
    """Fewer items than the window, as many, and one more are all executed once."""
    flow = mapping(limit=3)
    ended = make_harness(flow, services={Bad: Bad()}).run(flow, list(range(items)))
    assert ended.output == [number * 10 for number in range(items)]


def test_each_item_has_attempts_of_its_own(make_harness: MakeHarness) -> None:
    """An item that fails is retried by the policy, while the others go on."""
    flow = mapping(limit=2)
    harness = make_harness(flow, services={Bad: Bad(i0=2, i3=1)})
    run_id = harness.start(flow, list(range(5)))
    harness.drain(until=timedelta())
    assert [one.key.item for one in instances(harness, run_id) if one.status is StageStatus.COMPLETED] == [1, 2]
    harness.drain()
    assert harness.look(flow, run_id).output == [number * 10 for number in range(5)]
    assert harness.calls.names.count("0.3") == harness.calls.names.count("3.2") == 1
    assert {one.key.item: one.attempt for one in instances(harness, run_id)} == {0: 3, 1: 1, 2: 1, 3: 2, 4: 1}


def test_item_that_fails_for_good_fails_its_run(make_harness: MakeHarness) -> None:
    """Without tolerance one failed item ends the run and cancels what is under way."""
    flow = mapping(limit=2)
    harness = make_harness(flow, services={Bad: Bad(i1=9)})
    run_id = begun(harness, flow, list(range(5)))
    failing = flow.definition().stages["item"].retry.attempts
    for _ in range(failing):
        (lease,) = [one for one in harness.lease(limit=5) if one.key.item == 1]
        harness.execute(lease)
        harness.clock.advance("10s")
    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert (failure.code, failure.stage_id) == ("STAGE_ERROR", "item")
    statuses = {one.key.item: one.status for one in instances(harness, run_id)}
    assert statuses == {0: StageStatus.CANCELLED, 1: StageStatus.FAILED}


@pytest.mark.parametrize(
    ("tolerate", "bad", "is_fine"),
    [(2, 2, True), (2, 3, False), (0.5, 5, True), (0.5, 6, False), (0, 1, False), (1.0, 10, True)],
)
def test_so_many_items_may_fail(make_harness: MakeHarness, tolerate: float, bad: int, is_fine: bool) -> None:
    """Failed items give None while they are tolerated, as a number or a fraction; one more fails the run."""
    flow = mapping(limit=4, tolerate=tolerate)
    harness = make_harness(flow, services={Bad: Bad(**{f"i{number}": 9 for number in range(bad)})})
    ended = harness.run(flow, list(range(10)))
    if is_fine:
        assert ended.output == [None if number < bad else number * 10 for number in range(10)]
    else:
        assert ended.failure is not None
        assert ended.failure.code == ("STAGE_ERROR" if tolerate == 0 else "TOO_MANY_FAILED")


def test_lost_worker_with_the_last_attempt_of_a_tolerated_item_gives_none(make_harness: MakeHarness) -> None:
    """The death of a worker counts as the failure of its item, and the map goes on."""
    hasty = item.using(retry=ONCE)
    flow = workflow("hasty", input=list[int], version="1").map(hasty, limit=1, tolerate=1)
    harness = make_harness(flow, services={Bad: Bad()})
    run_id = begun(harness, flow, [1, 2, 3])
    assert len(harness.lease()) == 1
    harness.clock.advance("31s")
    harness.drain()
    assert harness.look(flow, run_id).output == [None, 20, 30]
    assert harness.calls.names == ["2.1", "3.1"]


def test_line_of_stages_is_executed_for_each_item(make_harness: MakeHarness) -> None:
    """An item goes through the whole line on its own, and counts until it is through."""
    body = line(int).pipe(step("a")).pipe(step("b")).pipe(step("c"))
    flow = workflow("lines", input=list[int], version="1").map(body, limit=2)
    harness = make_harness(flow)
    run_id = harness.start(flow, [0, 10, 20])
    harness.admit()
    harness.execute(*harness.lease())
    first, second = harness.lease(limit=5)
    harness.execute(first)
    assert (live_items(harness, run_id, "a"), live_items(harness, run_id, "b")) == ([1], [0])
    harness.execute(second)
    harness.drain()
    assert harness.look(flow, run_id).output == [3, 13, 23]
    assert sorted(harness.calls.names) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


def test_line_with_a_branch_decides_for_each_item(make_harness: MakeHarness) -> None:
    """Items take different branches, and what one item does not take is skipped for that item alone."""
    body = (
        line(int).pipe(step("look")).branch(when(lambda number: number > 10, step("large")), otherwise(step("small")))
    )
    flow = workflow("split", input=list[int], version="1").map(body, limit=2)
    harness = make_harness(flow)
    ended = harness.run(flow, [0, 20, 3])
    assert ended.output == [2, 22, 5]
    large = {one.key.item: one.status for one in instances(harness, ended.run.id, "large")}
    assert large == {0: StageStatus.SKIPPED, 1: StageStatus.COMPLETED, 2: StageStatus.SKIPPED}


def test_line_with_a_group_joins_for_each_item(make_harness: MakeHarness) -> None:
    """A parallel group inside of a map is joined item by item, in any order of completion."""
    body = line(int).parallel(step("left"), step("right")).pipe(stage(name="sum", retry=ONCE)(_sum))
    flow = workflow("grouped", input=list[int], version="1").map(body, limit=2)
    harness = make_harness(flow)
    run_id = harness.start(flow, [0, 10, 20])
    harness.admit()
    while harness.run_of(run_id).status is not RunStatus.COMPLETED:
        for lease in reversed(harness.lease(limit=9)):
            harness.execute(lease)
    assert harness.look(flow, run_id).output == [2, 22, 42]


async def _sum(parts: tuple[int, int]) -> int:
    return sum(parts)


def test_items_wait_each_for_their_own_payload(make_harness: MakeHarness) -> None:
    """A wait inside of a map is addressed by its item, and answers in any order go where they belong."""

    @stage(waits={"label": str}, retry=ONCE)
    async def label(number: int, ctx: Context) -> str:
        return f"{number} {await ctx.wait_for('label', str)} {ctx.item}"

    flow = workflow("labels", input=list[int], version="1").map(label, limit=2)
    harness = make_harness(flow)
    run_id = harness.start(flow, [7, 8, 9])
    harness.resume(run_id, "label[2]", "early")
    harness.drain(until=timedelta())
    assert sorted(wait.name for wait in harness.waits(run_id)) == ["label[0]", "label[1]"]
    harness.resume(run_id, "label[1]", "one")
    harness.drain(until=timedelta())
    harness.resume(run_id, "label[0]", "zero")
    harness.drain(until=timedelta())
    assert harness.look(flow, run_id).output == ["7 zero 0", "8 one 1", "9 early 2"]


def test_large_items_and_results_lie_in_blobs(make_harness: MakeHarness) -> None:
    """Items, outputs and the list itself leave their rows when they are large, each on its own."""

    @stage(retry=ONCE)
    async def double(text: str) -> str:
        return text * 2

    flow = workflow("large", input=list[str], version="1").map(double, limit=2)
    harness = make_harness(flow, settings=Settings(blob_threshold=500))
    texts = [letter * length for letter, length in (("a", 10), ("b", 2000), ("c", 300), ("d", 2000))]
    ended = harness.run(flow, texts)
    assert ended.output == [text * 2 for text in texts]
    kept = [one.output for one in instances(harness, ended.run.id, "double")]
    assert [payload is not None and payload.blob is not None for payload in kept] == [False, True, True, True]
    stored = [
        run_sync(harness.persistence.find_item(StageKey(run_id=ended.run.id, stage_id="double~split", item=number)))
        for number in range(4)
    ]
    assert [payload is not None and payload.blob is not None for payload in stored] == [False, True, False, True]


def test_what_is_no_list_is_no_map(make_harness: MakeHarness) -> None:
    """Items that do not fit their stage are refused when the map begins or when the item is read, as INVALID_INPUT."""

    @stage(retry=ONCE)
    async def loose() -> Any:
        return {"not": "a list"}

    flow = workflow("loose", input=None, version="1").pipe(loose).map(step("item"))
    ended = make_harness(flow).run(flow, None)
    assert ended.failure is not None
    assert ended.failure.code == "INVALID_INPUT"


def test_map_in_a_graph_is_a_node(make_harness: MakeHarness) -> None:
    """A map stands in a graph like any other node, and can be skipped."""
    first = stage(name="first", retry=ONCE)(_several)
    each: Any = Graph.map(step("each"), limit=2)
    flow: Graph[int, Any] = (
        Graph("mapping", int, version="1")
        .entry(first)
        .edge(first, each, when=lambda numbers: len(numbers) > 0)
        .edge(first, END)
        .edge(each, END)
    )
    harness = make_harness(flow)
    assert harness.run(flow, 3).output == [1, 2, 3]
    empty = harness.run(flow, 0)
    assert empty.output == []
    assert harness.statuses(empty.run.id)["each~split"] is StageStatus.SKIPPED
    assert harness.statuses(empty.run.id)["each~join"] is StageStatus.SKIPPED


async def _several(number: int) -> list[int]:
    return list(range(number))


def test_two_maps_one_after_the_other(make_harness: MakeHarness) -> None:
    """The list of one map can be the items of the next one, and single items of both are seen by their outputs."""
    flow = (
        workflow("twice", input=list[int], version="1")
        .map(step("one"), limit=2)
        .map(step("two"), limit=3)
        .pipe(stage(name="last", needs=["one"], retry=ONCE)(_last))
    )
    assert make_harness(flow).run(flow, [1, 2, 3]).output == [[2, 3, 4], [3, 4, 5]]


async def _last(numbers: list[int], ctx: Context) -> list[list[int]]:
    return [ctx.require("one"), numbers]


def test_map_in_a_loop_begins_anew_in_each_turn(make_harness: MakeHarness) -> None:
    """Each turn splits its own list, whatever the length, and collects its own results."""
    grow = stage(name="grow", retry=ONCE)(_grow)
    each: Any = Graph.map(step("each"), limit=2)
    flow: Graph[list[int], Any] = (
        Graph("growing", list[int], version="1")
        .entry(grow)
        .edge(grow, each)
        .edge(each, grow, when=lambda numbers: len(numbers) < 4)
        .edge(each, END)
    )
    assert make_harness(flow).run(flow, list[int]()).output == [4, 3, 2, 1]


async def _grow(numbers: list[int]) -> list[int]:
    return [*numbers, 0]


def test_rerun_of_an_item_stage_does_the_map_again(make_harness: MakeHarness) -> None:
    """A rerun from the mapped stage splits the list again and executes every item in the new generation."""
    flow = mapping()
    harness = make_harness(flow, services={Bad: Bad()})
    ended = harness.run(flow, [1, 2, 3])
    harness.rerun(ended.run.id, "item")
    harness.drain()
    assert harness.look(flow, ended.run.id).output == [10, 20, 30]
    assert sorted(harness.calls.names) == ["1.1", "1.1", "2.1", "2.1", "3.1", "3.1"]
    with pytest.raises(UnknownStage):
        harness.rerun(ended.run.id, "nobody")


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(0, 24, 3))
def test_map_survives_a_worker_that_fails_anywhere(make_harness: MakeHarness, number: int, fault: Fault) -> None:
    """Whichever call of the store fails, every item gives its result, and none is left out or counted twice."""
    flow = mapping(limit=2)
    plan = FaultPlan()
    services = {Bad: Bad()}
    failing, other = make_harness(flow, services=services, plan=plan), make_harness(flow, services=services)
    run_id = other.start(flow, list(range(5)))
    other.admit()
    plan.fail_next(fault, after=number)
    try:
        failing.work_off()
    except (ProcessDied, Exception):  # noqa: BLE001 - whatever it was, another worker takes over
        other.clock.advance("31s")
    other.drain()
    assert other.look(flow, run_id).output == [number * 10 for number in range(5)]
    assert len(instances(other, run_id)) == 5


def test_two_thousand_items_are_quick(make_harness: MakeHarness) -> None:
    """The time of an item does not grow with their number: the last quarter takes about as long as the first."""

    @stage(retry=ONCE)
    async def same(number: int) -> int:
        times.append(time.perf_counter())
        return number

    times: list[float] = []
    flow: Flow[list[int], list[int]] = workflow("many", input=list[int], version="1").map(same, limit=10)
    harness = make_harness(flow, ledger=None)
    items = 2_000
    ended = harness.run(flow, list(range(items)))
    assert ended.output == list(range(items))
    quarter = items // 4
    first, last = times[quarter] - times[0], times[-1] - times[-quarter - 1]
    assert last < 4 * first + 0.5
    assert max(one.depth for one in ended.stages) < 10
