"""The second reference system, rows B to J of its feature table: what the engine does, better where it was weak."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast import (
    END,
    Conflict,
    Context,
    Graph,
    HoldfastError,
    Rejected,
    Retry,
    RunStatus,
    Seen,
    Unavailable,
    Wait,
    edge,
    entry,
    flow,
    line,
    node,
    run_sync,
    stage,
    workflow,
)
from holdfast.change import Change
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.run_resume import Resumed
from holdfast.commands.run_transition import RunTransition
from holdfast.errors import (
    IllegalTransition,
    LeaseLost,
    RunNotFound,
    StoreUnavailable,
    UnknownWorkflow,
    UnusableStore,
)
from holdfast.events import EventType
from holdfast.ports.queries import RunFilter
from holdfast.verdicts import JobOutcome
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_hosts.store_url import StoreUrl
from holdfast_testing.clock import FakeClock
from holdfast_testing.harness import Harness
from tests.kernel.behaviour.flows import ONCE, THRICE, Calls, flaky, keyed, step
from tests.kernel.behaviour.flows import line as straight
from tests.kernel.watching import MakeHarness


def test_row_h_b1_engine_runs_in_memory_and_offers_services() -> None:
    """Without a store the harness uses memory; services are found by their type, a missing one is named."""
    pure = workflow("pure", input=int, version="1").pipe(step("s1"))
    harness = Harness(pure)
    ended = harness.run(pure, 1)
    assert isinstance(harness.persistence, MemoryPersistence)
    assert ended.failure is not None
    assert "No service Calls was given" in ended.failure.message
    clock = FakeClock()
    assert Harness(pure, services={Calls: Calls(clock)}, clock=clock).run(pure, 1).output == 2


def test_row_h_b2_definitions_are_registered_by_id_and_version(make_harness: MakeHarness) -> None:
    """A kernel knows what it was given; what it was not given it cannot start, and it says what there is."""
    harness = make_harness(straight(1))
    with pytest.raises(UnknownWorkflow, match="line@1"):
        run_sync(harness.kernel.dispatch_json({"type": "run.create", "workflowId": "other", "input": 1}))
    with pytest.raises(UnknownWorkflow):
        run_sync(harness.kernel.dispatch_json({"type": "run.create", "workflowId": "line", "version": "2", "input": 1}))


def test_row_h_b3_start_creates_the_run_and_executes_nothing(make_harness: MakeHarness) -> None:
    """A started run is PENDING with its input and first state; key, priority, tenant and start are part of it."""
    stateful = workflow("stateful", input=int, version="1", state=True).pipe(step("s1"))
    harness = make_harness(stateful)
    run_id = harness.start(
        stateful, 1, initial_state={"a": 1}, tenant="acme", priority=7, idempotency_key="k", annotations={"by": "ann"}
    )
    run = harness.run_of(run_id)
    assert (run.status, run.header.tenant, run.header.priority) == (RunStatus.PENDING, "acme", 7)
    assert (run.header.input.text, run.idempotency_key) == ("1", "k")
    assert harness.look(stateful, run_id).state == {"a": 1}
    assert harness.kinds(run_id) == ["run.created"]
    assert harness.calls.names == []
    assert run_sync(harness.persistence.find_snapshot(run_id)) is not None


def test_row_h_b4_one_job_is_one_step(make_harness: MakeHarness) -> None:
    """One executed job brings the run on by one node; a run that ended has no job, and a transition does nothing."""
    three = straight(3)
    harness = make_harness(three)
    run_id = harness.start(three, 1)
    harness.admit()
    for number in (1, 2, 3):
        assert harness.run_of(run_id).status is RunStatus.RUNNING
        harness.execute(*harness.lease())
        assert len(harness.calls.names) == number
    assert harness.run_of(run_id).status is RunStatus.COMPLETED
    assert harness.lease() == []
    before = harness.picture(run_id)
    assert harness.dispatch(RunTransition(run_id=run_id)).action.value == "noop"
    assert harness.deliver(harness.stage(run_id, "s3").key).repeated
    assert harness.picture(run_id) == before


def test_row_h_b5_resume_answers_the_wait_that_it_names(make_harness: MakeHarness) -> None:
    """Any value of the declared type is a payload; a run that ended refuses it, a wait that is to come has it kept."""
    waiting = workflow("waiting", input=int, version="1").wait_for("go", bool).wait_for("then", list[int])
    harness = make_harness(waiting)
    run_id = harness.start(waiting, 1)
    harness.drain()
    assert harness.resume(run_id, "then", [1]).outcome is Resumed.KEPT
    assert harness.resume(run_id, "go", False).outcome is Resumed.ANSWERED
    harness.drain()
    assert harness.look(waiting, run_id).output == ((1, False), [1])
    with pytest.raises(RunNotFound):
        harness.resume("nobody", "go", True)
    cancelled = harness.start(waiting, 1)
    harness.cancel(cancelled)
    with pytest.raises(IllegalTransition):
        harness.resume(cancelled, "go", True)


def test_row_h_b6_runs_and_timelines_are_listed_with_filters_and_in_pages(make_harness: MakeHarness) -> None:
    """Runs are listed newest first, by status, workflow and parent, in pages; a timeline has numbers without gaps."""
    one, two = straight(1), straight(2, id="other")
    harness = make_harness(one, two)
    ids = [harness.start(one, number) for number in range(5)]
    harness.start(two, 1)
    harness.cancel(ids[4])

    def listed(limit: int = 100, before: str | None = None, **where: Any) -> list[str]:
        runs = run_sync(harness.persistence.list_runs(RunFilter(**where), limit=limit, before=before))
        return [run.id for run in runs]

    assert listed(workflow_id="line") == ids[::-1]
    assert listed(limit=2, before=ids[3], workflow_id="line") == [ids[2], ids[1]]
    assert listed(statuses=frozenset({RunStatus.CANCELLED})) == [ids[4]]
    harness.drain()
    events = harness.events(ids[0])
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    paged = run_sync(harness.persistence.list_events(ids[0], after=2, limit=2))
    assert [event.number for event in paged] == [3, 4]


def test_row_h_c1_conditional_edges_are_routed(make_harness: MakeHarness) -> None:
    """The highest priority that matches is taken; predicates see the new state; one that raises loses nothing."""
    first, a, b = step("first"), step("a"), step("b")

    def broken(number: int, run: Seen) -> bool:
        raise LookupError("no rate")

    routed = (
        Graph("routed", int, version="1")
        .entry(first)
        .edge(first, a, when=lambda number: number > 3, priority=9)
        .edge(first, b, when=broken)
        .edge(first, END)
        .end(a, b)
    )
    harness = make_harness(routed)
    assert harness.run(routed, 5).output == 7
    stranded = harness.run(routed, 1)
    assert stranded.failure is not None
    assert (stranded.failure.code, "no rate" in stranded.failure.message) == ("CONDITION_FAILED", True)
    kept = harness.stage(stranded.run.id, "first").output
    assert kept is not None
    assert kept.text == "2"


def test_row_h_c2_loops_have_a_limit(make_harness: MakeHarness) -> None:
    """An edge may lead back; a loop that does not end is stopped with an error that tells where."""
    work = step("work")
    endless = (
        Graph("endless", int, version="1", step_limit=7)
        .entry(work)
        .edge(work, work, when=lambda number: number < 10**6)
        .edge(work, END)
    )
    failure = make_harness(endless).run(endless, 0).failure
    assert failure is not None
    assert (failure.code, failure.stage_id) == ("STEP_LIMIT", "work")


def test_row_h_c3_branches_run_side_by_side_and_lines_are_put_into_flows(make_harness: MakeHarness) -> None:
    """The gap is filled: forks, joins and sub-flows, with several nodes of one run under way at a time."""
    forked = (
        workflow("forked", input=int, version="1")
        .parallel(line(int).pipe(step("a1")).pipe(step("a2")), step("b"))
        .pipe(stage(name="sum", retry=ONCE)(_sum))
    )
    harness = make_harness(forked)
    run_id = harness.start(forked, 1)
    harness.admit()
    leases = harness.lease(limit=9)
    assert sorted(lease.key.stage_id for lease in leases) == ["a1", "b"]
    for lease in leases:
        harness.execute(lease)
    harness.drain()
    assert harness.look(forked, run_id).output == 5


async def _sum(parts: tuple[int, int]) -> int:
    return sum(parts)


def test_row_h_d1_policy_retries_what_is_returned_and_what_is_raised(make_harness: MakeHarness) -> None:
    """A raised error is retried by the policy without any code, durably, with growing delays up to a cap."""
    policy = Retry(4, base="10s", cap="15s", jitter=0)
    shaky = workflow("shaky", input=int, version="1").pipe(flaky("s1", failures=3, retry=policy))
    harness = make_harness(shaky)
    began = harness.clock.monotonic()
    ended = harness.run(shaky, 1)
    assert (ended.output, ended.attempts("s1")) == (2, 4)
    assert harness.clock.monotonic() - began == 10 + 15 + 15


def test_row_h_d2_timeout_is_a_failure_of_the_attempt(make_harness: MakeHarness) -> None:
    """An attempt that takes longer than its limit fails with TIMEOUT and is retried by the policy."""

    @stage(timeout="5s", retry=Retry(2, base="1s", jitter=0))
    async def slow(number: int, ctx: Context) -> int:
        if ctx.attempt == 1:
            harness.clock.advance("6s")
        return number

    limited = workflow("limited", input=int, version="1").pipe(slow)
    harness = make_harness(limited)
    ended = harness.run(limited, 1)
    assert ended.output == 1
    (retried,) = [event.data for event in ended.events if event.type is EventType.STAGE_RETRYING]
    assert retried["code"] == "TIMEOUT"


def test_row_h_e1_key_of_a_node_shares_its_result(make_harness: MakeHarness) -> None:
    """A stored result replaces the execution; failures are not stored."""
    shared = workflow("shared", input=int, version="1").pipe(keyed("s1"))
    harness = make_harness(shared)
    ended = [harness.run(shared, number) for number in (-1, -1, -1, 5)]
    assert [one.output for one in ended] == [None, 0, 0, 6]
    assert harness.calls.count("s1") == 3
    cached = [any(event.data.get("cached") for event in one.events) for one in ended]
    assert cached == [False, False, True, False]


def test_row_h_f1_wait_has_a_reason_and_a_limit_that_acts(make_harness: MakeHarness) -> None:
    """A returned `Wait` shows its reason and limit in the timeline; at the limit the node is called with that."""

    @flow("patient", "1", input=int, output=str)
    class PatientFlow:
        """Waits for an hour."""

        @entry
        @node(waits={"go": str})
        @edge(END)
        async def ask(self, ctx: Context) -> str | Wait:
            """Ask once."""
            if ctx.timed_out:
                return "nobody"
            return ctx.resume or Wait("an answer", until="1h")

    patient: Any = PatientFlow
    harness = make_harness(patient)
    run_id = harness.start(patient, 1)
    harness.drain(until=timedelta())
    (told,) = [event.data for event in harness.events(run_id) if event.type is EventType.STAGE_WAITING]
    assert told == {"waits": [{"name": "go", "kind": "PAYLOAD", "limitSeconds": 3600.0, "reason": "an answer"}]}
    harness.drain()
    assert harness.look(patient, run_id).output == "nobody"


def test_row_h_g1_job_is_held_by_one_worker_at_a_time(make_harness: MakeHarness) -> None:
    """A leased job is not given to another worker before its lease ends, and then the first one's result is refused."""
    patient = workflow("patient", input=int, version="1").pipe(step("s1", retry=THRICE))
    harness = make_harness(patient)
    run_id = harness.start(patient, 1)
    harness.admit()
    (first,) = harness.lease(worker="w1")
    assert harness.lease(worker="w2") == []
    assert harness.deliver(first.key, worker="w2").outcome is JobOutcome.LOST
    harness.clock.advance("31s")
    harness.drain()
    assert harness.execute(first).outcome is JobOutcome.LOST
    assert harness.look(patient, run_id).output == 2


