"""The contract of the Journal port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import attrs
import pytest

from holdfast.change import (
    ZERO,
    Change,
    Committed,
    Duplicate,
    Fence,
    Finish,
    Grant,
    NewGate,
    NewItems,
    Park,
    Requeue,
    Require,
    Step,
    Suspend,
)
from holdfast.driving import run_sync
from holdfast.entities.run import LIVE_RUN, TERMINAL_RUN, RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.errors import LeaseLost, RunNotFound, StaleVersion
from holdfast.events import EventType, NewEvent
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRef
from holdfast.traces import NewAnnotation, NewCheckpoint, NewLog, NewMessage, NewToken, Supersede
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    MANY,
    SECOND,
    TTL,
    answered,
    artifact,
    begin,
    check_fold,
    commit,
    completed,
    created,
    deadline,
    ended,
    events_of,
    everything,
    failure,
    fence,
    gate_rule,
    header,
    job,
    key,
    made,
    new_wait,
    noted,
    operation,
    payload,
    progress,
    reach,
    reaching,
    ready_event,
    refuse,
    rerun,
    reserved,
    run_id,
    sent,
    settled,
    stand,
    started,
    suspended,
    take,
    take_all,
    the_run,
    the_snapshot,
    the_stage,
)

#: The terminal statuses of a run, in an order that every process agrees on.
TERMINAL: Final = tuple(status for status in RunStatus if status.is_terminal)
COMPLETED: Final = Finish(status=StageStatus.COMPLETED, output=payload('"done"'))
NOW_LATER: Final = START + timedelta(seconds=3)


def laden(change: Change) -> Change:
    """Return *change* with something added to every collection it has."""
    new = attrs.evolve(job(key("laden", run=1)), waits=(new_wait("laden"),))
    step = attrs.evolve(
        change.step,
        jobs=(*change.step.jobs, new),
        skips=(key("left out"),),
        gates=(NewGate(gate="made", generation=1, turn=0, arity=3),),
        items=NewItems(key=key("a"), payloads=(payload("1"),)),
        timers=(deadline("laden"),),
        cancels=("none",),
        events=(*change.step.events, ready_event(new.key)),
    )
    log = NewLog(key=key(), attempt=1, level="info", message="hello", data={"n": 1}, at=START)
    return attrs.evolve(
        reaching(attrs.evolve(change, step=step), gate_rule("g1", arity=1), gate_rule("g2")),
        messages=(*change.messages, NewMessage(name="laden too", payload=payload("1"))),
        tokens=(NewToken(hash="1" * 64, name="laden", lifetime=HOUR),),
        patch={"laden": [1]},
        artifacts=(artifact(),),
        checkpoints=(NewCheckpoint(key=key("a"), name="n", result=payload("1")),),
        annotations=(NewAnnotation(name="who", value="me"),),
        logs=(log,),
        operations=(*change.operations, operation("laden")),
    )


def _known_operation(persistence: Persistence) -> Change:
    stand(persistence, attrs.evolve(noted(), operations=(operation("known"),)))
    return attrs.evolve(noted(), operations=(operation("known"),))


def _lost_lease(persistence: Persistence) -> Change:
    lease = take(persistence)
    stand(persistence, settled(lease, Requeue(delay=ZERO, attempt=0)))
    return settled(lease, COMPLETED)


def _kept_message(persistence: Persistence) -> Change:
    stand(persistence, sent())
    return sent()


def _held_key(persistence: Persistence) -> Change:
    begin(persistence, run=2)
    stand(persistence, reserved(take(persistence, key(run=2))))
    return reserved(take(persistence))


#: Every way to be refused, as what prepares the store, with run 1 begun, and returns the change-set.
REFUSED: Final[dict[str, Callable[[Persistence], Change]]] = {
    "known operation": _known_operation,
    "run exists": lambda _: created(),
    "no such run": lambda _: noted(99),
    "lost lease": _lost_lease,
    "wrong status": lambda _: noted(require=Require(statuses=frozenset({RunStatus.PENDING}))),
    "wrong version": lambda _: noted(require=Require(statuses=LIVE_RUN, version=1)),
    "no such timer": lambda _: attrs.evolve(noted(), fired="none"),
    "no such wait": lambda _: answered("none"),
    "kept message": _kept_message,
    "held key": _held_key,
}


class JournalContract:
    """What every store must do with change-sets."""

    # Each change-set as a whole or not at all, in order.

    def test_no_changes_are_no_outcomes(self, persistence: Persistence) -> None:
        """A call without change-sets returns no outcomes."""
        assert commit(persistence) == []

    def test_one_outcome_for_each_in_order(self, persistence: Persistence) -> None:
        """The outcomes stand in the order of the change-sets, whatever became of each."""
        begin(persistence)
        outcomes = commit(persistence, noted(), noted(99), created(2), created(), noted())
        assert [type(outcome) for outcome in outcomes] == [Committed, RunNotFound, Committed, StaleVersion, Committed]

    @pytest.mark.parametrize("why", REFUSED)
    def test_refused_writes_nothing(self, persistence: Persistence, why: str) -> None:
        """A refused change-set leaves no trace in anything the store tells, whatever it carried."""
        begin(persistence)
        change = laden(REFUSED[why](persistence))
        before = everything(persistence, 1, 99)
        refuse(persistence, change)
        assert everything(persistence, 1, 99) == before
        assert run_sync(persistence.find_operation(tenant="acme", scope="operation", key="laden")) is None
        assert run_sync(persistence.find_token("1" * 64)) is None
        assert run_sync(persistence.find_message(run_id(), "laden too")) is None

    @pytest.mark.parametrize("why", REFUSED)
    def test_refused_does_not_disturb_the_others(self, persistence: Persistence, why: str) -> None:
        """A refused change-set among good ones in one call refuses itself alone."""
        begin(persistence)
        change = laden(REFUSED[why](persistence))
        version = the_run(persistence).version
        first, refused, third, fourth = commit(persistence, noted(), change, noted(), created(3))
        assert first == Committed(version=version + 1)
        assert not isinstance(refused, Committed)
        assert third == Committed(version=version + 2)
        assert fourth == Committed(version=1)
        assert the_run(persistence, 3).status is RunStatus.PENDING

    def test_later_sees_earlier_of_the_same_call(self, persistence: Persistence) -> None:
        """A run may be created, started, stepped and ended by four change-sets of one call."""
        outcomes = commit(persistence, created(), started(), noted(), ended())
        assert outcomes == [Committed(version=version) for version in (1, 2, 3, 4)]
        assert the_run(persistence).status is RunStatus.CANCELLED
        assert [event.number for event in events_of(persistence)] == [1, 2, 3, 4, 5]

    def test_two_creations_of_one_run_in_one_call(self, persistence: Persistence) -> None:
        """The second of two change-sets that create the same run is refused."""
        first, second = commit(persistence, created(), created())
        assert first == Committed(version=1)
        assert isinstance(second, StaleVersion)

    def test_two_settlements_of_one_lease_in_one_call(self, persistence: Persistence) -> None:
        """The second of two change-sets under one lease in one call finds the lease gone."""
        begin(persistence)
        lease = take(persistence)
        first, second = commit(persistence, completed(lease), completed(lease))
        assert isinstance(first, Committed)
        assert isinstance(second, LeaseLost)

    def test_two_changes_with_one_operation_in_one_call(self, persistence: Persistence) -> None:
        """The second of two change-sets with the same operation in one call gets the record of the first."""
        begin(persistence)
        change = attrs.evolve(noted(), operations=(operation(),))
        first, second = commit(persistence, change, change)
        assert isinstance(first, Committed)
        assert second == Duplicate(record=operation())

    # The checks, one by one and in their order.

    def test_check_1_known_operation(self, persistence: Persistence) -> None:
        """A change-set whose operation is recorded already is answered with that record, not the new one."""
        first = operation(result='{"run":1}')
        stand(persistence, attrs.evolve(created(), operations=(first,)))
        again = attrs.evolve(created(2), operations=(operation(result='{"run":2}'),))
        assert refuse(persistence, again) == Duplicate(record=first)

    def test_check_1_any_of_several_operations(self, persistence: Persistence) -> None:
        """One known operation among several suffices."""
        stand(persistence, attrs.evolve(created(), operations=(operation("b"),)))
        again = attrs.evolve(created(2), operations=(operation("a"), operation("b")))
        assert refuse(persistence, again) == Duplicate(record=operation("b"))
        assert run_sync(persistence.find_operation(tenant="acme", scope="operation", key="a")) is None

    def test_parity_111_one_key_is_one_run(self, persistence: Persistence) -> None:
        """The same idempotency key twice creates one run; another key creates another."""
        one, two = (operation(name, scope="run.create") for name in ("k1", "k2"))
        outcomes = commit(
            persistence,
            attrs.evolve(created(1), operations=(one,)),
            attrs.evolve(created(2), operations=(one,)),
            attrs.evolve(created(3), operations=(two,)),
        )
        assert [type(outcome) for outcome in outcomes] == [Committed, Duplicate, Committed]
        assert run_sync(persistence.find_run(run_id(2))) is None

    def test_parity_113_scopes_do_not_interfere(self, persistence: Persistence) -> None:
        """The same key in two scopes is two operations."""
        stand(persistence, attrs.evolve(created(), operations=(operation(scope="run.create"),)))
        stand(persistence, attrs.evolve(noted(require=Require(statuses=LIVE_RUN)), operations=(operation(scope="x"),)))

    def test_tenants_do_not_interfere(self, persistence: Persistence) -> None:
        """The same key of two tenants is two operations."""
        stand(persistence, attrs.evolve(created(), operations=(operation(tenant="acme"),)))
        stand(persistence, attrs.evolve(created(2), operations=(operation(tenant="other"),)))

    def test_check_2_create_an_existing_run(self, persistence: Persistence) -> None:
        """Creating a run that exists is refused as stale, whatever its status."""
        begin(persistence)
        assert isinstance(refuse(persistence, created()), StaleVersion)
        stand(persistence, ended())
        assert isinstance(refuse(persistence, created()), StaleVersion)

    def test_check_2_change_an_unknown_run(self, persistence: Persistence) -> None:
        """A change-set for a run that does not exist is refused with the run's id."""
        refusal = refuse(persistence, noted(7))
        assert isinstance(refusal, RunNotFound)
        assert refusal.run_id == run_id(7)

    def test_check_3_job_is_gone(self, persistence: Persistence) -> None:
        """A fence on a job that never existed or is done refuses."""
        begin(persistence)
        never = Fence(key=key("b"), epoch=1)
        assert isinstance(refuse(persistence, attrs.evolve(noted(), fence=never)), LeaseLost)
        lease = take(persistence)
        stand(persistence, completed(lease))
        assert isinstance(refuse(persistence, completed(lease)), LeaseLost)

    def test_check_3_job_is_not_leased(self, persistence: Persistence) -> None:
        """A fence on a job that nobody holds refuses, whatever epoch it names."""
        begin(persistence)
        for epoch in (0, 1):
            change = attrs.evolve(noted(), fence=Fence(key=key(), epoch=epoch))
            assert isinstance(refuse(persistence, change), LeaseLost)

    def test_check_3_another_epoch(self, persistence: Persistence) -> None:
        """A fence with an older or newer epoch than the lease's refuses and names the job and the epoch."""
        begin(persistence)
        lease = take(persistence)
        for epoch in (lease.epoch - 1, lease.epoch + 1):
            refusal = refuse(persistence, attrs.evolve(noted(), fence=Fence(key=key(), epoch=epoch)))
            assert isinstance(refusal, LeaseLost)
            assert (refusal.job, refusal.epoch) == (str(key()), epoch)

    def test_check_3_fence_after_somebody_else_took_the_job(self, persistence: Persistence, clock: FakeClock) -> None:
        """A worker whose lease expired and was taken back changes nothing, although the job is leased again."""
        begin(persistence)
        stale = take(persistence, worker="slow")
        clock.advance(TTL)
        stand(persistence, settled(stale, Requeue(delay=ZERO, attempt=1), expired=True))
        fresh = take(persistence, worker="quick")
        for change in (completed(stale), settled(stale, Requeue(delay=ZERO, attempt=1)), laden(completed(stale))):
            before = everything(persistence)
            assert isinstance(refuse(persistence, change), LeaseLost)
            assert everything(persistence) == before
        stand(persistence, completed(fresh))

    def test_check_3_holder_past_its_end(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lease past its end that nobody took back still fences for its holder."""
        begin(persistence)
        lease = take(persistence)
        clock.advance(HOUR)
        stand(persistence, completed(lease))

    def test_check_3_expired_fence_needs_the_end(self, persistence: Persistence, clock: FakeClock) -> None:
        """An expired fence refuses until the lease's end has come by the store's clock."""
        begin(persistence)
        lease = take(persistence)
        reap = settled(lease, Requeue(delay=ZERO, attempt=1), expired=True)
        clock.advance(TTL - timedelta(microseconds=1))
        assert isinstance(refuse(persistence, reap), LeaseLost)
        clock.advance(timedelta(microseconds=1))
        stand(persistence, reap)

    def test_check_3_expired_fence_after_extension(self, persistence: Persistence, clock: FakeClock) -> None:
        """An expired fence refuses when the lease was extended since it was seen to be past its end."""
        begin(persistence)
        lease = take(persistence)
        clock.advance(HOUR)
        run_sync(persistence.extend([LeaseRef(key=lease.key, epoch=lease.epoch)], ttl=TTL))
        reap = settled(lease, Requeue(delay=ZERO, attempt=1), expired=True)
        assert isinstance(refuse(persistence, reap), LeaseLost)

    @pytest.mark.parametrize("first", ["reaper", "holder"])
    def test_check_3_reaper_and_completion_race(self, persistence: Persistence, clock: FakeClock, first: str) -> None:
        """Of the reaper and a late completion, in one call in either order, exactly the first one stands."""
        begin(persistence)
        lease = take(persistence)
        clock.advance(TTL)
        race = [completed(lease), settled(lease, Requeue(delay=ZERO, attempt=1), expired=True)]
        outcomes = commit(persistence, *(race if first == "holder" else reversed(race)))
        assert [type(outcome) for outcome in outcomes] == [Committed, LeaseLost]
        expected = StageStatus.COMPLETED if first == "holder" else StageStatus.READY
        assert the_stage(persistence).status is expected

    def test_check_4_status(self, persistence: Persistence) -> None:
        """A change-set whose run is not in a required status is refused."""
        stand(persistence, created())
        assert isinstance(refuse(persistence, noted()), StaleVersion)
        stand(persistence, started())
        assert isinstance(refuse(persistence, started()), StaleVersion)
        stand(persistence, noted())

    @pytest.mark.parametrize("status", TERMINAL)
    def test_check_4_terminal_absorbs(self, persistence: Persistence, status: RunStatus) -> None:
        """A run that has ended takes no change-set that requires a live one."""
        begin(persistence)
        stand(persistence, ended(status=status))
        for change in (noted(), ended(), ended(status=RunStatus.COMPLETED)):
            assert isinstance(refuse(persistence, change), StaleVersion)
        assert the_run(persistence).status is status

    def test_parity_150_version(self, persistence: Persistence) -> None:
        """A change-set that requires a version stands at exactly that version."""
        begin(persistence)
        for version in (1, 3):
            assert isinstance(
                refuse(persistence, noted(require=Require(statuses=LIVE_RUN, version=version))), StaleVersion
            )
        assert stand(persistence, noted(require=Require(statuses=LIVE_RUN, version=2))) == Committed(version=3)

    def test_check_4_is_ignored_for_a_creation(self, persistence: Persistence) -> None:
        """What a creating change-set requires of the run is ignored."""
        change = attrs.evolve(created(), require=Require(statuses=frozenset(), version=17))
        assert stand(persistence, change) == Committed(version=1)

    def test_check_5_timer_is_gone(self, persistence: Persistence) -> None:
        """A change-set that acts on a timer which does not exist is refused."""
        begin(persistence)
        assert isinstance(refuse(persistence, attrs.evolve(noted(), fired="deadline")), StaleVersion)

    def test_check_5_timer_of_another_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """A timer of the same id in another run does not count."""
        stand(persistence, created(1), started(1), created(2), started(2, timers=[deadline()]))
        clock.advance(HOUR)
        assert isinstance(refuse(persistence, attrs.evolve(noted(1), fired="deadline")), StaleVersion)

    def test_check_5_timer_is_not_yet_due(self, persistence: Persistence, clock: FakeClock) -> None:
        """A timer is never acted on early, and is at its instant."""
        stand(persistence, created(), started(timers=[deadline()]))
        fired = attrs.evolve(noted(), fired="deadline")
        clock.advance(HOUR - timedelta(microseconds=1))
        assert isinstance(refuse(persistence, fired), StaleVersion)
        clock.advance(timedelta(microseconds=1))
        stand(persistence, fired)

    def test_check_5_timer_acts_once(self, persistence: Persistence, clock: FakeClock) -> None:
        """A timer is consumed by the change-set that acts on it, even within one call."""
        stand(persistence, created(), started(timers=[deadline()]))
        clock.advance(HOUR)
        fired = attrs.evolve(noted(), fired="deadline")
        first, second = commit(persistence, fired, fired)
        assert isinstance(first, Committed)
        assert isinstance(second, StaleVersion)
        assert not run_sync(persistence.list_due_timers(limit=MANY))

    def test_checks_come_in_order(self, persistence: Persistence) -> None:
        """A change-set with several faults is refused for the first of them in the order of the checks."""
        begin(persistence)
        stand(persistence, attrs.evolve(noted(), operations=(operation(),)))
        lost = Fence(key=key(), epoch=9)
        wrong = Require(statuses=frozenset({RunStatus.PENDING}))
        all_faults = attrs.evolve(created(), operations=(operation(),), fence=lost, require=wrong, fired="none")
        assert isinstance(refuse(persistence, all_faults), Duplicate)
        assert isinstance(refuse(persistence, attrs.evolve(all_faults, operations=())), StaleVersion)
        unknown = attrs.evolve(noted(99), fence=lost, require=wrong, fired="none")
        assert isinstance(refuse(persistence, unknown), RunNotFound)
        assert isinstance(refuse(persistence, attrs.evolve(noted(), fence=lost, require=wrong)), LeaseLost)
        lease = take(persistence)
        stale = attrs.evolve(noted(), fence=fence(lease), require=wrong, fired="none")
        assert isinstance(refuse(persistence, stale), StaleVersion)

    # The fenced job is settled.

    def test_finish_makes_a_record(self, persistence: Persistence, clock: FakeClock) -> None:
        """A finished job leaves the live jobs and becomes a record with its status, output, metrics and instants."""
        begin(persistence)
        clock.advance("1s")
        lease = take(persistence)
        clock.advance("2s")
        settle = attrs.evolve(COMPLETED, metrics={"tokens": 12.5, "calls": 3.0})
        stand(persistence, settled(lease, settle))
        stage = the_stage(persistence)
        assert stage.status is StageStatus.COMPLETED
        assert stage.output == payload('"done"')
        assert stage.metrics == {"tokens": 12.5, "calls": 3.0}
        assert (stage.attempt, stage.max_attempts, stage.epoch, stage.worker) == (1, 3, 1, "w1")
        assert (stage.started_at, stage.finished_at) == (START + SECOND, NOW_LATER)
        assert (stage.due_at, stage.lease_until, stage.failure, stage.superseded) == (None, None, None, False)
        assert take_all(persistence) == []

    def test_finish_failed_keeps_the_failure(self, persistence: Persistence) -> None:
        """A job that finishes FAILED keeps its failure word for word."""
        begin(persistence)
        stand(persistence, settled(take(persistence), Finish(status=StageStatus.FAILED, failure=failure())))
        stage = the_stage(persistence)
        assert (stage.status, stage.failure, stage.output) == (StageStatus.FAILED, failure(), None)

    def test_parity_156_every_terminal_status_round_trips(self, persistence: Persistence) -> None:
        """A job may finish in every terminal status and is read back with it."""
        statuses = (StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED)
        begin(persistence, *(status.value for status in statuses))
        for status in statuses:
            stand(persistence, settled(take(persistence, key(status.value)), Finish(status=status)))
            assert the_stage(persistence, key(status.value)).status is status

    def test_finish_after_a_retry_forgets_the_failure(self, persistence: Persistence) -> None:
        """A record that is COMPLETED tells nothing of the attempts that failed before."""
        begin(persistence)
        stand(persistence, settled(take(persistence), Requeue(delay=ZERO, attempt=1, failure=failure())))
        assert the_stage(persistence).failure == failure()
        stand(persistence, completed(take(persistence)))
        stage = the_stage(persistence)
        assert (stage.failure, stage.attempt) == (None, 2)

    def test_requeue_makes_a_running_job_ready(self, persistence: Persistence, clock: FakeClock) -> None:
        """A requeued job loses its lease, is READY, due after its delay, and its epoch has risen."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, settled(lease, Requeue(delay=timedelta(seconds=3), attempt=1, failure=failure())))
        stage = the_stage(persistence)
        assert (stage.status, stage.due_at, stage.lease_until) == (StageStatus.READY, NOW_LATER, None)
        assert (stage.failure, stage.worker, stage.finished_at) == (failure(), "w1", None)
        assert stage.epoch > lease.epoch
        assert take_all(persistence) == []
        clock.advance("3s")
        (again,) = take_all(persistence)
        assert again.epoch > stage.epoch

    @pytest.mark.parametrize("used", [0, 1, 2])
    def test_requeue_sets_the_attempts_used(self, persistence: Persistence, used: int) -> None:
        """A requeue says how many attempts count as used; the next lease is the one after."""
        begin(persistence)
        take(persistence)
        for _ in range(2):
            lease = the_stage(persistence)
            stand(
                persistence,
                Change(
                    run_id=run_id(),
                    fence=Fence(key=key(), epoch=lease.epoch),
                    settle=Requeue(delay=ZERO, attempt=used),
                ),
            )
            assert the_stage(persistence).attempt == used
            assert take(persistence).attempt == used + 1

    def test_requeue_without_a_failure_keeps_the_last_one(self, persistence: Persistence) -> None:
        """A job that is handed back still tells why its last failed attempt failed."""
        begin(persistence)
        stand(persistence, settled(take(persistence), Requeue(delay=ZERO, attempt=1, failure=failure())))
        stand(persistence, settled(take(persistence), Requeue(delay=ZERO, attempt=1)))
        assert the_stage(persistence).failure == failure()

    def test_requeue_leaves_a_suspended_job_suspended(self, persistence: Persistence, clock: FakeClock) -> None:
        """A suspended job that is requeued stays SUSPENDED, keeps its state and is polled after the delay."""
        suspended(persistence)
        clock.advance("1s")
        poll = take(persistence)
        stand(persistence, settled(poll, Requeue(delay=timedelta(seconds=2), attempt=0)))
        stage = the_stage(persistence)
        assert (stage.status, stage.due_at, stage.attempt) == (StageStatus.SUSPENDED, NOW_LATER, 0)
        clock.advance("2s")
        again = take(persistence)
        assert (again.status, again.state, again.attempt) == (StageStatus.SUSPENDED, payload('{"batch":"b1"}'), 1)

    def test_requeue_is_polled_at_the_give_up_instant_at_the_latest(
        self, persistence: Persistence, clock: FakeClock
    ) -> None:
        """A poll that would come after the give-up instant comes at it, unless that instant has passed."""
        suspended(persistence, give_up_after=timedelta(seconds=10))
        clock.advance("1s")
        stand(persistence, settled(take(persistence), Requeue(delay=timedelta(seconds=60), attempt=0)))
        assert the_stage(persistence).due_at == START + timedelta(seconds=10)
        clock.advance("9s")
        late = take(persistence)
        assert late.overdue
        stand(persistence, settled(late, Requeue(delay=timedelta(seconds=60), attempt=0)))
        assert the_stage(persistence).due_at == START + timedelta(seconds=70)

    def test_parity_086_suspend(self, persistence: Persistence, clock: FakeClock) -> None:
        """A suspended job keeps its state, is polled after its delay, and its attempts start again from 0."""
        suspended(persistence, delay=timedelta(seconds=3))
        stage = the_stage(persistence)
        assert (stage.status, stage.attempt, stage.due_at) == (StageStatus.SUSPENDED, 0, NOW_LATER)
        assert (stage.lease_until, stage.finished_at) == (None, None)
        assert stage.epoch == 2
        clock.advance("3s")
        (poll,) = take_all(persistence)
        assert (poll.status, poll.attempt, poll.epoch) == (StageStatus.SUSPENDED, 1, 3)
        assert poll.state == payload('{"batch":"b1"}')

    def test_suspend_forgets_the_failure(self, persistence: Persistence) -> None:
        """A suspended job starts its attempts anew and tells nothing of those that failed before."""
        begin(persistence)
        stand(persistence, settled(take(persistence), Requeue(delay=ZERO, attempt=1, failure=failure())))
        state = Suspend(state=payload(), delay=ZERO, give_up_after=HOUR)
        stand(persistence, settled(take(persistence), state))
        assert the_stage(persistence).failure is None

    def test_suspend_is_given_up_after_its_span(self, persistence: Persistence, clock: FakeClock) -> None:
        """A poll that is leased at or after the give-up instant is overdue, an earlier one is not."""
        suspended(persistence, give_up_after=timedelta(seconds=5))
        clock.advance("4s")
        early = take(persistence)
        assert not early.overdue
        stand(persistence, settled(early, Requeue(delay=ZERO, attempt=0)))
        clock.advance("1s")
        assert take(persistence).overdue

    def test_suspend_again_from_a_poll(self, persistence: Persistence, clock: FakeClock) -> None:
        """A poll may suspend its job anew, with another state and another give-up instant."""
        suspended(persistence, give_up_after=timedelta(seconds=5))
        clock.advance("5s")
        again = Suspend(state=payload("2"), delay=ZERO, give_up_after=HOUR)
        stand(persistence, settled(take(persistence), again))
        poll = take(persistence)
        assert (poll.state, poll.overdue, poll.attempt) == (payload("2"), False, 1)

    def test_fence_without_settlement_keeps_the_lease(self, persistence: Persistence) -> None:
        """A fenced change-set that settles nothing, such as progress, leaves the lease as it is."""
        begin(persistence)
        lease = take(persistence)
        before = the_stage(persistence)
        stand(persistence, attrs.evolve(noted(), fence=fence(lease)))
        assert the_stage(persistence) == before
        stand(persistence, completed(lease))

    # Steps: jobs, timers, the move of the run.

    def test_a_new_job_is_ready(self, persistence: Persistence) -> None:
        """A new job is READY, due at once, with no attempt used and no lease."""
        begin(persistence)
        stage = the_stage(persistence)
        assert (stage.status, stage.due_at) == (StageStatus.READY, START)
        assert (stage.attempt, stage.epoch, stage.max_attempts) == (0, 0, 3)
        assert (stage.worker, stage.lease_until, stage.started_at) == (None, None, None)
        assert (stage.output, stage.failure, stage.finished_at) == (None, None, None)
        assert (stage.metrics, stage.superseded) == ({}, False)

    def test_a_delayed_job_is_due_later(self, persistence: Persistence, clock: FakeClock) -> None:
        """A new job with a delay is READY but not leased before the delay is over by the store's clock."""
        stand(persistence, created(), started(jobs=[job(delay=timedelta(seconds=3))]))
        assert the_stage(persistence).due_at == NOW_LATER
        clock.advance(timedelta(seconds=3) - timedelta(microseconds=1))
        assert take_all(persistence) == []
        clock.advance(timedelta(microseconds=1))
        assert len(take_all(persistence)) == 1

    def test_a_granted_job_is_running(self, persistence: Persistence, clock: FakeClock) -> None:
        """A granted job is RUNNING under epoch 1 in attempt 1, leased to its worker for the grant's span."""
        clock.advance("3s")
        stand(persistence, created(), started(jobs=[job(grant=Grant(worker="w9", ttl=TTL))]))
        stage = the_stage(persistence)
        assert (stage.status, stage.epoch, stage.attempt, stage.worker) == (StageStatus.RUNNING, 1, 1, "w9")
        assert (stage.lease_until, stage.started_at, stage.due_at) == (NOW_LATER + TTL, NOW_LATER, None)
        assert take_all(persistence) == []
        stand(persistence, attrs.evolve(noted(), fence=Fence(key=key(), epoch=1), settle=COMPLETED))

    def test_a_granted_job_expires_like_any_other(self, persistence: Persistence, clock: FakeClock) -> None:
        """A granted lease that is not settled is found expired at its end."""
        stand(persistence, created(), started(jobs=[job(grant=Grant(worker="w9", ttl=TTL))]))
        clock.advance(TTL)
        (expired,) = run_sync(persistence.list_expired(limit=MANY))
        assert (expired.key, expired.epoch, expired.worker) == (key(), 1, "w9")

    def test_a_linear_step_is_one_commit(self, persistence: Persistence) -> None:
        """One change-set completes a stage and readies and leases the next to the same worker."""
        begin(persistence)
        lease = take(persistence)
        new = job(key("b"), grant=Grant(worker="w1", ttl=TTL))
        told = (
            NewEvent(type=EventType.STAGE_COMPLETED, key=key(), data={"attempt": 1}),
            NewEvent(type=EventType.STAGE_STARTED, key=key("b"), data={"attempt": 1, "worker": "w1"}),
        )
        stand(persistence, completed(lease, step=Step(jobs=(new,), events=told)))
        assert the_stage(persistence).status is StageStatus.COMPLETED
        assert the_stage(persistence, key("b")).status is StageStatus.RUNNING
        assert [event.type for event in events_of(persistence)[-2:]] == [told[0].type, told[1].type]

    def test_instances_of_one_stage_are_told_apart(self, persistence: Persistence) -> None:
        """Instances that differ in item, turn or generation alone are different jobs."""
        keys = [key(), key(item=1), key(turn=1), key(generation=2), key(generation=2, turn=1, item=1)]
        stand(persistence, created(), started(jobs=[job(at) for at in keys]))
        assert {lease.key for lease in take_all(persistence)} == set(keys)

    def test_a_timer_is_set(self, persistence: Persistence, clock: FakeClock) -> None:
        """A new timer is due after its delay by the store's clock."""
        stand(persistence, created(), started(timers=[deadline()]))
        clock.advance(HOUR)
        (timer,) = run_sync(persistence.list_due_timers(limit=MANY))
        assert (timer.run_id, timer.id, timer.due_at) == (run_id(), "deadline", START + HOUR)

    def test_a_timer_replaces_its_namesake(self, persistence: Persistence, clock: FakeClock) -> None:
        """A new timer replaces the one of the same id of the same run, be it sooner or later."""
        stand(persistence, created(), started(timers=[deadline("t1"), deadline("t2")]))
        sooner = Step(timers=(deadline("t1", delay=SECOND), deadline("t2", delay=2 * HOUR)))
        stand(persistence, Change(run_id=run_id(), step=sooner))
        clock.advance(HOUR)
        timers = run_sync(persistence.list_due_timers(limit=MANY))
        assert [(timer.id, timer.due_at) for timer in timers] == [("t1", START + SECOND)]

    def test_a_fired_timer_may_be_set_anew(self, persistence: Persistence, clock: FakeClock) -> None:
        """A change-set may consume a timer and set one of the same id."""
        stand(persistence, created(), started(timers=[deadline()]))
        clock.advance(HOUR)
        stand(persistence, Change(run_id=run_id(), fired="deadline", step=Step(timers=(deadline(),))))
        assert not run_sync(persistence.list_due_timers(limit=MANY))
        clock.advance(HOUR)
        assert len(run_sync(persistence.list_due_timers(limit=MANY))) == 1

    def test_a_created_run(self, persistence: Persistence) -> None:
        """A created run is PENDING in generation 1 and version 1, with all of its header."""
        head = attrs.evolve(header(workflow="other", version="2.0.0-rc.1+x", priority=-7), tenant="acme")
        stand(persistence, created(head=head, idempotency_key="doc-17"))
        run = the_run(persistence)
        assert run.header == head
        assert (run.status, run.version, run.generation, run.events) == (RunStatus.PENDING, 1, 1, 1)
        assert (run.idempotency_key, run.created_at) == ("doc-17", START)
        assert (run.started_at, run.finished_at, run.output_of, run.failure) == (None, None, (), None)

    def test_a_run_may_be_created_and_started_at_once(self, persistence: Persistence) -> None:
        """A creating change-set may move its run and make jobs, still as version 1."""
        change = attrs.evolve(created(), step=started().step)
        assert stand(persistence, change) == Committed(version=1)
        assert the_run(persistence).status is RunStatus.RUNNING
        assert the_run(persistence).started_at == START
        assert len(take_all(persistence)) == 1

    def test_a_started_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run that becomes RUNNING has its start set by the store's clock."""
        stand(persistence, created())
        clock.advance("3s")
        stand(persistence, started())
        run = the_run(persistence)
        assert (run.status, run.version) == (RunStatus.RUNNING, 2)
        assert (run.created_at, run.started_at, run.finished_at) == (START, NOW_LATER, None)

    def test_a_completed_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run that becomes COMPLETED has its end set and names the stages its output is of, in order."""
        begin(persistence)
        clock.advance("3s")
        stand(persistence, ended(status=RunStatus.COMPLETED, output_of=("b", "a")))
        run = the_run(persistence)
        assert (run.status, run.finished_at, run.output_of) == (RunStatus.COMPLETED, NOW_LATER, ("b", "a"))
        assert run.failure is None

    def test_a_failed_run(self, persistence: Persistence) -> None:
        """A run that becomes FAILED keeps its failure word for word."""
        begin(persistence)
        stand(persistence, ended(status=RunStatus.FAILED))
        run = the_run(persistence)
        assert (run.status, run.failure, run.output_of) == (RunStatus.FAILED, failure(), ())

    def test_a_pending_run_may_be_cancelled(self, persistence: Persistence) -> None:
        """A run that ends before it began has an end but no start."""
        stand(persistence, created(), attrs.evolve(ended(), require=Require(statuses=LIVE_RUN)))
        run = the_run(persistence)
        assert (run.status, run.started_at, run.finished_at) == (RunStatus.CANCELLED, None, START)

    def test_a_gate_step_may_end_the_run(self, persistence: Persistence) -> None:
        """The step of an opened gate may end the run, with the outputs of the stages that led there."""
        begin(persistence, "a", "b")
        leases = take_all(persistence)
        rule = gate_rule(opens=ended(status=RunStatus.COMPLETED, output_of=("a", "b", "c")).step)
        for lease in leases:
            change = reaching(completed(lease), rule)
            arrival = reach(rule, source=lease.key.stage_id)
            stand(persistence, attrs.evolve(change, step=attrs.evolve(change.step, arrivals=(arrival,))))
        run = the_run(persistence)
        assert (run.status, run.output_of) == (RunStatus.COMPLETED, ("a", "b"))

    # Events.

    def test_events_are_numbered_without_gaps(self, persistence: Persistence, clock: FakeClock) -> None:
        """Events get 1, 2, 3… within their run and the instant of their commit, whoever else commits."""
        stand(persistence, created(1), created(2), started(1), started(2))
        clock.advance("3s")
        commit(persistence, noted(1, events=2), noted(2), noted(1), noted(99), noted(2, events=3))
        for number, count in ((1, 6), (2, 7)):
            events = events_of(persistence, number)
            assert [event.number for event in events] == list(range(1, count + 1))
            assert {event.run_id for event in events} == {run_id(number)}
            assert [event.at for event in events] == [START] * 3 + [NOW_LATER] * (count - 3)
            assert the_run(persistence, number).events == count

    def test_events_of_the_step_come_before_those_of_gates(self, persistence: Persistence) -> None:
        """The step's own events precede those of the gates it opens."""
        begin(persistence)
        rule = gate_rule(arity=1, opens=Step(events=(progress(text="gate"),)))
        stand(persistence, reaching(Change(run_id=run_id(), step=Step(events=(progress(text="own"),))), rule))
        assert [event.data["message"] for event in events_of(persistence)[-2:]] == ["own", "gate"]

    def test_parity_089_events_keep_their_order_and_data(self, persistence: Persistence) -> None:
        """Many progress events of one change-set keep their order, key and data."""
        begin(persistence)
        told = tuple(progress(text=f"{n}") for n in range(100))
        stand(persistence, Change(run_id=run_id(), step=Step(events=told)))
        events = events_of(persistence)[-100:]
        assert [(event.type, event.key, event.data) for event in events] == [(t.type, t.key, t.data) for t in told]

    def test_every_type_of_event_round_trips(self, persistence: Persistence) -> None:
        """Every type of event is read back as it was."""
        begin(persistence)
        told = tuple(NewEvent(type=kind) for kind in EventType)
        stand(persistence, Change(run_id=run_id(), step=Step(events=told)))
        assert [event.type for event in events_of(persistence)[-len(told) :]] == list(EventType)

    def test_events_keep_the_whole_key(self, persistence: Persistence) -> None:
        """An event about a stage instance names its generation, turn and item; one about the run has no key."""
        begin(persistence)
        at = key("b", generation=3, turn=5, item=17)
        told = (progress(at=at), NewEvent(type=EventType.RUN_STARTED))
        stand(persistence, Change(run_id=run_id(), step=Step(events=told)))
        assert [event.key for event in events_of(persistence)[-2:]] == [at, None]

    def test_event_data_is_faithful(self, persistence: Persistence) -> None:
        """The data of an event is read back as the JSON value it was."""
        begin(persistence)
        data = {
            "text": 'NUL \x00, quote " and emoji 🦑 and \u2028',
            "big": 2**70,
            "float": 1e22,
            "small": -0.1,
            "none": None,
            "yes": True,
            "deep": {"list": [1, [2, {"a": [0]}], None], "": "empty key"},
        }
        event = NewEvent(type=EventType.STAGE_PROGRESS, key=key(), data=data)
        stand(persistence, Change(run_id=run_id(), step=Step(events=(event,))))
        assert events_of(persistence)[-1].data == data

    def test_events_fold_into_the_rows(self, persistence: Persistence, clock: FakeClock) -> None:
        """Folding the events of a run gives the statuses of its rows at every point of its life."""
        stand(persistence, created())
        check_fold(persistence)
        stand(persistence, started(jobs=[job(key("a")), job(key("b"))]))
        check_fold(persistence)
        leases = take_all(persistence)
        check_fold(persistence)
        stand(persistence, completed(leases[0]))
        check_fold(persistence)
        stand(persistence, ended())
        check_fold(persistence)

    # Artifacts, annotations, logs, operation records, version.

    def test_artifacts_are_stored(self, persistence: Persistence) -> None:
        """Artifacts are stored; the newest of a name wins, also within one change-set."""
        begin(persistence)
        stand(
            persistence,
            attrs.evolve(noted(), artifacts=(artifact("b", blob="1"), artifact("a", blob="2"))),
            attrs.evolve(
                noted(), artifacts=(artifact("b", blob="3"), artifact("c", blob="4"), artifact("c", blob="5"))
            ),
        )
        found = run_sync(persistence.list_artifacts(run_id()))
        assert list(found) == [artifact("a", blob="2"), artifact("b", blob="3"), artifact("c", blob="5")]

    def test_weak_27_first_checkpoint_of_a_name_stands(self, persistence: Persistence) -> None:
        """Checkpoints are stored under a lease that goes on; the first of a stage instance's name stands."""
        begin(persistence)
        lease = take(persistence)
        said = (("a", "1"), ("a", "2"), ("b", "3"))
        kept = [NewCheckpoint(key=lease.key, name=name, result=payload(text)) for name, text in said]
        change = attrs.evolve(settled(lease, COMPLETED), settle=None)
        stand(persistence, attrs.evolve(change, checkpoints=(kept[0], kept[2])))
        stand(persistence, attrs.evolve(change, checkpoints=(kept[1],)))
        assert run_sync(persistence.find_checkpoint(lease.key, name="a")) == payload("1")
        assert run_sync(persistence.find_checkpoint(lease.key, name="b")) == payload("3")

    def test_stale_checkpoint_is_refused(self, persistence: Persistence) -> None:
        """A checkpoint under a lease that is lost leaves nothing behind."""
        begin(persistence)
        lease = take(persistence)
        stale = attrs.evolve(settled(attrs.evolve(lease, epoch=lease.epoch + 1), COMPLETED), settle=None)
        kept = NewCheckpoint(key=lease.key, name="n", result=payload("1"))
        assert isinstance(refuse(persistence, attrs.evolve(stale, checkpoints=(kept,))), LeaseLost)
        assert run_sync(persistence.find_checkpoint(lease.key, name="n")) is None

    def test_parity_140_annotations_are_stored_with_the_outcome(self, persistence: Persistence) -> None:
        """Annotations on the run and on an attempt are stored with their actor and the instant of the commit."""
        begin(persistence)
        value = {"deep": [1, None, "🦑\x00"], "big": 2**70}
        on_run = NewAnnotation(name="who", value=value, actor="user:7")
        on_stage = NewAnnotation(name="why", value="because", key=key(item=2), attempt=3)
        stand(persistence, attrs.evolve(completed(take(persistence)), annotations=(on_run, on_stage)))
        first, second = run_sync(persistence.list_annotations(run_id(), limit=MANY))
        assert (first.run_id, first.name, first.value, first.actor) == (run_id(), "who", value, "user:7")
        assert (first.key, first.attempt, first.at) == (None, None, START)
        assert (second.key, second.attempt, second.actor, second.value) == (key(item=2), 3, None, "because")

    def test_logs_are_stored(self, persistence: Persistence) -> None:
        """Log lines keep their attempt, level, text, data and the host's instant."""
        begin(persistence)
        at = START - timedelta(days=1, microseconds=-7)
        log = NewLog(key=key(), attempt=2, level="warning", message="a\x00b 🦑", data={"n": [1, 2]}, at=at)
        stand(persistence, attrs.evolve(noted(), logs=(log,)))
        (line,) = run_sync(persistence.list_logs(run_id(), limit=MANY))
        assert (line.key, line.attempt, line.level, line.message) == (key(), 2, "warning", "a\x00b 🦑")
        assert (line.data, line.at) == ({"n": [1, 2]}, at)

    def test_operations_are_stored(self, persistence: Persistence) -> None:
        """Operation records are found by tenant, scope and key."""
        records = (operation("a"), operation("a", scope="run.create", result='"🦑"'))
        stand(persistence, attrs.evolve(created(), operations=records))
        for record in records:
            found = run_sync(persistence.find_operation(tenant=record.tenant, scope=record.scope, key=record.key))
            assert found == record

    def test_the_version_rises_by_one_with_every_change(self, persistence: Persistence) -> None:
        """Every change-set, whatever it holds, makes the version rise by exactly 1; a refused one does not."""
        begin(persistence, "a", "b")
        version = the_run(persistence).version
        lease = take(persistence)
        changes = (
            Change(run_id=run_id()),
            attrs.evolve(noted(), fence=fence(lease)),
            completed(lease),
            reaching(Change(run_id=run_id()), gate_rule("g", arity=1), gate_rule("h", arity=3)),
            ended(),
        )
        for step, change in enumerate(changes, version + 2):
            assert stand(persistence, change).version == step
            refuse(persistence, created())
            assert the_run(persistence).version == step

    def test_changes_of_one_run_do_not_touch_another(self, persistence: Persistence) -> None:
        """A change-set leaves everything of other runs as it is."""
        begin(persistence)
        begin(persistence, run=2)
        before = (the_snapshot(persistence, 2), events_of(persistence, 2))
        stand(persistence, laden(noted()), ended())
        assert (the_snapshot(persistence, 2), events_of(persistence, 2)) == before

    # The end of a run.

    @pytest.mark.parametrize("status", TERMINAL)
    def test_the_end_cancels_live_jobs(self, persistence: Persistence, clock: FakeClock, status: RunStatus) -> None:
        """When a run ends, its ready, delayed, running and suspended jobs become CANCELLED records."""
        suspended(persistence)
        new = (job(key("b")), job(key("c"), delay=HOUR), job(key("d"), grant=Grant(worker="w1", ttl=TTL)))
        stand(persistence, Change(run_id=run_id(), step=Step(jobs=new)))
        clock.advance("3s")
        stand(persistence, ended(status=status))
        for name in "abcd":
            stage = the_stage(persistence, key(name))
            assert (stage.status, stage.finished_at) == (StageStatus.CANCELLED, NOW_LATER)
            assert (stage.due_at, stage.lease_until, stage.output) == (None, None, None)
        clock.advance(2 * HOUR)
        assert take_all(persistence) == []
        assert not run_sync(persistence.list_expired(limit=MANY))
        assert run_sync(persistence.next_due()) is None

    def test_parity_075_a_lease_is_lost_when_the_run_ends(self, persistence: Persistence) -> None:
        """The result of a stage whose run was cancelled meanwhile is refused with all it carries."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, ended())
        before = everything(persistence)
        late = attrs.evolve(completed(lease), annotations=(NewAnnotation(name="who", value=1),))
        assert isinstance(refuse(persistence, late), LeaseLost)
        assert everything(persistence) == before
        assert the_stage(persistence).status is StageStatus.CANCELLED

    def test_the_end_keeps_records(self, persistence: Persistence) -> None:
        """Stages that were done before the run ended keep their records."""
        begin(persistence, "a", "b")
        stand(persistence, completed(take(persistence)))
        before = the_stage(persistence)
        stand(persistence, ended())
        assert the_stage(persistence) == before

    def test_the_job_that_ends_the_run_keeps_its_own_status(self, persistence: Persistence) -> None:
        """The settled job of the change-set that ends the run is not cancelled, its siblings are."""
        begin(persistence, "a", "b")
        lease = take(persistence)
        finish = Finish(status=StageStatus.FAILED, failure=failure())
        stand(persistence, settled(lease, finish, step=ended(status=RunStatus.FAILED).step))
        assert the_stage(persistence).status is StageStatus.FAILED
        assert the_stage(persistence, key("b")).status is StageStatus.CANCELLED

    def test_the_end_takes_new_jobs_and_timers_with_it(self, persistence: Persistence) -> None:
        """Jobs and timers that the ending change-set itself makes are closed as well."""
        begin(persistence)
        step = attrs.evolve(ended().step, jobs=(job(key("b")),), timers=(deadline(),))
        stand(persistence, Change(run_id=run_id(), step=step))
        assert the_stage(persistence, key("b")).status is StageStatus.CANCELLED
        assert run_sync(persistence.next_due()) is None

    def test_the_end_drops_timers_and_gates(self, persistence: Persistence, clock: FakeClock) -> None:
        """When a run ends, its timers and its gates vanish."""
        stand(persistence, created(), started(timers=[deadline()]), reaching(noted(), gate_rule()))
        stand(persistence, ended())
        assert the_snapshot(persistence).arrivals == {}
        clock.advance(2 * HOUR)
        assert not run_sync(persistence.list_due_timers(limit=MANY))
        fired = attrs.evolve(noted(require=Require(statuses=TERMINAL_RUN)), fired="deadline")
        assert isinstance(refuse(persistence, fired), StaleVersion)

    # The rerun.

    def test_parity_077_a_rerun_supersedes(self, persistence: Persistence) -> None:
        """A rerun supersedes the named stages' records, keeps the others, and runs in its new generation."""
        begin(persistence, "a", "b", "c")
        for name in "abc":
            stand(persistence, completed(take(persistence, key(name)), output=f'"{name}"'))
        stand(persistence, ended(status=RunStatus.COMPLETED, output_of=("c",)), rerun(supersede=("b", "c")))
        run = the_run(persistence)
        assert (run.status, run.generation) == (RunStatus.RUNNING, 2)
        superseded = {name: the_stage(persistence, key(name)).superseded for name in "abc"}
        assert superseded == {"a": False, "b": True, "c": True}
        assert the_stage(persistence, key("b", generation=2)).status is StageStatus.READY
        assert [stage.key for stage in the_snapshot(persistence).stages] == [key("a"), key("b", generation=2)]

    def test_parity_079_a_rerun_clears_the_outcome(self, persistence: Persistence, clock: FakeClock) -> None:
        """A rerun clears the run's end, output and failure and sets its start anew."""
        begin(persistence)
        stand(persistence, ended(status=RunStatus.COMPLETED, output_of=("a",)))
        clock.advance("3s")
        stand(persistence, rerun())
        run = the_run(persistence)
        assert (run.output_of, run.failure, run.finished_at) == ((), None, None)
        assert (run.created_at, run.started_at) == (START, NOW_LATER)
        stand(persistence, ended(status=RunStatus.FAILED), rerun(generation=3))
        assert (the_run(persistence).failure, the_run(persistence).generation) == (None, 3)

    def test_a_rerun_supersedes_failed_and_cancelled_records(self, persistence: Persistence) -> None:
        """Failed and cancelled records are superseded like completed ones."""
        begin(persistence, "a", "b")
        finish = Finish(status=StageStatus.FAILED, failure=failure())
        stand(persistence, settled(take(persistence), finish, step=ended(status=RunStatus.FAILED).step))
        stand(persistence, rerun(supersede=("a", "b")))
        for name in "ab":
            assert the_stage(persistence, key(name)).superseded
        assert [stage.key for stage in the_snapshot(persistence).stages] == [key("a", generation=2)]

    def test_a_rerun_from_a_turn_keeps_earlier_turns(self, persistence: Persistence) -> None:
        """Records of the named turn and of later ones are superseded; the turn before has the visible output."""
        keys = [key(turn=turn) for turn in range(4)]
        stand(persistence, created(), started(jobs=[job(at) for at in keys]))
        for at in keys:
            stand(persistence, completed(take(persistence, at), output=f"{at.turn}"))
        again = attrs.evolve(rerun(), supersede=(Supersede(stage_id="a", from_turn=2),))
        stand(persistence, ended(), again)
        assert [the_stage(persistence, at).superseded for at in keys] == [False, False, True, True]
        assert run_sync(persistence.get_outputs(run_id(), ("a",))) == {"a": payload("1")}

    def test_a_rerun_may_supersede_one_stage_twice(self, persistence: Persistence) -> None:
        """Of several values for one stage each supersedes what it names."""
        keys = [key(turn=turn) for turn in range(3)]
        stand(persistence, created(), started(jobs=[job(at) for at in keys]))
        for at in keys[:2]:
            stand(persistence, completed(take(persistence, at)))
        both = (Supersede(stage_id="a", completed=False), Supersede(stage_id="a", from_turn=1))
        stand(persistence, ended(), attrs.evolve(rerun(), supersede=both))
        assert [the_stage(persistence, at).superseded for at in keys] == [False, True, True]

    def test_a_retry_supersedes_what_did_not_complete(self, persistence: Persistence) -> None:
        """Without *completed* only FAILED and CANCELLED records are superseded; outputs and skips stay."""
        finishes = {
            StageStatus.COMPLETED: False,
            StageStatus.SKIPPED: False,
            StageStatus.FAILED: True,
            StageStatus.CANCELLED: True,
        }
        keys = [key(item=item) for item, _ in enumerate(finishes)]
        stand(persistence, created(), started(jobs=[job(at) for at in keys]))
        for at, status in zip(keys, finishes, strict=True):
            output = payload("1") if status is StageStatus.COMPLETED else None
            stand(persistence, settled(take(persistence, at), Finish(status=status, output=output)))
        retry = attrs.evolve(rerun(), supersede=(Supersede(stage_id="a", completed=False),))
        stand(persistence, ended(status=RunStatus.FAILED), retry)
        assert [the_stage(persistence, at).superseded for at in keys] == list(finishes.values())
        assert run_sync(persistence.get_outputs(run_id(), ("a",))) == {"a": payload("1")}

    def test_a_rerun_supersedes_every_item(self, persistence: Persistence) -> None:
        """All items of a superseded stage are, and their outputs are invisible."""
        keys = [key(item=item) for item in range(3)]
        stand(persistence, created(), started(jobs=[job(at) for at in keys]))
        for at in keys:
            stand(persistence, completed(take(persistence, at)))
        stand(persistence, ended(), rerun())
        assert all(the_stage(persistence, at).superseded for at in keys)
        assert run_sync(persistence.get_outputs(run_id(), ("a",), item=2)) == {}

    def test_parity_082_reruns_repeat(self, persistence: Persistence) -> None:
        """Each rerun makes new instances; all earlier ones stay superseded and readable."""
        begin(persistence)
        stand(persistence, ended())
        for generation in (2, 3, 4):
            stand(persistence, rerun(generation=generation), ended())
        stages = run_sync(persistence.list_stages(run_id()))
        assert [(stage.key.generation, stage.superseded) for stage in stages] == [
            (1, True),
            (2, True),
            (3, True),
            (4, False),
        ]

    def test_an_old_lease_is_nothing_to_a_new_generation(self, persistence: Persistence) -> None:
        """A lease of the generation before the rerun stays lost, and its arrival counts nowhere."""
        begin(persistence)
        lease = take(persistence)
        rule = gate_rule(generation=2)
        stand(persistence, reaching(noted(), gate_rule()), ended(), rerun())
        assert isinstance(refuse(persistence, reaching(completed(lease), rule)), LeaseLost)
        assert the_snapshot(persistence).arrivals == {}
        assert made(stand(persistence, reaching(noted(), rule))) == []

    def test_parity_083_annotations_outlive_a_rerun(self, persistence: Persistence) -> None:
        """What was noted about an instance stays after a rerun superseded it."""
        begin(persistence)
        note = NewAnnotation(name="why", value=1, key=key(), attempt=1)
        stand(persistence, attrs.evolve(noted(), annotations=(note,)), ended(), rerun())
        (found,) = run_sync(persistence.list_annotations(run_id(), limit=MANY))
        assert (found.key, found.attempt) == (key(), 1)

    # Payloads.

    @pytest.mark.parametrize(
        "text",
        [
            "null",
            '""',
            '"\\u0000 in text"',
            '"🦑 \U0010ffff"',
            "1e22",
            "12345678901234567890123456789012345678901234567890",
            "-0.0",
            '{"b":1,"a":[1.10,true]}',
            '{"a":1,"a":2}',
            "  [ 1 ]\n",
        ],
    )
    def test_payload_text_is_kept_byte_for_byte(self, persistence: Persistence, text: str) -> None:
        """Input, config, output and state are texts to the store and come back exactly as they were."""
        head = attrs.evolve(header(), input=payload(text), config=text)
        stand(persistence, created(head=head), started(head=head, jobs=[job(head=head), job(key("b"), head=head)]))
        stand(persistence, completed(take(persistence), output=text))
        stand(
            persistence,
            settled(take(persistence, key("b")), Suspend(state=payload(text), delay=ZERO, give_up_after=HOUR)),
        )
        assert the_run(persistence).header == head
        assert the_stage(persistence).output == payload(text)
        poll = take(persistence, key("b"))
        assert (poll.state, poll.run) == (payload(text), head)

    def test_a_payload_may_be_ten_megabytes(self, persistence: Persistence) -> None:
        """Ten megabytes of text are kept like ten bytes."""
        text = '"' + "0123456789" * (1024 * 1024) + '"'
        begin(persistence)
        stand(persistence, completed(take(persistence), output=text))
        output = run_sync(persistence.get_outputs(run_id(), ("a",)))["a"]
        assert output == payload(text)

    def test_a_payload_may_be_a_blob(self, persistence: Persistence) -> None:
        """A payload that is a reference to a blob comes back as that reference."""
        reference = attrs.evolve(payload("1"), text=None, blob="runs/1/abc")
        head = attrs.evolve(header(), input=reference)
        stand(persistence, created(head=head), started(head=head))
        stand(persistence, settled(take(persistence), Finish(status=StageStatus.COMPLETED, output=reference)))
        assert the_run(persistence).header.input == reference
        assert the_stage(persistence).output == reference

    def test_what_the_caller_keeps_is_its_own(self, persistence: Persistence) -> None:
        """Mutable values that the caller changes after the commit, or after a read, do not change the store."""
        begin(persistence)
        data, value, lines, metrics = {"n": [1]}, {"n": [1]}, {"n": [1]}, {"n": 1.0}
        lease = take(persistence)
        change = attrs.evolve(
            settled(lease, attrs.evolve(COMPLETED, metrics=metrics)),
            step=Step(events=(NewEvent(type=EventType.STAGE_PROGRESS, key=key(), data=data),)),
            annotations=(NewAnnotation(name="who", value=value),),
            logs=(NewLog(key=key(), attempt=1, level="info", message="", data=lines, at=START),),
        )
        stand(persistence, change)
        for mine in (data, value, lines):
            mine["n"].append(2)
        metrics["n"] = 2.0
        before = everything(persistence)
        for _ in range(2):
            told = events_of(persistence)[-1].data
            note = run_sync(persistence.list_annotations(run_id(), limit=MANY))[0].value
            line = run_sync(persistence.list_logs(run_id(), limit=MANY))[0].data
            assert told == note == line == {"n": [1]}
            assert the_stage(persistence).metrics == {"n": 1.0}
            for theirs in (told, note, line):
                theirs["n"].append(3)
        assert everything(persistence) == before

    # Operations and settlements are looked up.

    def test_an_unknown_operation_is_none(self, persistence: Persistence) -> None:
        """An operation that did not happen, or only for another tenant, scope or key, is not found."""
        stand(persistence, attrs.evolve(created(), operations=(operation("a"),)))
        for tenant, scope, name in (("x", "operation", "a"), ("acme", "x", "a"), ("acme", "operation", "x")):
            assert run_sync(persistence.find_operation(tenant=tenant, scope=scope, key=name)) is None

    def _is_settled(self, persistence: Persistence, at: StageKey, epoch: int) -> bool:
        return run_sync(persistence.is_settled(at, epoch=epoch))

    @pytest.mark.parametrize(
        "settle",
        [
            COMPLETED,
            Finish(status=StageStatus.FAILED, failure=failure()),
            Requeue(delay=HOUR, attempt=1),
            Suspend(state=payload(), delay=HOUR, give_up_after=HOUR),
            Park(waits=(new_wait(),)),
        ],
        ids=["completed", "failed", "requeued", "suspended", "parked"],
    )
    def test_settled_by_its_holder(self, persistence: Persistence, settle: Finish | Requeue | Suspend | Park) -> None:
        """A lease that its holder settled is settled, and an earlier or later epoch is not."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, settled(lease, settle))
        assert self._is_settled(persistence, key(), lease.epoch)
        assert not self._is_settled(persistence, key(), lease.epoch - 1)
        assert not self._is_settled(persistence, key(), lease.epoch + 1)

    def test_settled_also_after_the_job_was_leased_again(self, persistence: Persistence) -> None:
        """A settled lease stays settled when the job is leased again; the new lease stands and is not."""
        begin(persistence)
        first = take(persistence)
        stand(persistence, settled(first, Requeue(delay=ZERO, attempt=1)))
        second = take(persistence)
        assert self._is_settled(persistence, key(), first.epoch)
        assert not self._is_settled(persistence, key(), second.epoch)

    def test_settled_also_after_later_leases_ended(self, persistence: Persistence, clock: FakeClock) -> None:
        """A settlement is known of when later leases of the job were lost or settled."""
        begin(persistence)
        first = take(persistence)
        stand(persistence, settled(first, Requeue(delay=ZERO, attempt=1)))
        second = take(persistence)
        clock.advance(TTL)
        stand(persistence, settled(second, Requeue(delay=ZERO, attempt=1), expired=True))
        third = take(persistence)
        stand(persistence, completed(third))
        told = [self._is_settled(persistence, key(), lease.epoch) for lease in (first, second, third)]
        assert told == [True, False, True]

    def test_settled_past_its_end(self, persistence: Persistence, clock: FakeClock) -> None:
        """A holder that settles after its lease's end, before anybody took it back, has settled it."""
        begin(persistence)
        lease = take(persistence)
        clock.advance(HOUR)
        stand(persistence, completed(lease))
        assert self._is_settled(persistence, key(), lease.epoch)

    def test_settled_with_the_end_of_the_run(self, persistence: Persistence) -> None:
        """The settlement that ended the run is a settlement."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, completed(lease, step=ended(status=RunStatus.COMPLETED, output_of=("a",)).step))
        assert self._is_settled(persistence, key(), lease.epoch)

    def test_not_settled_while_the_lease_stands(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lease that stands is not settled, neither by progress under it nor by passing its end."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, attrs.evolve(noted(), fence=fence(lease)))
        assert not self._is_settled(persistence, key(), lease.epoch)
        clock.advance(HOUR)
        assert not self._is_settled(persistence, key(), lease.epoch)

    @pytest.mark.parametrize(
        "settle",
        [Requeue(delay=ZERO, attempt=1), Finish(status=StageStatus.FAILED, failure=failure())],
        ids=["requeued", "failed"],
    )
    def test_not_settled_by_the_reaper(
        self, persistence: Persistence, clock: FakeClock, settle: Finish | Requeue
    ) -> None:
        """A lease that the reaper took back was not settled by its holder."""
        begin(persistence)
        lease = take(persistence)
        clock.advance(TTL)
        stand(persistence, settled(lease, settle, expired=True))
        assert not self._is_settled(persistence, key(), lease.epoch)

    def test_not_settled_after_reaping_and_leasing_again(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lease that was reaped stays unsettled when the job is leased again."""
        begin(persistence)
        first = take(persistence)
        clock.advance(TTL)
        stand(persistence, settled(first, Requeue(delay=ZERO, attempt=1), expired=True))
        second = take(persistence)
        assert not self._is_settled(persistence, key(), first.epoch)
        stand(persistence, completed(second))
        assert not self._is_settled(persistence, key(), first.epoch)
        assert self._is_settled(persistence, key(), second.epoch)

    def test_not_settled_by_the_end_of_the_run(self, persistence: Persistence) -> None:
        """A lease that ended because its run was cancelled was not settled by its holder."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, ended())
        assert not self._is_settled(persistence, key(), lease.epoch)

    def test_not_settled_when_unknown(self, persistence: Persistence) -> None:
        """A job or run that does not exist is not settled under any epoch."""
        begin(persistence)
        assert not self._is_settled(persistence, key("b"), 1)
        assert not self._is_settled(persistence, key(run=9), 1)

    def test_not_settled_by_a_refused_change(self, persistence: Persistence) -> None:
        """A settlement that was refused did not happen."""
        begin(persistence)
        lease = take(persistence)
        wrong = attrs.evolve(completed(lease), fired="none")
        refuse(persistence, wrong)
        assert not self._is_settled(persistence, key(), lease.epoch)
