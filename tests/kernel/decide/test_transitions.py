"""Every move that commands make stands in the tables, whatever commands come in whatever order."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast import (
    BatchStage,
    Context,
    NeverRetry,
    Pending,
    Retry,
    RetryAfter,
    RunCancel,
    RunRerunFrom,
    RunStatus,
    StageStatus,
    run_sync,
    stage,
    workflow,
)
from holdfast.commands.job_heartbeat import Beat, JobHeartbeat
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.run_transition import RunTransition, TransitionAction
from holdfast.commands.stage_poll_suspended import StagePollSuspended
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.entities.run import LIVE_RUN, RUN_TRANSITIONS, TERMINAL_RUN
from holdfast.entities.stage import STAGE_TRANSITIONS, TERMINAL_STAGE, Lease, StageKey
from holdfast.errors import Rejected
from holdfast.events import EventType, NewEvent
from holdfast.ports.work import LeaseRef
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.invariants import Ledger
from tests.kernel.watching import WatchedHarness

TWICE = Retry(2, backoff="fixed", base="5s", jitter=0)


class Fate:
    """What becomes of the next bodies that are called."""

    def __init__(self) -> None:
        self.next: Any = 1

    def decide(self) -> Any:
        """Return or raise what was drawn."""
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


@stage(retry=TWICE)
async def work(number: int, ctx: Context) -> int:
    """Do what fate says."""
    ctx.progress(1)
    ctx.annotate("who", ctx.stage_id)
    answer: int = ctx.services[Fate].decide()
    return answer


@stage(retry=TWICE)
async def join(parts: tuple[int, int, int], ctx: Context) -> int:
    """Do what fate says."""
    answer: int = ctx.services[Fate].decide()
    return answer


class Outside(BatchStage[int, str, int]):
    """Submit, and do what fate says when polled."""

    poll_every, give_up_after = "20s", "60s"
    retry = TWICE

    async def submit(self, number: int, ctx: Context, /) -> str:
        """Hand the work over."""
        return f"batch {number}"

    async def poll(self, reference: str, ctx: Context, /) -> int | Pending:
        """Do what fate says, or be pending."""
        answer: int | Pending = ctx.services[Fate].decide()
        return answer if answer != 7 else Pending()


FLOW = (
    workflow("fates", input=int, version="1", timeout="10m")
    .pipe(work.using(name="first"))
    .parallel(work.using(name="left"), Outside().using(name="right"), work.using(name="middle"))
    .pipe(join)
)

INDEX = st.integers(0, 999)
FATES = st.sampled_from(
    [1, 2, 3, 7, ConnectionError("blip"), RetryAfter("1s"), RetryAfter("1m"), "no number", NeverRetry("never")]
)
GOOD = st.sampled_from([1, 2, 3])


class Commands(RuleBasedStateMachine):
    """Sends any commands in any order; the harness checks every commit, the machine what must hold between them."""

    @initialize()
    def begin(self) -> None:
        """Open a fresh store."""
        self.fate = Fate()
        self.clock = FakeClock()
        store = MemoryPersistence(clock=self.clock)
        self.ledger = Ledger()
        services = {Fate: self.fate}
        self.harness = WatchedHarness(FLOW, persistence=store, clock=self.clock, ledger=self.ledger, services=services)
        self.run_ids = [self.harness.start(FLOW, 1)]
        #: Every lease ever granted; most of them are stale.
        self.leases: list[Lease] = []

    def run_id(self, index: int) -> str:
        """Return one of the runs."""
        return self.run_ids[index % len(self.run_ids)]

    def lease(self, index: int) -> Lease:
        """Return one of the leases, the newest ones most often."""
        return self.leases[-1 - index % len(self.leases)]

    @precondition(lambda self: len(self.run_ids) < 3)
    @rule(number=st.integers(0, 3))
    def create(self, number: int) -> None:
        """Create a run."""
        self.run_ids.append(self.harness.start(FLOW, number))

    @rule(fates=st.lists(GOOD | FATES, min_size=3, max_size=9))
    def go_on(self, fates: list[Any]) -> None:
        """Be a worker for a while: admit, lease, execute, and let polls become due."""
        for fate in fates:
            self.harness.admit()
            self.fate.next = fate
            for lease in self.harness.lease():
                self.leases.append(lease)
                self.harness.execute(lease)
            self.clock.advance("5s")

    @rule(keeps=st.booleans())
    def claim(self, keeps: bool) -> None:
        """Admit runs, with or without taking their first job."""
        queues = frozenset({"default"}) if keeps else frozenset[str]()
        claimed = self.harness.dispatch(RunClaimPending(worker="w1", max_claims=2, keep_queues=queues))
        self.leases += claimed.leases

    @rule(limit=st.integers(1, 3), worker=st.sampled_from(["w1", "w2"]))
    def take(self, limit: int, worker: str) -> None:
        """Lease some jobs."""
        self.leases += self.harness.lease(limit=limit, worker=worker)

    @precondition(lambda self: self.leases)
    @rule(index=st.integers(0, 5), fate=FATES)
    def execute(self, index: int, fate: Any) -> None:
        """Execute under a lease that may be stale."""
        self.fate.next = fate
        executed = self.harness.execute(self.lease(index))
        if executed.next is not None and executed.next.lease is not None:
            self.leases.append(executed.next.lease)

    @precondition(lambda self: self.run_ids)
    @rule(index=INDEX, stage_id=st.sampled_from(list(FLOW.definition().stages)), fate=FATES)
    def deliver(self, index: int, stage_id: str, fate: Any) -> None:
        """Deliver a message for a job that may not be there."""
        self.fate.next = fate
        run_id = self.run_id(index)
        self.harness.deliver(
            StageKey(run_id=run_id, stage_id=stage_id, generation=self.harness.run_of(run_id).generation)
        )

    @precondition(lambda self: self.leases)
    @rule(index=st.integers(0, 5))
    def beat(self, index: int) -> None:
        """Extend a lease that may be stale, with progress."""
        lease = self.lease(index)
        told = NewEvent(type=EventType.STAGE_PROGRESS, key=lease.key, data={"done": 1})
        beat = Beat(lease=LeaseRef(key=lease.key, epoch=lease.epoch), events=(told,))
        self.harness.dispatch(JobHeartbeat(beats=(beat,)))

    @precondition(lambda self: self.leases)
    @rule(index=st.integers(0, 5))
    def release(self, index: int) -> None:
        """Hand a job back under a lease that may be stale."""
        run_sync(self.harness.transport.release(self.lease(index)))

    @rule(fate=FATES)
    def poll(self, fate: Any) -> None:
        """Poll what is due."""
        self.fate.next = fate
        self.harness.dispatch(StagePollSuspended(worker="w3", max_checks=2))

    @rule(seconds=st.sampled_from([1, 5, 20, 31]))
    def wait(self, seconds: int) -> None:
        """Let time pass and do what it makes due."""
        self.clock.advance(timedelta(seconds=seconds))
        self.harness.dispatch(LeaseReapStale())
        self.harness.dispatch(TimerFireDue())

    @precondition(lambda self: self.run_ids)
    @rule(index=INDEX)
    def cancel(self, index: int) -> None:
        """Cancel a run that may have ended."""
        self.harness.dispatch(RunCancel(run_id=self.run_id(index)))

    @precondition(lambda self: self.run_ids)
    @rule(index=INDEX, stage_id=st.sampled_from(["first", "left", "right", "join"]))
    def rerun(self, index: int, stage_id: str) -> None:
        """Rerun a run that may not have ended."""
        with suppress(Rejected):
            self.harness.dispatch(RunRerunFrom(run_id=self.run_id(index), from_stage_id=stage_id))

    @precondition(lambda self: self.run_ids)
    @rule(index=INDEX)
    def transition(self, index: int) -> None:
        """Ask what is lacking; it is always nothing."""
        assert self.harness.dispatch(RunTransition(run_id=self.run_id(index))).action is TransitionAction.NOOP

    @invariant()
    def joins_wait_for_their_whole_group(self) -> None:
        """In every generation the join begins after all members of its group completed in that or an earlier one."""
        for seen in self.ledger.seen.values():
            completed: dict[str, int] = {}
            for event in seen.events:
                if event.type is EventType.RUN_RERUN:
                    completed = {name: done for name, done in completed.items() if name not in event.data["stages"]}
                elif event.type is EventType.RUN_COMPLETED:
                    assert completed.keys() == FLOW.definition().stages.keys()
                elif event.key is not None and event.key.stage_id == "join":
                    assert {"first", "left", "right", "middle"} <= completed.keys()
                if event.key is not None and event.type is EventType.STAGE_COMPLETED:
                    assert event.key.stage_id not in completed, "nothing completes twice"
                    completed[event.key.stage_id] = event.number


TestCommands = Commands.TestCase
TestCommands.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_tables_name_every_status() -> None:
    """Each table says for every status where it may go, and only to statuses that there are."""
    assert set(RUN_TRANSITIONS) == set(RunStatus)
    assert set(STAGE_TRANSITIONS) == set(StageStatus)


@pytest.mark.parametrize("status", StageStatus)
def test_terminal_stage_statuses_absorb(status: StageStatus) -> None:
    """A stage instance that ended goes nowhere, and one that has not can still end."""
    assert (STAGE_TRANSITIONS[status] == frozenset()) is (status in TERMINAL_STAGE)
    assert status in TERMINAL_STAGE or StageStatus.CANCELLED in STAGE_TRANSITIONS[status]


@pytest.mark.parametrize("status", RunStatus)
def test_only_a_rerun_leaves_a_terminal_run_status(status: RunStatus) -> None:
    """A run that ended can only become live again; any other can fail and be cancelled."""
    if status in TERMINAL_RUN:
        assert {RunStatus.RUNNING, RunStatus.WAITING} <= RUN_TRANSITIONS[status] <= LIVE_RUN
    else:
        assert status in LIVE_RUN
        assert RUN_TRANSITIONS[status] >= {RunStatus.FAILED, RunStatus.CANCELLED}