def test_row_h_h1_timeline_tells_every_kind_of_fact(make_harness: MakeHarness) -> None:
    """Starts with their attempts, retries, completions, waits, failures and ends, numbered in the order of commits."""
    told = workflow("told", input=int, version="1").pipe(flaky("s1", failures=1)).wait_for("go", bool)
    harness = make_harness(told)
    run_id = harness.start(told, 1)
    harness.drain()
    harness.resume(run_id, "go", True, actor="ann")
    harness.drain()
    ended = harness.look(told, run_id)
    assert ended.story == (
        "run.created",
        "run.started",
        "stage.started s1",
        "stage.retrying s1",
        "stage.started s1",
        "stage.completed s1",
        "stage.waiting go",
        "stage.resumed go",
        "stage.started go",
        "stage.completed go",
        "run.completed",
    )
    assert [event.data["attempt"] for event in ended.events if event.type is EventType.STAGE_STARTED] == [1, 2, 1]
    assert [event.number for event in ended.events] == list(range(1, 12))


def test_row_h_i1_errors_are_a_tree_that_hosts_branch_on(make_harness: MakeHarness) -> None:
    """Whoever is wrong, whoever was slower and what failed are three branches, each error with a stable code."""
    harness = make_harness(straight(1))
    with pytest.raises(Rejected) as caught:
        run_sync(harness.kernel.dispatch_json({"type": "run.create", "workflowId": "nothing", "input": 1}))
    assert (type(caught.value), caught.value.code) == (UnknownWorkflow, "E2101")
    assert issubclass(LeaseLost, Conflict)
    assert issubclass(StoreUnavailable, Unavailable)
    assert all(issubclass(branch, HoldfastError) for branch in (Rejected, Conflict, Unavailable))
    assert len({branch.code for branch in (Rejected, Conflict, Unavailable, LeaseLost, RunNotFound)}) == 5


