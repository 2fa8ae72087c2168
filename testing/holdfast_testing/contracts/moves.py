"""The contract of how runs move: held, waiting, paused, compensating, and what an end means to relatives."""

from __future__ import annotations

import attrs
import pytest

from holdfast.change import (
    PENDING,
    ZERO,
    Change,
    Committed,
    Fence,
    Finish,
    Grant,
    NewJob,
    NewTimer,
    Requeue,
    Require,
    RunPatch,
    Step,
    Suspend,
)
from holdfast.driving import run_sync
from holdfast.entities.run import LIVE_RUN, RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.entities.timer import TimerKind
from holdfast.entities.wait import WaitStatus
from holdfast.errors import LeaseLost, StaleVersion
from holdfast.events import EventType, NewEvent
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRef
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    KNOWN,
    MANY,
    SECOND,
    TTL,
    answered,
    begin,
    check_fold,
    commit,
    completed,
    created,
    deadline,
    ended,
    events_of,
    failure,
    gate_rule,
    header,
    job,
    key,
    moved,
    new_wait,
    noted,
    parked,
    payload,
    reaching,
    ready_event,
    refuse,
    rerun,
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
    the_wait,
    timers_of,
    wait_for,
    wanted,
)

ANY_LIVE = Require(statuses=LIVE_RUN)
PAUSED, RUNNING, WAITING, COMPENSATING = (
    RunStatus.PAUSED,
    RunStatus.RUNNING,
    RunStatus.WAITING,
    RunStatus.COMPENSATING,
)
UNDO = "a~undo"
GRANT = Grant(worker="w1", ttl=TTL)


def pause(number: int = 1) -> Change:
    """Return the change-set that pauses a run."""
    told = NewEvent(type=EventType.RUN_PAUSED)
    return attrs.evolve(moved(number, status=PAUSED), step=Step(run=RunPatch(status=PAUSED), events=(told,)))


def unpause(number: int = 1) -> Change:
    """Return the change-set that lets a paused run go on."""
    told = NewEvent(type=EventType.RUN_UNPAUSED)
    return attrs.evolve(moved(number, status=RUNNING), step=Step(run=RunPatch(status=RUNNING), events=(told,)))


def compensating(*jobs: NewJob, timers: tuple[NewTimer, ...] = ()) -> Change:
    """Return the change-set by which the first run fails and begins to undo what it did."""
    told = (NewEvent(type=EventType.RUN_COMPENSATING), *(ready_event(new.key) for new in jobs))
    patch = RunPatch(status=COMPENSATING, failure=failure())
    return Change(run_id=run_id(), step=Step(run=patch, jobs=jobs, timers=timers, events=told))


def held(number: int = 1) -> Change:
    """Return the change-set that creates a run which may not be admitted yet."""
    change = created(number)
    assert change.create is not None
    return attrs.evolve(change, create=attrs.evolve(change.create, held=True))


def let_go(number: int = 1) -> Change:
    """Return the change-set that lets a held run be admitted."""
    told = NewEvent(type=EventType.RUN_DUE)
    step = Step(run=RunPatch(status=RunStatus.PENDING), events=(told,))
    return Change(run_id=run_id(number), require=PENDING, step=step)


def child(number: int, *, of: int = 1) -> Change:
    """Return the change-set that creates a run which another one started."""
    return created(head=attrs.evolve(header(number), parent_id=run_id(of)))


