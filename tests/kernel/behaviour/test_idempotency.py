"""One request, one effect: keys, operation ids, and commits whose outcome is unknown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from holdfast import Context, RunCancel, RunCreate, RunRerunFrom, RunStatus, run_sync, stage, workflow
from holdfast.change import Grant
from holdfast.commands.job_execute import JobExecute, JobExecuted
from holdfast.creating import RunCreated
from holdfast.decide.route import Keep
from holdfast.entities.stage import StageKey
from holdfast.errors import CommitUnknown, IdempotencyMismatch, InvalidInput, StoreUnavailable, Unavailable
from holdfast.ports.queries import RunFilter
from holdfast.verdicts import JobOutcome
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from tests.kernel.behaviour.flows import Tuning, diamond, flaky, line
from tests.kernel.watching import LEASE_TTL, MANY, MakeHarness, WatchedHarness

FLOW = line(1)


def create(harness: WatchedHarness, *, key: str | None = None, input: int = 1, **options: Any) -> RunCreated:
    """Dispatch run.create."""
    return harness.dispatch(RunCreate(workflow_id="line", input=input, idempotency_key=key, **options))


def runs(harness: WatchedHarness) -> int:
    """Return how many runs there are."""
    return len(run_sync(harness.persistence.list_runs(RunFilter(), limit=MANY)))


def test_parity_111_same_key_gives_the_same_run(make_harness: MakeHarness) -> None:
    """The same request with the same key gives the run it created, at once and long after; another key another run."""
    harness = make_harness(FLOW)
    first = create(harness, key="a")
    assert create(harness, key="a") == first
    harness.drain()
    harness.clock.advance("365d")

    assert create(harness, key="a") == first
    assert create(harness, key="b").run_id != first.run_id
    assert runs(harness) == 2


def test_parity_112_same_job_twice_gives_the_first_outcome(make_harness: MakeHarness) -> None:
    """Executing the same job twice calls the stage once and gives the same output both times."""
    harness = make_harness(FLOW)
    run_id = create(harness).run_id
    harness.admit()
    key = StageKey(run_id=run_id, stage_id="s1")
    first, second = harness.deliver(key), harness.deliver(key)

    assert first.outcome is second.outcome is JobOutcome.COMPLETED
    assert first.output == second.output
    assert harness.calls.count("s1") == 1


def test_parity_113_same_key_of_another_command_is_another_key(make_harness: MakeHarness) -> None:
    """One key text used for two kinds of commands does not mix them up, and neither do tenants."""
    harness = make_harness(FLOW)
    created = create(harness, key="k")
    harness.drain()
    again = RunRerunFrom(run_id=created.run_id, from_stage_id="s1", idempotency_key="k")
    first = harness.dispatch(again)

    assert (first.run_id, first.generation) == (created.run_id, 2)
    assert harness.dispatch(again) == first
    assert create(harness, key="k") == created
    assert create(harness, key="k", tenant="other").run_id != created.run_id


def test_parity_115_key_is_never_in_progress(make_harness: MakeHarness) -> None:
    """Of two callers at once with the same key one creates the run, and the other gets it without waiting."""
    harness = make_harness(FLOW)
    faster: list[RunCreated] = []
    harness.store.before_commit = lambda: faster.append(create(harness, key="k"))
    slower = create(harness, key="k")

    assert faster == [slower]
    assert runs(harness) == 1


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE, Fault.DIE_AFTER])
def test_parity_116_key_of_a_caller_that_died_is_free_or_answered(make_harness: MakeHarness, fault: Fault) -> None:
    """When the process dies around the commit, the next caller with the key gets the run at once: there is just one."""
    harness = make_harness(FLOW)
    plan = FaultPlan({3: fault})
    dying = make_harness(FLOW, plan=plan, blob_store=harness.blob_store)
    with pytest.raises(ProcessDied):
        create(dying, key="k")
    assert plan.trace[-1].method == "commit"
    assert runs(harness) == (fault is Fault.DIE_AFTER)
    harness.clock.advance("1ms")

    run_id = create(harness, key="k").run_id
    assert create(harness, key="k").run_id == run_id
    assert runs(harness) == 1


def test_parity_117_key_of_a_command_that_failed_is_free(make_harness: MakeHarness) -> None:
    """A command that raised leaves neither its key nor an event, and succeeds when it is sent again."""
    harness = make_harness(FLOW)
    failing = make_harness(FLOW, plan=FaultPlan({3: Fault.FAIL_BEFORE}))
    with pytest.raises(StoreUnavailable):
        create(failing, key="k")
    with pytest.raises(InvalidInput):
        harness.dispatch(RunCreate(workflow_id="line", input="no number", idempotency_key="k"))
    assert runs(harness) == 0

    run_id = create(harness, key="k").run_id
    assert harness.kinds(run_id) == ["run.created"]


def test_weak_10_run_is_created_once_when_its_commit_is_unknown(make_harness: MakeHarness) -> None:
    """When the commit of a creation happened but was reported as failed, the command finds its one run."""
    plan = FaultPlan({3: Fault.FAIL_AFTER})
    harness = make_harness(FLOW, plan=plan)
    created = create(harness, key="k")

    assert plan.is_spent
    assert harness.run_of(created.run_id).status is RunStatus.PENDING
    assert create(harness, key="k") == created
    assert runs(harness) == 1


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("earlier", [{}, {3: Fault.FAIL_AFTER}], ids=["first", "repeated"])
def test_weak_10_key_and_effect_are_one_commit(
    make_harness: MakeHarness, fault: Fault, earlier: dict[int, Fault]
) -> None:
    """Whatever fails at the commit of a creation, there is a run if and only if its key is answered."""
    harness = make_harness(FLOW)
    plan = FaultPlan({**earlier, 3 + len(earlier): fault})
    failing = make_harness(FLOW, plan=plan)
    with suppress(Unavailable, ProcessDied):
        create(failing, key="k")
    assert plan.is_spent
    record = run_sync(harness.persistence.find_operation(tenant="", scope="run.create", key="k"))

    assert runs(harness) == (record is not None)
    harness.clock.advance("1ms")
    create(harness, key="k")
    assert runs(harness) == 1


def test_outcome_stays_unknown_when_the_store_goes_away_behind_the_commit(make_harness: MakeHarness) -> None:
    """A commit that may stand is not told as one that does not, though the try after it met a store that was away."""
    plan = FaultPlan({3: Fault.FAIL_AFTER, 4: Fault.FAIL_BEFORE})
    harness = make_harness(FLOW)
    with pytest.raises(CommitUnknown):
        create(make_harness(FLOW, plan=plan), key="k")
    assert plan.is_spent

    assert runs(harness) == 1
    create(harness, key="k")
    assert runs(harness) == 1


def test_weak_11_same_key_with_another_request_is_a_conflict(make_harness: MakeHarness) -> None:
    """A key that was used for one request is refused for another one, and the first run is not touched."""
    harness = make_harness(FLOW)
    first = create(harness, key="k")
    others: list[dict[str, Any]] = [{"input": 2}, {"version": "1"}]
    for other in others:
        with pytest.raises(IdempotencyMismatch, match="used before for another"):
            create(harness, key="k", **other)
    with pytest.raises(IdempotencyMismatch):
        harness.dispatch(RunCreate(workflow_id="line", input=1, priority=1, idempotency_key="k"))

    assert runs(harness) == 1
    assert create(harness, key="k") == first


def test_weak_12_failed_outcome_is_no_answer_to_the_next_delivery(make_harness: MakeHarness) -> None:
    """A job whose attempt failed is executed again when it is delivered again; the failure is not replayed."""
    flow = workflow("flaky", input=int, version="1").pipe(flaky("a", failures=1))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    key = StageKey(run_id=run_id, stage_id="a")

    assert harness.deliver(key).outcome is JobOutcome.RETRYING
    harness.clock.advance("10s")
    assert harness.deliver(key).outcome is JobOutcome.COMPLETED
    assert harness.look(flow, run_id).output == 2


@pytest.mark.parametrize("fault", [Fault.FAIL_BEFORE, Fault.FAIL_AFTER])
def test_completion_whose_commit_failed_is_lost_or_found_out(make_harness: MakeHarness, fault: Fault) -> None:
    """A completion that was reported as failed counts if it stands, with the lease on what follows, and else not."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    first, second = harness.lease(limit=2)
    harness.execute(first)
    plan = FaultPlan({3: fault})
    failing = make_harness(flow, plan=plan)
    keep = Keep(grant=Grant(worker="w1", ttl=LEASE_TTL), queues=frozenset({"default"}))
    command = JobExecute(job=second.key, worker="w1", lease=second, keep=keep)
    if fault is Fault.FAIL_BEFORE:
        with pytest.raises(StoreUnavailable):
            failing.dispatch(command)
    executed = (harness if fault is Fault.FAIL_BEFORE else failing).dispatch(command)
    assert plan.trace[2].method == "commit"

    assert executed.outcome is JobOutcome.COMPLETED
    assert executed.next is not None
    assert executed.next.job.stage_id == "total"
    harness.dispatch(executed.next)
    assert harness.look(flow, run_id).output == 6
    assert harness.kinds(run_id).count("stage.completed") == 4


