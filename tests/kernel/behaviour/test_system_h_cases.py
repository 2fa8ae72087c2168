"""The second reference system: its cases that we keep, and its weak spots, each in a test that would fail there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
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
    StageStatus,
    Unavailable,
    otherwise,
    run_sync,
    stage,
    when,
    workflow,
)
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.run_transition import RunTransition
from holdfast.entities.definition import Body, Definition
from holdfast.entities.retry import RetryAfter
from holdfast.errors import HoldfastError, InvalidInput, LeaseLost, StoreUnavailable, UnknownWorkflow
from holdfast.events import EventType, fold
from holdfast.ports.executor import BodyCall, StageTimeout
from holdfast.verdicts import JobOutcome
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_hosts.cli.shapes import edge_shape, spec_shape, workflow_shape
from holdfast_hosts.executors import HostExecutor
from holdfast_testing.clock import FakeClock
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from holdfast_testing.harness import Harness
from tests.kernel.behaviour.flows import ONCE, THRICE, Calls, diamond, flaky, line, step
from tests.kernel.watching import MakeHarness, WatchedHarness


def failure_of(harness: WatchedHarness, run_id: str) -> tuple[str, str | None]:
    """Return why the run failed and where."""
    failure = harness.run_of(run_id).failure
    assert failure is not None
    return failure.code, failure.stage_id


# Cases


def test_parity_213_builder_keeps_options_and_conditions_and_needs_an_entry() -> None:
    """Edges have priority 0 unless told, nodes keep their options, and a graph without an entry is refused."""
    first, second = step("first", retry=THRICE), step("second")
    graph = (
        Graph("built", int, version="1")
        .entry(first)
        .edge(first, second, when=lambda number: number > 5)
        .edge(first, END)
        .end(second)
    )
    definition = graph.definition()
    conditional, plain = definition.graph.outgoing["first"]
    assert conditional.condition is not None
    assert (conditional.priority, conditional.condition.label) == (0, "number > 5")
    assert conditional.condition.function(6) is True
    assert plain.condition is None
    assert definition.stages["first"].retry == THRICE
    with pytest.raises(DefinitionError, match="entry"):
        Graph("none", int, version="1").edge(first, second).end(second).definition()


def routed(*, ties: bool) -> Flow[int, int]:
    """Return a branch with two conditions that both match, or none of which is left out."""
    return (
        workflow("routed", input=int, version="1")
        .pipe(step("s1"))
        .branch(
            when(lambda number: number > 0, step("a")),
            when(lambda number: number > (1 if ties else 100), step("b")),
            otherwise(step("c")),
        )
    )


def test_parity_216_tie_fails_the_run_and_the_timeline_says_between_what(make_harness: MakeHarness) -> None:
    """Two edges of the highest priority that match are AMBIGUOUS_EDGE, told with both conditions; a fix goes on."""
    broken, fixed = routed(ties=True), routed(ties=False)
    harness = make_harness(broken)
    ended = harness.run(broken, 5)
    assert failure_of(harness, ended.run.id) == ("AMBIGUOUS_EDGE", "s1")
    told = ended.events[-1]
    assert told.type is EventType.RUN_FAILED
    assert told.data["code"] == "AMBIGUOUS_EDGE"
    assert "number > 0" in told.data["message"]
    assert "number > (1 if ties else 100)" in told.data["message"]
    repaired = make_harness(fixed)
    repaired.retry(ended.run.id)
    repaired.drain()
    assert repaired.look(fixed, ended.run.id).output == 7


def test_parity_217_gap_in_the_routes_is_an_error_not_a_success() -> None:
    """A stage whose conditions may all be false, or that leads nowhere, is refused when the workflow is built."""
    first, second = step("first"), step("second")
    base = Graph("gap", int, version="1").entry(first)
    with pytest.raises(DefinitionError, match="first"):
        base.edge(first, second, when=lambda number: number > 5).end(second).definition()
    with pytest.raises(DefinitionError, match="second"):
        base.edge(first, second).definition()
    with pytest.raises(DefinitionError, match="otherwise"):
        workflow("gap", input=int).pipe(first).branch(
            when(lambda number: number > 1, step("a")), when(lambda number: number > 2, step("b"))
        ).definition()


def test_parity_220_221_key_reuses_output_and_patch(make_harness: MakeHarness) -> None:
    """A side effect under a key happens once over several runs; who comes later gets output and patch."""
    done: list[int] = []

    @stage(key=lambda number: f"k{number}")
    async def once(number: int, ctx: Context) -> Ok[int]:
        done.append(number)
        return Ok(number + 1, patch={"done": {"by": ctx.run_id}})

    body: Any = once
    flow: Flow[int, Any] = workflow("once", input=int, version="1", state=True).pipe(body)
    harness = make_harness(flow)
    first, second, other = (harness.run(flow, number) for number in (1, 1, 2))
    assert done == [1, 2]
    assert (first.output, second.output, other.output) == (2, 2, 3)
    assert second.state == first.state == {"done": {"by": first.run.id}}


def test_parity_222_delays_are_fixed_or_doubled_and_capped(make_harness: MakeHarness) -> None:
    """Base, base doubled with each attempt, never above the cap; beyond the budget there is no further attempt."""
    fixed = Retry(9, backoff="fixed", base="2s", jitter=0)
    doubled = Retry(9, base="2s", cap="10s", jitter=0)
    assert [fixed.delay(attempt=n, fraction=1).total_seconds() for n in (1, 2, 8)] == [2, 2, 2]
    assert [doubled.delay(attempt=n, fraction=1).total_seconds() for n in (1, 2, 3, 4, 99)] == [2, 4, 8, 10, 10]
    flow = workflow("budget", input=int, version="1").pipe(flaky("s1", failures=9, retry=Retry(2, jitter=0)))
    ended = make_harness(flow).run(flow, 1)
    assert (ended.status, ended.attempts("s1")) == (RunStatus.FAILED, 2)


def test_parity_223_slow_body_is_a_timeout_with_its_limit() -> None:
    """A body that does not end is interrupted at its limit, which the error tells; a fast one gives its value."""

    async def play() -> None:
        executor = HostExecutor(threads=1)
        try:
            body = workflow("slow", input=int).pipe(never).definition().stages["never"].body
            assert body is not None
            call = executor.run(_call(body, timeout=timedelta(milliseconds=20)))
            with pytest.raises(StageTimeout) as caught:
                await call
            assert "0.02" in str(caught.value)
            quick = workflow("quick", input=int).pipe(at_once).definition().stages["at_once"].body
            assert quick is not None
            assert await executor.run(_call(quick, timeout=timedelta(seconds=60))) == 1
        finally:
            executor.close()

    asyncio.run(play())


def _call(body: Body, *, timeout: timedelta) -> BodyCall:
    return BodyCall(body=body, arguments=(1,), timeout=timeout)


@stage
async def never(number: int) -> int:
    """Wait for what does not come."""
    await asyncio.Event().wait()
    return number


@stage
async def at_once(number: int) -> int:
    """Give the number."""
    return number


def test_parity_224_lease_is_taken_by_one_and_free_again_afterwards(make_harness: MakeHarness) -> None:
    """While a job is leased nobody else gets it and nothing is raised; it is free once it is handed back or ends."""
    flow = line(1)
    harness = make_harness(flow)
    one, two = harness.start(flow, 1), harness.start(flow, 1)
    harness.admit()
    first, second = harness.lease(limit=2)
    assert {first.key.run_id, second.key.run_id} == {one, two}
    ttl = timedelta(seconds=30)
    assert run_sync(harness.transport.claim(first.key, worker="w2", ttl=ttl)) is None
    run_sync(harness.transport.release(first))
    taken = run_sync(harness.transport.claim(first.key, worker="w2", ttl=ttl))
    assert taken is not None
    assert taken.epoch > first.epoch
    assert harness.execute(taken).outcome is JobOutcome.COMPLETED
    assert harness.execute(second).outcome is JobOutcome.COMPLETED


def test_parity_226_description_of_a_workflow_leaves_out_its_functions() -> None:
    """What is shown of a workflow is JSON: retries, timeouts, edges and the words of conditions, but no code."""
    flow = routed(ties=True)
    definition: Definition = flow.definition()
    described = [workflow_shape(definition), *map(spec_shape, definition.stages.values())]
    edges = [edge_shape(edge) for edge in definition.edges]
    text = str(described) + str(edges)
    assert "function" not in text
    assert "0x" not in text
    assert "number > 0" in text
    assert all(isinstance(one, str | int | float | bool | list | dict | None) for one in _leaves([described, edges]))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for member in value.values():
            yield from _leaves(member)
    elif isinstance(value, list):
        for member in value:
            yield from _leaves(member)
    else:
        yield value


# Durability and races


def test_weak_71_three_workers_at_one_job_execute_it_once(make_harness: MakeHarness) -> None:
    """A lease is a row, not a session: over one connection one of three workers gets the job; nothing stays held."""
    outcomes: list[JobOutcome] = []

    @stage(retry=ONCE)
    async def once(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        key = harness.stage(ctx.run_id, "once").key
        outcomes.extend(harness.deliver(key, worker=worker).outcome for worker in ("w2", "w3"))
        return number

    flow = workflow("once", input=int, version="1").pipe(once)
    harness = make_harness(flow)
    runs = [harness.start(flow, number) for number in range(20)]
    harness.admit()
    for lease in harness.lease(limit=20):
        harness.execute(lease)
    assert outcomes == [JobOutcome.LOST] * 40
    assert harness.calls.count("once") == 20
    assert all(harness.run_of(run_id).status is RunStatus.COMPLETED for run_id in runs)
    assert harness.dispatch(LeaseReapStale()).released == 0


def test_weak_72_refused_step_poisons_nothing(make_harness: MakeHarness) -> None:
    """After an attempt that was refused because its workflow is not registered, the next one works."""
    flow = line(2)
    knows, lacks = make_harness(flow), make_harness(line(1, id="other"))
    run_id = knows.start(flow, 1)
    knows.admit()
    key = knows.stage(run_id, "s1").key
    for _ in range(3):
        with pytest.raises(UnknownWorkflow):
            lacks.deliver(key)
        knows.clock.advance("31s")
    knows.drain()
    assert knows.look(flow, run_id).output == 3


def _story(make_harness: MakeHarness, plan: FaultPlan, *, key: str) -> tuple[WatchedHarness, str | None]:
    """Start a run and work it off in a process under *plan*; return another host and the run, if it exists."""
    flow = line(2, retry=THRICE)
    other = make_harness(flow)
    run_id: str | None = None
    try:
        harness = make_harness(flow, plan=plan)
        run_id = harness.start(flow, 1, idempotency_key=key)
        harness.admit()
        harness.work_off()
    except (ProcessDied, Unavailable):
        other.clock.advance("31s")
    return other, run_id


@pytest.mark.parametrize("fault", list(Fault))
def test_weak_73_every_step_is_whole_wherever_its_process_dies(make_harness: MakeHarness, fault: Fault) -> None:
    """For every call of the store and every way to fail, row and timeline agree at once, and the run ends well."""
    plan = FaultPlan()
    _story(make_harness, plan, key="calm")
    for number in range(2, plan.calls + 1):
        other, _ = _story(make_harness, FaultPlan({number: fault}), key=f"{number}")
        run_id = other.start(line(2, retry=THRICE), 1, idempotency_key=f"{number}")
        picture = other.picture(run_id)
        assert picture is not None
        folded = fold(picture.events)
        assert folded.status is picture.run.status
        assert {key: one.status for key, one in picture.stages.items()} == folded.stages
        other.drain()
        kinds = other.kinds(run_id)
        assert (kinds[0], kinds[-1]) == ("run.created", "run.completed")
        assert kinds.count("run.completed") == kinds.count("run.started") == 1


def test_weak_74_error_of_the_store_is_no_failure_of_the_stage(make_harness: MakeHarness) -> None:
    """A commit that fails behind a body that did its work leaves the job leased; no failure is told."""
    plan = FaultPlan()
    key: list[str] = []

    @stage(retry=Retry(2, base="1s"))
    async def pay(number: int, ctx: Context) -> int:
        key.append(ctx.idempotency_key)
        if len(key) == 1:
            plan.fail_next(Fault.FAIL_BEFORE)
        return number

    flow = workflow("pay", input=int, version="1").pipe(pay)
    harness = make_harness(flow, plan=plan)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    with pytest.raises(StoreUnavailable):
        harness.execute(lease)
    assert harness.stage(run_id, "pay").status is StageStatus.RUNNING
    assert EventType.STAGE_FAILED not in [event.type for event in harness.events(run_id)]
    harness.clock.advance("31s")
    harness.drain()
    assert harness.look(flow, run_id).output == 1
    assert len(set(key)) == 1


def test_weak_75_keys_of_two_workflows_do_not_meet_and_two_runs_do_not_execute_at_once(
    make_harness: MakeHarness,
) -> None:
    """A key is unique in tenant, workflow and stage; the second run of one key waits until the first one is done."""

    @stage(key=lambda number: "same", retry=ONCE)
    async def keyed(number: int, ctx: Context) -> int:
        await ctx.sleep("nap", "5s")
        ctx.services[Calls].note(ctx)
        return number + 1

    one = workflow("one", input=int, version="1").pipe(keyed)
    two = workflow("two", input=int, version="1").pipe(keyed)
    harness = make_harness(one, two)
    runs = [harness.start(flow, 1) for flow in (one, one, two)]
    harness.drain(until=timedelta())
    assert [harness.run_of(run_id).status for run_id in runs] == [
        RunStatus.WAITING,
        RunStatus.RUNNING,
        RunStatus.WAITING,
    ]
    harness.drain()
    assert harness.calls.count("keyed") == 2
    changed = harness.run(one, 2)
    assert failure_of(harness, changed.run.id) == ("KEY_MISMATCH", "keyed")


def test_weak_77_new_host_brings_every_run_to_its_end(make_harness: MakeHarness) -> None:
    """After the death of a process in the middle another one does all that is left, not one step of it."""
    flow = line(5, retry=THRICE)
    first = make_harness(flow)
    runs = [first.start(flow, number) for number in range(3)]
    first.admit()
    for lease in first.lease(limit=2):
        first.execute(lease)
    first.lease(limit=1)
    first.clock.advance("31s")
    second = make_harness(flow)
    second.drain()
    assert [second.look(flow, run_id).output for run_id in runs] == [5, 6, 7]


def test_weak_78_store_that_cannot_be_opened_is_an_error(tmp_path: Path, clock: FakeClock) -> None:
    """A harness on a database that is not there to be opened fails; it does not go on in memory."""
    flow = line(1)
    nowhere = tmp_path / "file"
    nowhere.write_text("no folder")
    with pytest.raises(HoldfastError):
        Harness(flow, persistence=SqlitePersistence(nowhere / "holdfast.db", clock=clock), clock=clock)


def test_weak_79_what_a_stage_does_to_its_values_stays_with_it(make_harness: MakeHarness) -> None:
    """A body that changes its input, its state or what it returned changes nothing that is stored."""
    shared: list[Any] = []

    @stage(retry=Retry(2, base="1s"))
    async def vandal(items: list[int], ctx: Context) -> Ok[list[int]]:
        seen.append((list(items), {name: list(value) for name, value in ctx.state.items()}))
        items.append(99)
        ctx.state["log"].append(99)
        ctx.input.append(99)
        if ctx.attempt == 1:
            raise ConnectionError("after the damage")
        shared.append(items)
        return Ok(items, patch={"given": items})

    seen: list[Any] = []
    body: Any = vandal
    flow: Flow[list[int], Any] = workflow("vandal", input=list[int], version="1", state=True).pipe(body)
    harness = make_harness(flow)
    ended = harness.run(flow, [1], initial_state={"log": [0]})
    assert seen == [([1], {"log": [0]})] * 2
    shared[0].append(100)
    assert harness.look(flow, ended.run.id).output == [1, 99]
    assert harness.look(flow, ended.run.id).state == {"log": [0], "given": [1, 99]}
    state: Any = harness.look(flow, ended.run.id).state
    state["log"].append(1)
    assert harness.look(flow, ended.run.id).state["log"] == [0]


def test_weak_80_attempts_and_delays_survive_the_process(make_harness: MakeHarness) -> None:
    """What an attempt used up is stored with its delay; no lease is held meanwhile, and another host counts on."""
    flow = workflow("flaky", input=int, version="1").pipe(flaky("s1", failures=2))
    first = make_harness(flow)
    run_id = first.start(flow, 1)
    first.admit()
    first.execute(*first.lease())
    row = first.stage(run_id, "s1")
    assert (row.status, row.attempt, row.lease_until) == (StageStatus.READY, 1, None)
    second = make_harness(flow)
    assert second.lease() == []
    second.clock.advance("10s")
    assert second.lease()[0].attempt == 2
    second.clock.advance("31s")
    second.drain()
    ended = second.look(flow, run_id)
    assert [event.data["attempt"] for event in ended.events if event.type is EventType.STAGE_STARTED] == [1, 2, 3]


def test_weak_81_attempt_that_timed_out_does_not_go_on_beside_the_next(make_harness: MakeHarness) -> None:
    """At its limit a body is interrupted before it is called again, and nothing of it is left when the run ends."""
    under_way: list[int] = []
    most: list[int] = []

    @stage(timeout="20ms", retry=Retry(3, backoff="fixed", base="1ms", jitter=0))
    async def hang(number: int, ctx: Context) -> int:
        under_way.append(ctx.attempt)
        most.append(len(under_way))
        try:
            await asyncio.Event().wait()
        finally:
            under_way.remove(ctx.attempt)
        return number

    flow = workflow("hang", input=int, version="1").pipe(hang)
    executor = HostExecutor(threads=1)
    harness = make_harness(flow, ledger=None, executor=executor)

    async def play() -> int:
        ended = await harness.arun(flow, 1)
        assert ended.failure is not None
        assert ended.failure.code == "TIMEOUT"
        return len(asyncio.all_tasks())

    assert asyncio.run(play()) == 1
    executor.close()
    assert (most, under_way) == ([1, 1, 1], [])


def test_weak_81_late_result_of_an_old_attempt_is_refused(make_harness: MakeHarness) -> None:
    """What an attempt writes after its lease went to another one is fenced off, checkpoints included."""
    lost: list[type[Exception]] = []

    @stage(retry=Retry(2))
    async def slow(number: int, ctx: Context) -> int:
        if ctx.attempt == 1:
            harness.clock.advance("31s")
            harness.dispatch(LeaseReapStale())
            (second,) = harness.lease(worker="w2")
            harness.execute(second)
            try:
                await ctx.once("late", lambda: 1)
            except LeaseLost as error:
                lost.append(type(error))
        return ctx.attempt

    flow = workflow("slow", input=int, version="1").pipe(slow)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    assert harness.execute(*harness.lease()).outcome is JobOutcome.LOST
    assert harness.look(flow, run_id).output == 2
    assert lost == [LeaseLost]


# Semantics


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
    assert failure_of(harness, harness.run(failing, 1).run.id) == ("STAGE_ERROR", "s2")


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
    assert failure_of(harness, wrong.run.id) == ("INVALID_PATCH", "clean")
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