class MovesContract:
    """What every store must do with the statuses of runs."""

    def _at(self, persistence: Persistence, number: int = 1) -> RunStatus:
        return the_run(persistence, number).status

    # RUNNING and WAITING.

    def test_a_run_waits_while_all_its_jobs_wait(self, persistence: Persistence) -> None:
        """A run is WAITING exactly while all its live jobs are; finding out costs no version and no event."""
        begin(persistence, "a", "b", "c")
        seen: list[RunStatus] = []
        for name in "ab":
            wait_for(persistence, at=key(name))
            seen.append(self._at(persistence))
        version, told = the_run(persistence).version, len(events_of(persistence))
        lease = take(persistence, key("c"))
        stand(persistence, completed(lease))
        seen.append(self._at(persistence))
        assert (the_run(persistence).version, len(events_of(persistence))) == (version + 2, told + 2)
        stand(persistence, answered(at=key("b")))
        seen.append(self._at(persistence))
        wait_for(persistence, "again", at=key("b"))
        seen.append(self._at(persistence))
        assert seen == [RUNNING, RUNNING, WAITING, RUNNING, WAITING]
        check_fold(persistence)

    def test_a_suspended_or_delayed_job_does_not_wait(self, persistence: Persistence) -> None:
        """A run with a job that is SUSPENDED, or READY later, is RUNNING whatever the others wait for."""
        suspended(persistence)
        stand(persistence, Change(run_id=run_id(), step=Step(jobs=(job(key("b")), job(key("c"), delay=HOUR)))))
        wait_for(persistence, at=key("b"))
        assert self._at(persistence) is RUNNING

    def test_a_run_without_live_jobs_does_not_wait(self, persistence: Persistence) -> None:
        """A WAITING run whose last live job is done is RUNNING."""
        begin(persistence)
        wait_for(persistence)
        stand(persistence, answered())
        stand(persistence, completed(take(persistence)))
        assert self._at(persistence) is RUNNING

    def test_a_waiting_run_runs_when_a_job_is_added(self, persistence: Persistence) -> None:
        """A new job that does not wait makes a WAITING run RUNNING; one that waits leaves it WAITING."""
        begin(persistence)
        wait_for(persistence)
        waiting = attrs.evolve(job(key("b")), waits=(new_wait("x"),))
        stand(persistence, Change(run_id=run_id(), step=Step(jobs=(waiting,))))
        assert self._at(persistence) is WAITING
        stand(persistence, Change(run_id=run_id(), step=Step(jobs=(job(key("c")),))))
        assert self._at(persistence) is RUNNING

    def test_a_run_may_wait_from_its_first_step(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run that is admitted with nothing but waiting jobs is WAITING, and has begun."""
        stand(persistence, created())
        clock.advance("1s")
        stand(persistence, started(jobs=[attrs.evolve(job(), waits=(new_wait(),))]))
        run = the_run(persistence)
        assert (run.status, run.started_at) == (WAITING, START + SECOND)

    def test_a_message_that_is_there_keeps_a_run_from_waiting(self, persistence: Persistence) -> None:
        """A run whose only job parks on a wait that takes a message stays RUNNING."""
        begin(persistence)
        stand(persistence, sent())
        wait_for(persistence)
        assert self._at(persistence) is RUNNING

    def test_a_waiting_status_holds_requirements(self, persistence: Persistence) -> None:
        """The status that the store found is the one that later change-sets of the call are checked against."""
        begin(persistence)
        only_running = Require(statuses=frozenset({RUNNING}))
        first, second = commit(persistence, parked(take(persistence)), noted(require=only_running))
        assert isinstance(first, Committed)
        assert isinstance(second, StaleVersion)

    @pytest.mark.parametrize("asked", [RUNNING, WAITING])
    def test_the_store_decides_between_running_and_waiting(self, persistence: Persistence, asked: RunStatus) -> None:
        """Whichever of both a change-set asks for, the run gets the one that its jobs make true."""
        begin(persistence, run=1)
        begin(persistence, run=2)
        wait_for(persistence)
        stand(persistence, moved(1, status=asked), moved(2, status=asked))
        assert (self._at(persistence, 1), self._at(persistence, 2)) == (WAITING, RUNNING)

    # PAUSED.

    def test_jobs_of_a_paused_run_are_never_due(self, persistence: Persistence, clock: FakeClock) -> None:
        """Ready, delayed and suspended jobs of a PAUSED run are not leased in any way, however long it takes."""
        suspended(persistence)
        stand(persistence, Change(run_id=run_id(), step=Step(jobs=(job(key("b")), job(key("c"), delay=SECOND)))))
        stand(persistence, pause())
        begin(persistence, run=2)
        for _ in range(2):
            for name in "abc":
                assert run_sync(persistence.lease_one(key(name), worker="w", ttl=TTL)) is None
            clock.advance(HOUR)
        assert [lease.key for lease in take_all(persistence)] == [key(run=2)]
        stand(persistence, ended(2))
        assert run_sync(persistence.next_due()) is None
        assert self._at(persistence) is PAUSED

    def test_an_unpaused_run_goes_on_where_it_was(self, persistence: Persistence, clock: FakeClock) -> None:
        """After the pause jobs are due at the instants they had, so that those due the longest come first."""
        delays = {"a": 3, "b": 1, "c": 2, "d": 9}
        stand(persistence, created(), started(jobs=[job(key(n), delay=d * SECOND) for n, d in delays.items()]))
        stand(persistence, pause())
        clock.advance("5s")
        stand(persistence, unpause())
        assert self._at(persistence) is RUNNING
        assert [lease.key.stage_id for lease in take_all(persistence)] == ["b", "c", "a"]
        assert the_stage(persistence, key("d")).due_at == START + 9 * SECOND
        clock.advance("4s")
        assert [lease.key.stage_id for lease in take_all(persistence)] == ["d"]
        check_fold(persistence)

    def test_a_pause_may_come_and_go(self, persistence: Persistence) -> None:
        """A run may be paused and let go on several times, also in one call, without a job being lost or doubled."""
        begin(persistence, "a", "b")
        commit(persistence, pause(), unpause(), pause(), unpause())
        stand(persistence, pause(), unpause())
        assert sorted(lease.key.stage_id for lease in take_all(persistence)) == ["a", "b"]
        assert take_all(persistence) == []

    def test_what_executes_may_end_in_a_pause(self, persistence: Persistence, clock: FakeClock) -> None:
        """Leases of a PAUSED run stand: they are extended, settled and found past their end."""
        begin(persistence, "a", "b", "c")
        a, b, _ = (take(persistence, key(name)) for name in "abc")
        assert not stand(persistence, noted()).withheld
        assert not stand(persistence, pause()).withheld
        clock.advance("20s")
        assert not run_sync(persistence.extend([LeaseRef(key=a.key, epoch=a.epoch)], ttl=TTL))
        assert not stand(persistence, completed(b, step=Step(jobs=(job(key("d")),)))).withheld
        clock.advance("10s")
        assert [lease.key for lease in run_sync(persistence.list_expired(limit=MANY))] == [key("c")]
        assert run_sync(persistence.lease_one(key("d"), worker="w", ttl=TTL)) is None

    def test_jobs_that_come_to_be_due_in_a_pause(self, persistence: Persistence, clock: FakeClock) -> None:
        """Jobs that are requeued, suspended, answered, reaped or new in a pause are due after it, at their instants."""
        begin(persistence, "requeued", "suspended", "answered", "reaped", "parked")
        wait_for(persistence, at=key("answered"))
        stand(persistence, sent("early"))
        names = ("requeued", "suspended", "reaped", "parked")
        leases = {name: take(persistence, key(name)) for name in names}
        stand(persistence, pause())
        clock.advance(TTL)
        suspend = Suspend(state=payload("1"), delay=SECOND, give_up_after=HOUR)
        stand(
            persistence,
            settled(leases["requeued"], Requeue(delay=SECOND, attempt=1)),
            settled(leases["suspended"], suspend),
            settled(leases["reaped"], Requeue(delay=ZERO, attempt=1), expired=True),
            parked(leases["parked"], "early"),
            answered(at=key("answered")),
            Change(run_id=run_id(), step=Step(jobs=(job(key("new")),))),
        )
        clock.advance("1s")
        assert take_all(persistence) == []
        assert run_sync(persistence.next_due()) is None
        stand(persistence, unpause())
        expected = {"requeued", "suspended", "answered", "reaped", "parked", "new"}
        assert {lease.key.stage_id for lease in take_all(persistence)} == expected

    def test_grants_in_a_paused_run_are_not_given(self, persistence: Persistence) -> None:
        """A job that asks for a grant in a PAUSED run is READY without a lease, and granted to anyone after it."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, pause())
        rule = gate_rule(arity=1, opens=Step(jobs=(job(key("c"), grant=GRANT),)))
        new = Step(jobs=(job(key("b"), grant=GRANT),))
        assert stand(persistence, reaching(completed(lease, step=new), rule)).withheld == {"default"}
        for name in "bc":
            stage = the_stage(persistence, key(name))
            assert (stage.status, stage.epoch, stage.attempt) == (StageStatus.READY, 0, 0)
            assert (stage.worker, stage.lease_until, stage.started_at) == (None, None, None)
        told = run_sync(persistence.list_events(run_id(), limit=MANY))[-2:]
        assert [(event.type, event.key) for event in told] == [
            (EventType.STAGE_RELEASED, key("b")),
            (EventType.STAGE_RELEASED, key("c")),
        ]
        assert take_all(persistence) == []
        stand(persistence, unpause())
        assert [lease.worker for lease in take_all(persistence, wanted(worker="w2"))] == ["w2", "w2"]

    def test_the_change_that_pauses_gives_no_grants(self, persistence: Persistence) -> None:
        """Grants of the very change-set that pauses are not given, those of the one that lets go on are."""
        begin(persistence)
        paused = pause()
        paused = attrs.evolve(paused, step=attrs.evolve(paused.step, jobs=(job(key("b"), grant=GRANT),)))
        assert stand(persistence, paused).withheld == {"default"}
        assert the_stage(persistence, key("b")).status is StageStatus.READY
        on = unpause()
        on = attrs.evolve(on, step=attrs.evolve(on.step, jobs=(job(key("c"), grant=GRANT),)))
        assert not stand(persistence, on).withheld
        assert the_stage(persistence, key("c")).status is StageStatus.RUNNING
        assert {lease.key.stage_id for lease in take_all(persistence)} == {"a", "b"}

    def test_a_paused_run_is_not_found_to_wait(self, persistence: Persistence) -> None:
        """A PAUSED run stays PAUSED whatever its jobs do, and is WAITING after it when all of them are."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, pause(), parked(lease))
        assert self._at(persistence) is PAUSED
        stand(persistence, unpause())
        assert self._at(persistence) is WAITING
        stand(persistence, pause(), answered())
        assert self._at(persistence) is PAUSED
        stand(persistence, unpause())
        assert self._at(persistence) is RUNNING
        check_fold(persistence)

    def test_timers_of_a_paused_run_are_due(self, persistence: Persistence, clock: FakeClock) -> None:
        """A pause holds jobs back, not timers."""
        stand(persistence, created(), started(timers=[deadline()]), pause())
        clock.advance(HOUR)
        assert run_sync(persistence.next_due()) == ZERO
        assert timers_of(persistence) == [(1, "deadline", TimerKind.RUN_DEADLINE)]

    def test_a_paused_run_may_end(self, persistence: Persistence) -> None:
        """A run that ends in a pause loses its jobs like any other, and a rerun of it is not paused."""
        begin(persistence)
        stand(persistence, pause(), ended())
        assert the_stage(persistence).status is StageStatus.CANCELLED
        stand(persistence, rerun())
        assert [lease.key for lease in take_all(persistence)] == [key(generation=2)]

    # Held.

    def test_a_held_run_is_not_pending_work(self, persistence: Persistence, clock: FakeClock) -> None:
        """A held run is PENDING but not listed for admission until it is let go; then it counts by its own age."""
        stand(persistence, held(2))
        clock.advance("1s")
        stand(persistence, created(1))
        run = the_run(persistence, 2)
        assert (run.status, run.held) == (RunStatus.PENDING, True)
        assert not the_run(persistence, 1).held

        def pending() -> list[str]:
            return [run.id for run in run_sync(persistence.list_pending(limit=MANY, known=KNOWN))]

        assert pending() == [run_id(1)]
        version = run.version
        assert stand(persistence, let_go(2)).version == version + 1
        run = the_run(persistence, 2)
        assert (run.status, run.held, run.started_at, run.finished_at) == (RunStatus.PENDING, False, None, None)
        assert pending() == [run_id(2), run_id(1)]
        check_fold(persistence, 2)

    def test_letting_go_twice_changes_nothing_more(self, persistence: Persistence) -> None:
        """A run that is not held may be let go, is listed once, and is listed no more once it was admitted."""
        stand(persistence, held(), let_go(), let_go())
        assert len(run_sync(persistence.list_pending(limit=MANY, known=KNOWN))) == 1
        stand(persistence, started())
        assert not run_sync(persistence.list_pending(limit=MANY, known=KNOWN))
        assert isinstance(refuse(persistence, let_go()), StaleVersion)

    def test_a_held_run_may_be_cancelled(self, persistence: Persistence) -> None:
        """A held run that was cancelled is not listed and cannot be let go."""
        stand(persistence, held(), attrs.evolve(ended(), require=ANY_LIVE))
        assert not run_sync(persistence.list_pending(limit=MANY, known=KNOWN))
        assert isinstance(refuse(persistence, let_go()), StaleVersion)

    def test_a_timer_lets_a_held_run_go(self, persistence: Persistence, clock: FakeClock) -> None:
        """A held run may have a timer, which a change-set consumes as it lets the run go."""
        timer = NewTimer(id="start", kind=TimerKind.RUN_START, delay=HOUR)
        first = held()
        stand(persistence, attrs.evolve(first, step=attrs.evolve(first.step, timers=(timer,))))
        assert isinstance(refuse(persistence, attrs.evolve(let_go(), fired="start")), StaleVersion)
        clock.advance(HOUR)
        assert timers_of(persistence) == [(1, "start", TimerKind.RUN_START)]
        stand(persistence, attrs.evolve(let_go(), fired="start"))
        assert timers_of(persistence) == []

    # COMPENSATING.

    def test_compensation_closes_what_is_open(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run that begins to compensate loses jobs, timers, gates and OPEN waits, but has not ended."""
        suspended(persistence)
        begun = Step(jobs=(job(key("b")), job(key("c")), job(key("d"), grant=GRANT)), timers=(deadline(),))
        stand(persistence, Change(run_id=run_id(), step=begun), reaching(noted(), gate_rule()))
        wait_for(persistence, at=key("b"))
        stand(persistence, compensating(job(key(UNDO))))
        run = the_run(persistence)
        assert (run.status, run.finished_at, run.failure) == (COMPENSATING, None, failure())
        for name in "abcd":
            assert the_stage(persistence, key(name)).status is StageStatus.CANCELLED
        assert the_wait(persistence, at=key("b")).status is WaitStatus.CLOSED
        assert the_snapshot(persistence).arrivals == {}
        clock.advance(2 * HOUR)
        assert timers_of(persistence) == []
        assert [lease.key for lease in take_all(persistence)] == [key(UNDO)]

    def test_what_the_step_that_compensates_makes_stays(self, persistence: Persistence, clock: FakeClock) -> None:
        """The jobs and timers of the step that moves the run to COMPENSATING stay, whatever their kind."""
        stand(persistence, created(), started(timers=[deadline(), deadline("old")]))
        jobs = (
            job(key(UNDO), grant=GRANT),
            job(key("b~undo"), delay=HOUR),
            attrs.evolve(job(key("c~undo")), waits=(new_wait(),)),
        )
        stand(persistence, compensating(*jobs, timers=(deadline(delay=2 * HOUR),)))
        statuses = [the_stage(persistence, new.key).status for new in jobs]
        assert statuses == [StageStatus.RUNNING, StageStatus.READY, StageStatus.WAITING]
        assert the_wait(persistence, at=key("c~undo")).status is WaitStatus.OPEN
        clock.advance(HOUR)
        assert timers_of(persistence) == []
        assert [lease.key for lease in take_all(persistence)] == [key("b~undo")]
        clock.advance(HOUR)
        assert timers_of(persistence) == [(1, "deadline", TimerKind.RUN_DEADLINE)]

    def test_what_other_steps_make_is_closed(self, persistence: Persistence) -> None:
        """When a gate moves the run to COMPENSATING, the jobs of its own step stay and those of others are closed."""
        begin(persistence)
        lease = take(persistence)
        undo = compensating(job(key(UNDO)))
        other = gate_rule("g1", arity=1)
        rule = gate_rule("g2", arity=1, opens=undo.step)
        last = gate_rule("g3", arity=1, opens=Step(jobs=(job(key("d")),), timers=(deadline(),)))
        step = Step(jobs=(job(key("b"), grant=GRANT),))
        stand(persistence, reaching(completed(lease, step=step), other, rule, last))
        for name in "bcd":
            assert the_stage(persistence, key(name)).status is StageStatus.CANCELLED
        assert the_stage(persistence, key(UNDO)).status is StageStatus.READY
        assert run_sync(persistence.next_due()) == ZERO
        take(persistence, key(UNDO), ttl=HOUR)
        assert run_sync(persistence.next_due()) == HOUR

    def test_compensation_is_not_paused_nor_waiting(self, persistence: Persistence) -> None:
        """A PAUSED run may begin to compensate, and its jobs are due; it is COMPENSATING also while they wait."""
        begin(persistence)
        stand(persistence, pause(), compensating(job(key(UNDO), grant=GRANT), job(key("b~undo"))))
        assert the_stage(persistence, key(UNDO)).status is StageStatus.RUNNING
        wait_for(persistence, at=key("b~undo"))
        finish = Finish(status=StageStatus.COMPLETED)
        stand(persistence, Change(run_id=run_id(), fence=Fence(key=key(UNDO), epoch=1), settle=finish))
        assert self._at(persistence) is COMPENSATING

    def test_compensation_goes_on_step_by_step(self, persistence: Persistence, clock: FakeClock) -> None:
        """The jobs of a compensating run are retried and followed by others, until it ends with its first failure."""
        begin(persistence)
        stand(persistence, compensating(job(key(UNDO))))
        stand(persistence, settled(take(persistence, key(UNDO)), Requeue(delay=SECOND, attempt=1)))
        clock.advance("1s")
        more = Step(jobs=(job(key("b~undo")),), timers=(deadline(),))
        stand(persistence, completed(take(persistence, key(UNDO)), step=more))
        assert self._at(persistence) is COMPENSATING
        final = Step(run=RunPatch(status=RunStatus.FAILED))
        stand(persistence, completed(take(persistence, key("b~undo")), step=final))
        run = the_run(persistence)
        assert (run.status, run.failure, run.finished_at) == (RunStatus.FAILED, failure(), START + SECOND)
        assert run_sync(persistence.next_due()) is None

    def test_a_lease_is_lost_when_its_run_compensates(self, persistence: Persistence) -> None:
        """The result of a stage whose run began to compensate meanwhile is refused."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, compensating(job(key(UNDO))))
        assert isinstance(refuse(persistence, completed(lease)), LeaseLost)
        check_fold(persistence)

    # Relatives.

    @pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
    def test_the_end_of_a_child_is_told_to_its_parent(self, persistence: Persistence, status: RunStatus) -> None:
        """A child that ends sets a timer in its live parent, due at once, which is no change of the parent."""
        begin(persistence)
        wait_for(persistence)
        stand(persistence, child(2), started(2))
        before = (the_run(persistence), events_of(persistence))
        stand(persistence, ended(2, status=status))
        assert timers_of(persistence) == [(1, f"child:{run_id(2)}", TimerKind.CHILD_ENDED)]
        assert run_sync(persistence.next_due()) == ZERO
        assert (the_run(persistence), events_of(persistence)) == before
        stand(persistence, attrs.evolve(answered(), fired=f"child:{run_id(2)}"))
        assert timers_of(persistence) == []

    @pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED])
    def test_the_end_of_a_parent_is_told_to_its_children(self, persistence: Persistence, status: RunStatus) -> None:
        """A parent that FAILED or was CANCELLED sets a timer in each live child, PENDING ones too, and in no other."""
        begin(persistence)
        stand(persistence, child(2), child(3), started(3), child(4), started(4), child(5, of=4), created(6))
        stand(persistence, ended(4))
        before = [the_run(persistence, number) for number in (2, 3)]
        stand(persistence, attrs.evolve(noted(), fired=f"child:{run_id(4)}"))
        stand(persistence, attrs.evolve(noted(5, require=ANY_LIVE), fired="parent"))
        stand(persistence, ended(status=status))
        expected = [(number, "parent", TimerKind.PARENT_ENDED) for number in (2, 3)]
        assert sorted(timers_of(persistence)) == expected
        assert [the_run(persistence, number) for number in (2, 3)] == before

    def test_a_completed_parent_tells_its_children_nothing(self, persistence: Persistence) -> None:
        """Children of a run that COMPLETED go on, and their end is told to nobody."""
        begin(persistence)
        stand(persistence, child(2), started(2), ended(status=RunStatus.COMPLETED))
        assert timers_of(persistence) == []
        stand(persistence, ended(2))
        assert timers_of(persistence) == []
        assert run_sync(persistence.next_due()) is None

    def test_the_end_of_a_child_of_nobody(self, persistence: Persistence) -> None:
        """A child whose parent does not exist ends like any other run."""
        stand(persistence, child(2, of=99), started(2), ended(2))
        assert timers_of(persistence) == []

    def test_a_run_that_compensates_has_not_ended(self, persistence: Persistence) -> None:
        """Neither parent nor children are told before the run has ended, and a compensating parent is still live."""
        begin(persistence)
        stand(persistence, child(2), started(2), compensating(job(key(UNDO))))
        assert timers_of(persistence) == []
        stand(persistence, ended(2))
        assert timers_of(persistence) == [(1, f"child:{run_id(2)}", TimerKind.CHILD_ENDED)]
        stand(persistence, child(3), ended(status=RunStatus.FAILED))
        assert timers_of(persistence) == [(3, "parent", TimerKind.PARENT_ENDED)]

    @pytest.mark.parametrize("first", ["parent", "child"])
    def test_parent_and_child_end_in_one_call(self, persistence: Persistence, first: str) -> None:
        """When both end in one call, in either order, no timer stays behind."""
        begin(persistence)
        stand(persistence, child(2), started(2))
        ends = [ended(1), ended(2)]
        commit(persistence, *(ends if first == "parent" else reversed(ends)))
        assert timers_of(persistence) == []
        assert run_sync(persistence.next_due()) is None

    def test_a_refused_end_is_told_to_nobody(self, persistence: Persistence) -> None:
        """A change-set that would end a run and is refused sets no timer."""
        begin(persistence)
        stand(persistence, child(2), started(2))
        refuse(persistence, attrs.evolve(ended(2), fired="none"))
        refuse(persistence, attrs.evolve(ended(1), fired="none"))
        assert timers_of(persistence) == []

    def test_a_rerun_child_is_live_again(self, persistence: Persistence) -> None:
        """A child that is run again is told of the end of its parent, and its parent of its second end."""
        begin(persistence)
        told = f"child:{run_id(2)}"
        stand(persistence, child(2), started(2), ended(2), attrs.evolve(noted(), fired=told), rerun(2), ended(2))
        assert timers_of(persistence) == [(1, told, TimerKind.CHILD_ENDED)]
        stand(persistence, rerun(2, generation=3), ended(1))
        assert timers_of(persistence) == [(2, "parent", TimerKind.PARENT_ENDED)]

    # Instants and outcomes of moves.

    def test_a_pause_keeps_the_instants(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run that is paused and let go on keeps the instant at which it was admitted."""
        begin(persistence)
        clock.advance("1s")
        stand(persistence, pause(), unpause())
        run = the_run(persistence)
        assert (run.started_at, run.finished_at) == (START, None)

    # Cancelled timers.

    def test_a_step_may_cancel_timers(self, persistence: Persistence, clock: FakeClock) -> None:
        """Timers that a step names are set no more; ids that are not there, or in other runs, do not matter."""
        stand(persistence, created(1), started(1, timers=[deadline("t1"), deadline("t2"), deadline("t3")]))
        stand(persistence, created(2), started(2, timers=[deadline("t1")]))
        stand(persistence, Change(run_id=run_id(), step=Step(cancels=("t1", "none", "t3"))))
        clock.advance(HOUR)
        assert sorted((number, name) for number, name, _ in timers_of(persistence)) == [(1, "t2"), (2, "t1")]
        assert isinstance(refuse(persistence, attrs.evolve(noted(), fired="t1")), StaleVersion)

    # State.

    def test_a_run_begins_with_its_state(self, persistence: Persistence) -> None:
        """The state of a run is what it was created with, empty if nothing was said, and empty for no run."""
        change = created(1)
        assert change.create is not None
        state = {"a": {"b": [1, None, "🦑\x00"]}, "big": 2**70}
        stand(persistence, attrs.evolve(change, create=attrs.evolve(change.create, state=state)), created(2))
        assert run_sync(persistence.get_state(run_id(1))) == state
        assert run_sync(persistence.get_state(run_id(2))) == {}
        assert run_sync(persistence.get_state(run_id(3))) == {}

    def test_patches_are_merged(self, persistence: Persistence) -> None:
        """A patch merges objects, replaces everything else and deletes what is null, however deep."""
        begin(persistence)
        for patch in (
            {"a": {"x": 1, "y": [1, 2]}, "b": 1},
            {"a": {"x": None, "y": [3], "z": {"q": None}}, "b": {"c": 1}},
        ):
            stand(persistence, attrs.evolve(noted(), patch=patch))
        assert run_sync(persistence.get_state(run_id())) == {"a": {"y": [3], "z": {}}, "b": {"c": 1}}

    def test_patches_of_parallel_stages_merge(self, persistence: Persistence) -> None:
        """Stages that complete in one call, without knowing of each other, each add their part; the later one wins."""
        begin(persistence, "a", "b")
        a, b = (take(persistence, key(name)) for name in "ab")
        commit(
            persistence,
            attrs.evolve(completed(a), patch={"seen": {"a": 1}, "last": "a"}),
            attrs.evolve(completed(b), patch={"seen": {"b": 1}, "last": "b"}),
        )
        assert run_sync(persistence.get_state(run_id())) == {"seen": {"a": 1, "b": 1}, "last": "b"}

    def test_a_refused_patch_changes_nothing(self, persistence: Persistence) -> None:
        """The patch of a stage whose lease is lost is not merged."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, attrs.evolve(completed(lease), patch={"n": 1}))
        refuse(persistence, attrs.evolve(completed(lease), patch={"n": 2}))
        assert run_sync(persistence.get_state(run_id())) == {"n": 1}

    def test_state_outlives_the_end_and_the_rerun(self, persistence: Persistence) -> None:
        """The state of a run stays when it ends and when it is run again."""
        begin(persistence)
        stand(persistence, attrs.evolve(noted(), patch={"n": 1}), ended(), rerun())
        assert run_sync(persistence.get_state(run_id())) == {"n": 1}

    def test_nobody_else_holds_the_state(self, persistence: Persistence) -> None:
        """What callers do to a patch after the commit, or to a state they read, changes nothing in the store."""
        begin(persistence)
        patch = {"n": [1]}
        stand(persistence, attrs.evolve(noted(), patch=patch))
        patch["n"].append(2)
        for _ in range(2):
            state = run_sync(persistence.get_state(run_id()))
            assert state == {"n": [1]}
            state["n"].append(3)