def test_slot_whose_commit_is_unknown_does_not_take_what_another_slot_opened(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two slots of one worker, the one that opened the join goes on with it, though the other had to look up."""
    flow = diamond()
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.execute(*harness.lease())
    keep = Keep(grant=Grant(worker="w1", ttl=LEASE_TTL), queues=frozenset({"default"}))
    unsure, sure = (JobExecute(job=one.key, worker="w1", lease=one, keep=keep) for one in harness.lease(limit=2))
    failing = make_harness(flow, plan=FaultPlan({3: Fault.FAIL_AFTER}))
    look_up: Callable[..., Awaitable[bool]] = failing.store.is_settled
    opened: list[JobExecuted] = []

    async def look_up_late(key: StageKey, *, epoch: int) -> bool:
        opened.append(harness.dispatch(sure))
        return await look_up(key, epoch=epoch)

    monkeypatch.setattr(failing.store, "is_settled", look_up_late, raising=False)
    executed = failing.dispatch(unsure)

    assert executed.outcome is JobOutcome.COMPLETED
    assert executed.next is None
    (other,) = opened
    assert other.next is not None
    assert harness.dispatch(other.next).outcome is JobOutcome.COMPLETED
    assert harness.look(flow, run_id).output == 6


def test_operation_id_makes_any_command_repeatable(make_harness: MakeHarness) -> None:
    """A command that is sent twice under one operation id acts once and answers the same, whatever happened since."""
    harness = make_harness(FLOW)
    created = create(harness, operation_id="op-1")
    assert create(harness, operation_id="op-1") == created
    cancel = RunCancel(run_id=created.run_id, operation_id="op-2")
    first = harness.dispatch(cancel)
    harness.dispatch(RunRerunFrom(run_id=created.run_id, from_stage_id="s1", operation_id="op-3"))

    assert first.cancelled is True
    assert harness.dispatch(cancel) == first
    assert harness.run_of(created.run_id).status is RunStatus.RUNNING
    with pytest.raises(IdempotencyMismatch):
        create(harness, operation_id="op-2")


def test_defaults_left_out_and_spelled_out_are_the_same_request(make_harness: MakeHarness) -> None:
    """A client that spells out the default config sends the same request as one that leaves it out."""

    @stage
    async def tune(_: int, ctx: Context[Tuning]) -> str:
        return ctx.config.model

    flow = workflow("tuned", input=int, version="1").pipe(tune)
    harness = make_harness(flow)
    short = harness.start(flow, 1, idempotency_key="k")

    assert harness.start(flow, 1, idempotency_key="k", config={"tune": {"model": "m1"}}) == short
    with pytest.raises(IdempotencyMismatch):
        harness.start(flow, 1, idempotency_key="k", config={"tune": {"model": "m2"}})