def test_row_h_j1_store_is_a_port_and_writes_a_decision_at_once(make_harness: MakeHarness) -> None:
    """Whatever a step writes is one change-set: record, state, timeline, next job and the end of the run together."""
    two = straight(2)
    harness = make_harness(two)
    run_id = harness.start(two, 1)
    harness.admit()
    harness.store.committed.clear()
    harness.execute(*harness.lease())
    harness.execute(*harness.lease())
    first, second = harness.store.committed
    assert isinstance(first, Change)
    assert [job.key.stage_id for job in first.step.jobs] == ["s2"]
    assert [event.type for event in first.step.events] == [EventType.STAGE_COMPLETED, EventType.STAGE_READY]
    assert second.step.run is not None
    assert [event.type for event in second.step.events] == [EventType.STAGE_COMPLETED, EventType.RUN_COMPLETED]
    assert harness.run_of(run_id).status is RunStatus.COMPLETED


def test_row_h_j2_store_is_opened_by_its_url_or_not_at_all(tmp_path: Path, clock: FakeClock) -> None:
    """A URL names the store; none, an unknown kind and a file that is no database are errors, never another store."""
    url = StoreUrl.parse(f"sqlite:///{tmp_path}/holdfast.db")
    assert url.path is not None
    store = SqlitePersistence(url.path, clock=clock)
    run_sync(store.open())
    run_sync(store.close())
    for wrong in ("", "postgrez://x/y", "sqlite:"):
        with pytest.raises(UnusableStore):
            StoreUrl.parse(wrong)
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"this is no database, but some text that is long enough" * 20)
    with pytest.raises(HoldfastError):
        run_sync(SqlitePersistence(foreign, clock=clock).open())


def test_row_h_j3_tenant_is_kept_and_keeps_keys_apart(make_harness: MakeHarness) -> None:
    """Stages see the tenant; keys of runs and of nodes are unique for each tenant, so that none meets another's."""

    @stage(key=lambda number: "k")
    async def tell(number: int, ctx: Context) -> str:
        return ctx.tenant

    told = workflow("told", input=int, version="1").pipe(tell)
    harness = make_harness(told)
    ids = [harness.start(told, 1, tenant=tenant, idempotency_key="same") for tenant in ("acme", "globex", "acme")]
    harness.drain()
    assert ids[0] == ids[2] != ids[1]
    assert [harness.look(told, run_id).output for run_id in ids[:2]] == ["acme", "globex"]
    assert harness.dispatch(RunClaimPending(worker="w1")).leases == ()
