"""Weak spots of the second reference system in durability and races, each in a test that would fail there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    Context,
    Flow,
    Ok,
    Retry,
    RunStatus,
    StageStatus,
    Unavailable,
    stage,
    workflow,
)
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.errors import HoldfastError, LeaseLost, StoreUnavailable, UnknownWorkflow
from holdfast.events import EventType, fold
from holdfast.verdicts import JobOutcome
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_hosts.executors import HostExecutor
from holdfast_testing.clock import FakeClock
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from holdfast_testing.harness import Harness
from tests.kernel.behaviour.flows import ONCE, THRICE, Calls, flaky, line
from tests.kernel.watching import MakeHarness, WatchedHarness


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
    assert harness.failure_of(changed.run.id) == ("KEY_MISMATCH", "keyed")


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
