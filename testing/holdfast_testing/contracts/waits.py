"""The contract of waits: the Waits port, and what the Journal makes of waits, answers, messages and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import attrs
import pytest

from holdfast.change import ZERO, Change, Committed, Finish, Grant, NewJob, Park, Requeue, Require, Step
from holdfast.driving import run_sync
from holdfast.entities.run import LIVE_RUN, RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.entities.wait import Message, Token, Wait, WaitKind, WaitStatus
from holdfast.errors import LeaseLost, StaleVersion
from holdfast.events import EventType, NewEvent
from holdfast.ports.persistence import Persistence
from holdfast.traces import NewToken, Supersede
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    MANY,
    SECOND,
    TTL,
    answered,
    begin,
    check_fold,
    commit,
    completed,
    created,
    ended,
    events_of,
    expired,
    failure,
    gate_rule,
    job,
    key,
    new_wait,
    noted,
    parked,
    payload,
    progress,
    reaching,
    refuse,
    rerun,
    run_id,
    sent,
    settled,
    stand,
    take,
    take_all,
    the_run,
    the_stage,
    the_wait,
    wait_for,
)

OPEN, RESOLVED, EXPIRED, CLOSED = WaitStatus.OPEN, WaitStatus.RESOLVED, WaitStatus.EXPIRED, WaitStatus.CLOSED
ANY_LIVE = Require(statuses=LIVE_RUN)


def waiting_job(at: StageKey, *names: str, grant: Grant | None = None) -> NewJob:
    """Return a job that begins with waits, by default with w."""
    return attrs.evolve(job(at, grant=grant), waits=tuple(new_wait(name) for name in names or ("w",)))


def begin_waiting(*jobs: NewJob) -> Change:
    """Return the change-set that adds jobs which begin with waits to the first run."""
    told = tuple(
        NewEvent(type=EventType.STAGE_WAITING, key=new.key, data={"name": wait.name})
        for new in jobs
        for wait in new.waits
    )
    return Change(run_id=run_id(), step=Step(jobs=jobs, events=told))


def names(waits: Sequence[Wait]) -> list[tuple[str, int, str, WaitStatus]]:
    """Return stage, generation, name and status of waits."""
    return [(wait.key.stage_id, wait.key.generation, wait.name, wait.status) for wait in waits]


def waiting_told(at: StageKey) -> NewEvent:
    """Return the event that tells of a job's waits."""
    return NewEvent(type=EventType.STAGE_WAITING, key=at)


class WaitsContract:
    """What every store must do with waits."""

    def _named(self, persistence: Persistence, name: str = "w") -> list[tuple[str, int, str, WaitStatus]]:
        return names(run_sync(persistence.list_named_waits(run_id(), name)))

    def _of(
        self, persistence: Persistence, at: StageKey | None = None, *, since: int = 1
    ) -> list[tuple[str, int, str, WaitStatus]]:
        return names(run_sync(persistence.list_waits(at or key(), since=since)))

    def _status(self, persistence: Persistence, at: StageKey | None = None) -> StageStatus:
        return the_stage(persistence, at).status

    # Waits are opened.

    def test_a_parked_job_waits(self, persistence: Persistence, clock: FakeClock) -> None:
        """A parked job is WAITING without a lease, its attempts start from 0, its failure is gone, its epoch rises."""
        begin(persistence)
        stand(persistence, settled(take(persistence), Requeue(delay=ZERO, attempt=1, failure=failure())))
        lease = take(persistence)
        stand(persistence, parked(lease))
        stage = the_stage(persistence)
        assert (stage.status, stage.attempt, stage.failure) == (StageStatus.WAITING, 0, None)
        assert (stage.lease_until, stage.due_at, stage.finished_at) == (None, None, None)
        assert stage.epoch > lease.epoch
        clock.advance(2 * HOUR)
        assert take_all(persistence) == []
        assert run_sync(persistence.lease_one(key(), worker="w", ttl=TTL)) is None
        assert not run_sync(persistence.list_expired(limit=MANY))
        assert run_sync(persistence.next_due()) is None
        check_fold(persistence)

    def test_a_lease_is_lost_when_its_job_is_parked(self, persistence: Persistence) -> None:
        """Whoever parked a job writes nothing under that lease any more."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, parked(lease))
        assert isinstance(refuse(persistence, completed(lease)), LeaseLost)
        assert isinstance(refuse(persistence, parked(lease, "other")), LeaseLost)
        assert self._named(persistence, "other") == []

    def test_an_opened_wait(self, persistence: Persistence, clock: FakeClock) -> None:
        """A wait is OPEN with all that was said of it, opened now, and due after its timeout by the store's clock."""
        begin(persistence)
        clock.advance("1s")
        waits = (new_wait(), new_wait("s", kind=WaitKind.SLEEP, timeout=HOUR), new_wait("c", kind=WaitKind.CHILD))
        stand(persistence, settled(take(persistence), Park(waits=waits)))
        assert the_wait(persistence) == Wait(
            key=key(),
            name="w",
            kind=WaitKind.PAYLOAD,
            status=OPEN,
            payload=None,
            reason="for w",
            actor=None,
            opened_at=START + SECOND,
            due_at=None,
        )
        sleep = the_wait(persistence, "s")
        assert (sleep.kind, sleep.due_at) == (WaitKind.SLEEP, START + SECOND + HOUR)
        assert the_wait(persistence, "c").kind is WaitKind.CHILD

    def test_a_wait_does_not_end_by_itself(self, persistence: Persistence, clock: FakeClock) -> None:
        """A wait past its limit stays OPEN until a change-set ends it."""
        begin(persistence)
        stand(persistence, settled(take(persistence), Park(waits=(new_wait(timeout=SECOND),))))
        clock.advance(HOUR)
        assert the_wait(persistence).status is OPEN
        assert self._status(persistence) is StageStatus.WAITING
        assert run_sync(persistence.next_due()) is None

    def test_a_new_job_with_waits_is_waiting(self, persistence: Persistence, clock: FakeClock) -> None:
        """A new job that begins with waits is WAITING with no attempt used; a grant that it asked for is not given."""
        begin(persistence)
        granted = waiting_job(key("c"), grant=Grant(worker="w1", ttl=TTL))
        stand(persistence, begin_waiting(waiting_job(key("b"), "x", "y"), granted))
        for name in "bc":
            stage = the_stage(persistence, key(name))
            assert (stage.status, stage.attempt, stage.epoch) == (StageStatus.WAITING, 0, 0)
            assert (stage.worker, stage.lease_until, stage.due_at) == (None, None, None)
        assert self._of(persistence, key("b")) == [("b", 1, "x", OPEN), ("b", 1, "y", OPEN)]
        clock.advance(HOUR)
        assert [lease.key for lease in take_all(persistence)] == [key()]

    def test_a_wait_that_is_there_stays_as_it_is(self, persistence: Persistence, clock: FakeClock) -> None:
        """Parking again on a wait that is OPEN still keeps its instants and adds only the new one."""
        begin(persistence)
        stand(persistence, settled(take(persistence), Park(waits=(new_wait(timeout=HOUR), new_wait("x")))))
        before = the_wait(persistence)
        stand(persistence, answered("x"))
        clock.advance("1s")
        again = Park(waits=(new_wait(timeout=2 * HOUR), new_wait("y")))
        stand(persistence, settled(take(persistence), again))
        assert the_wait(persistence) == before
        assert self._status(persistence) is StageStatus.WAITING
        assert [name for _, _, name, _ in self._of(persistence)] == ["w", "x", "y"]

    @pytest.mark.parametrize("end", [answered(), expired()], ids=["resolved", "expired"])
    def test_parking_on_an_ended_wait_goes_on_at_once(
        self, persistence: Persistence, clock: FakeClock, end: Change
    ) -> None:
        """A job that parks on waits one of which has ended is READY and due now, and the others are opened."""
        begin(persistence)
        wait_for(persistence)
        stand(persistence, end)
        clock.advance("1s")
        lease = take(persistence)
        before = the_wait(persistence)
        stand(persistence, parked(lease, "x", "w"))
        stage = the_stage(persistence)
        assert (stage.status, stage.due_at, stage.attempt) == (StageStatus.READY, START + SECOND, 0)
        assert stage.epoch > lease.epoch
        assert the_wait(persistence) == before
        assert the_wait(persistence, "x").status is OPEN
        assert take(persistence).attempt == 1

    def test_an_answer_between_lease_and_park_is_not_missed(self, persistence: Persistence) -> None:
        """A wait that is answered while its job executes for another reason lets the next park go on at once."""
        begin(persistence)
        wait_for(persistence, "x", "y")
        stand(persistence, answered("x"))
        lease = take(persistence)
        stand(persistence, answered("y"))
        assert self._status(persistence) is StageStatus.RUNNING
        stand(persistence, parked(lease, "y"))
        assert self._status(persistence) is StageStatus.READY
        told = run_sync(persistence.list_events(run_id(), limit=MANY))[-1]
        assert (told.type, told.key, told.data) == (EventType.STAGE_RESUMED, key(), {"name": "y", "early": True})
        check_fold(persistence)

    @pytest.mark.parametrize("end", [answered(), expired()], ids=["resolved", "expired"])
    def test_an_ended_wait_may_be_opened_anew(self, persistence: Persistence, clock: FakeClock, end: Change) -> None:
        """A wait that is opened anew is OPEN again from now on, without its answer, and the job waits for another."""
        begin(persistence)
        wait_for(persistence)
        stand(persistence, end)
        clock.advance("1s")
        lease = take(persistence)
        again = attrs.evolve(new_wait("w"), anew=True)
        stand(persistence, settled(lease, Park(waits=(again,)), step=Step(events=(waiting_told(lease.key),))))
        wait = the_wait(persistence)
        assert (wait.status, wait.payload, wait.actor, wait.opened_at) == (OPEN, None, None, START + SECOND)
        assert self._status(persistence) is StageStatus.WAITING
        assert self._named(persistence, "w") == [(key().stage_id, 1, "w", OPEN)]
        check_fold(persistence)
        stand(persistence, answered(text='"second"'))
        assert the_wait(persistence).payload == payload('"second"')
        assert self._status(persistence) is StageStatus.READY

    def test_a_wait_that_is_opened_anew_comes_last(self, persistence: Persistence) -> None:
        """The order of waits is that of their newest opening."""
        begin(persistence)
        wait_for(persistence, "w", "x", "y")
        stand(persistence, answered())
        again = attrs.evolve(new_wait("w"), anew=True)
        lease = take(persistence)
        stand(persistence, settled(lease, Park(waits=(again,)), step=Step(events=(waiting_told(lease.key),))))
        assert [name for _, _, name, _ in self._of(persistence)] == ["x", "y", "w"]
        assert [wait.name for wait in run_sync(persistence.list_run_waits(run_id(), limit=2))] == ["y", "w"]

    def test_an_open_wait_is_not_opened_anew(self, persistence: Persistence, clock: FakeClock) -> None:
        """A wait that is still OPEN stays as it is, also when it is asked for anew."""
        begin(persistence)
        wait_for(persistence, "x", "y")
        before = the_wait(persistence, "y")
        clock.advance("1s")
        stand(persistence, answered("x"))
        lease = take(persistence)
        again = attrs.evolve(new_wait("y"), anew=True)
        stand(persistence, settled(lease, Park(waits=(again,)), step=Step(events=(waiting_told(lease.key),))))
        assert the_wait(persistence, "y") == before

    # Waits are answered.

    def test_an_answer_wakes_its_job(self, persistence: Persistence, clock: FakeClock) -> None:
        """An answered wait is RESOLVED with payload and actor, and its WAITING job is READY and due now."""
        begin(persistence)
        wait_for(persistence)
        clock.advance("1s")
        stand(persistence, answered(text='{"ok":true}'))
        wait = the_wait(persistence)
        assert (wait.status, wait.payload, wait.actor) == (RESOLVED, payload('{"ok":true}'), "user:7")
        assert wait.opened_at == START
        stage = the_stage(persistence)
        assert (stage.status, stage.due_at) == (StageStatus.READY, START + SECOND)
        check_fold(persistence)
        (lease,) = take_all(persistence)
        assert (lease.attempt, lease.status) == (1, StageStatus.RUNNING)

    def test_a_limit_wakes_its_job(self, persistence: Persistence) -> None:
        """A wait whose limit was reached is EXPIRED without a payload, and its job is READY."""
        begin(persistence)
        wait_for(persistence)
        stand(persistence, expired())
        wait = the_wait(persistence)
        assert (wait.status, wait.payload, wait.actor) == (EXPIRED, None, None)
        assert self._status(persistence) is StageStatus.READY
        check_fold(persistence)

    def test_an_answer_wakes_no_other_job(self, persistence: Persistence) -> None:
        """Of two instances that wait under one name only the addressed one goes on."""
        begin(persistence)
        stand(persistence, begin_waiting(waiting_job(key("b", item=1)), waiting_job(key("b", item=2))))
        stand(persistence, answered(at=key("b", item=2)))
        assert self._status(persistence, key("b", item=1)) is StageStatus.WAITING
        assert self._status(persistence, key("b", item=2)) is StageStatus.READY
        assert the_wait(persistence, at=key("b", item=1)).status is OPEN

    def test_the_first_answer_wakes_and_the_second_is_kept(self, persistence: Persistence, clock: FakeClock) -> None:
        """With several waits the first answer wakes the job; a second one changes its wait alone."""
        begin(persistence)
        wait_for(persistence, "x", "y")
        stand(persistence, answered("y"))
        before = the_stage(persistence)
        clock.advance("1s")
        stand(persistence, answered("x"))
        assert the_stage(persistence) == before
        assert [status for _, _, _, status in self._of(persistence)] == [RESOLVED, RESOLVED]

    def test_several_answers_in_one_change(self, persistence: Persistence) -> None:
        """One change-set may end several waits, of one instance or of several."""
        begin(persistence, "a", "b")
        wait_for(persistence, "x", "y")
        wait_for(persistence, "x", at=key("b"))
        parts = (answered("x"), expired("y"), answered("x", at=key("b")))
        answers = tuple(answer for part in parts for answer in part.answers)
        stand(persistence, Change(run_id=run_id(), answers=answers))
        assert self._of(persistence) == [("a", 1, "x", RESOLVED), ("a", 1, "y", EXPIRED)]
        assert {lease.key.stage_id for lease in take_all(persistence)} == {"a", "b"}

    def test_check_6_no_such_wait(self, persistence: Persistence) -> None:
        """An answer to a wait that was never opened, or of another instance, is refused."""
        begin(persistence, "a", "b")
        wait_for(persistence)
        for other in (answered("x"), answered(at=key("b")), answered(at=key(item=1)), answered(at=key(generation=2))):
            assert isinstance(refuse(persistence, other), StaleVersion)

    @pytest.mark.parametrize("first", ["answer", "limit"])
    @pytest.mark.parametrize("second", ["answer", "limit"])
    def test_check_6_a_wait_ends_once(self, persistence: Persistence, first: str, second: str) -> None:
        """Of two ends of one wait, be they answers or its limit, in one call, exactly the first stands."""
        begin(persistence)
        wait_for(persistence)
        ends = {"answer": answered(), "limit": expired()}
        one, other = commit(persistence, ends[first], attrs.evolve(ends[second], step=Step()))
        assert isinstance(one, Committed)
        assert isinstance(other, StaleVersion)
        assert the_wait(persistence).status is (RESOLVED if first == "answer" else EXPIRED)
        assert len(take_all(persistence)) == 1

    def test_check_6_one_stale_answer_refuses_all(self, persistence: Persistence) -> None:
        """A change-set one of whose answers is stale writes none of them."""
        begin(persistence)
        wait_for(persistence, "x", "y")
        stand(persistence, answered("x"))
        both = attrs.evolve(answered("y"), answers=(*answered("y").answers, *answered("x").answers))
        assert isinstance(refuse(persistence, both), StaleVersion)
        assert the_wait(persistence, "y").status is OPEN

    def test_check_6_a_closed_wait(self, persistence: Persistence) -> None:
        """A wait that was closed with its instance cannot be answered."""
        begin(persistence, "a", "b")
        wait_for(persistence, "x", "y")
        stand(persistence, answered("x"))
        stand(persistence, settled(take(persistence), Finish(status=StageStatus.FAILED, failure=failure())))
        assert isinstance(refuse(persistence, answered("y")), StaleVersion)

    def test_an_answer_may_come_in_the_call_of_the_park(self, persistence: Persistence) -> None:
        """A wait may be opened and answered by two change-sets of one call."""
        begin(persistence)
        commit(persistence, parked(take(persistence)), answered())
        assert self._status(persistence) is StageStatus.READY

    # Messages: payloads that come before their wait.

    def test_a_message_is_kept(self, persistence: Persistence, clock: FakeClock) -> None:
        """A message is found by run and name with its payload, actor and instant, also for a PENDING run."""
        stand(persistence, created())
        clock.advance("1s")
        stand(persistence, sent(text="17", require=ANY_LIVE))
        message = run_sync(persistence.find_message(run_id(), "w"))
        assert message == Message(run_id=run_id(), name="w", payload=payload("17"), actor="user:8", at=START + SECOND)
        assert run_sync(persistence.find_message(run_id(), "x")) is None
        assert run_sync(persistence.find_message(run_id(2), "w")) is None

    def test_check_7_the_first_message_of_a_name_stands(self, persistence: Persistence) -> None:
        """A second message of one name is refused, another name or run is not."""
        begin(persistence)
        begin(persistence, run=2)
        first, second = commit(persistence, sent(text="1"), sent(text="2"))
        assert isinstance(first, Committed)
        assert isinstance(second, StaleVersion)
        stand(persistence, sent("x"), sent(number=2))
        message = run_sync(persistence.find_message(run_id(), "w"))
        assert message is not None
        assert message.payload == payload("1")

    @pytest.mark.parametrize("end", [None, answered(), expired()], ids=["open", "resolved", "expired"])
    def test_check_7_a_wait_is_there(self, persistence: Persistence, end: Change | None) -> None:
        """A message is refused while there is a wait of its name that is OPEN, RESOLVED or EXPIRED."""
        begin(persistence)
        wait_for(persistence)
        if end is not None:
            stand(persistence, end)
        assert isinstance(refuse(persistence, sent()), StaleVersion)
        assert run_sync(persistence.find_message(run_id(), "w")) is None

    def test_check_7_closed_waits_do_not_count(self, persistence: Persistence) -> None:
        """A message may be kept when all waits of its name are CLOSED."""
        begin(persistence, "a", "b")
        wait_for(persistence, "x", "w")
        stand(persistence, answered("x"))
        stand(persistence, settled(take(persistence), Finish(status=StageStatus.FAILED, failure=failure())))
        assert the_wait(persistence).status is CLOSED
        stand(persistence, sent())

    def test_parking_takes_a_message(self, persistence: Persistence, clock: FakeClock) -> None:
        """A wait whose message is there is RESOLVED with it as it opens, and the job is READY and due at once."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, sent(text="17"))
        clock.advance("1s")
        stand(persistence, parked(lease, "x", "w"))
        wait = the_wait(persistence)
        assert (wait.status, wait.payload, wait.actor) == (RESOLVED, payload("17"), "user:8")
        assert wait.opened_at == START + SECOND
        assert the_wait(persistence, "x").status is OPEN
        assert run_sync(persistence.find_message(run_id(), "w")) is None
        stage = the_stage(persistence)
        assert (stage.status, stage.due_at, stage.attempt) == (StageStatus.READY, START + SECOND, 0)
        check_fold(persistence)

    def test_a_new_job_takes_a_message(self, persistence: Persistence) -> None:
        """A new job one of whose waits finds its message is READY, or RUNNING when it asked for a grant."""
        begin(persistence)
        stand(persistence, sent("x"), sent("y"))
        granted = waiting_job(key("c"), "y", grant=Grant(worker="w1", ttl=TTL))
        stand(persistence, begin_waiting(waiting_job(key("b"), "w", "x"), granted))
        assert self._status(persistence, key("b")) is StageStatus.READY
        assert self._status(persistence, key("c")) is StageStatus.RUNNING
        assert self._of(persistence, key("b")) == [("b", 1, "w", OPEN), ("b", 1, "x", RESOLVED)]

    def test_a_taken_message_is_told(self, persistence: Persistence) -> None:
        """The store tells of a message that was taken, behind the events of the step and before those of gates."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, sent())
        rule = gate_rule(arity=1, opens=Step(events=(progress(text="gate"),)))
        version = the_run(persistence).version
        assert stand(persistence, reaching(parked(lease), rule)).version == version + 1
        waiting, resumed, gate = events_of(persistence)[-3:]
        assert (waiting.type, gate.data) == (EventType.STAGE_WAITING, {"message": "gate"})
        assert (resumed.type, resumed.key, resumed.data) == (
            EventType.STAGE_RESUMED,
            key(),
            {"name": "w", "early": True},
        )
        assert resumed.number == waiting.number + 1

    def test_a_message_is_taken_once(self, persistence: Persistence) -> None:
        """The wait that is opened first takes the message; the next of the same name is OPEN."""
        begin(persistence)
        stand(persistence, sent())
        stand(persistence, begin_waiting(waiting_job(key("b"))), begin_waiting(waiting_job(key("c"))))
        assert self._named(persistence) == [("b", 1, "w", RESOLVED), ("c", 1, "w", OPEN)]

    @pytest.mark.parametrize("first", ["message", "park"])
    def test_message_and_park_race(self, persistence: Persistence, first: str) -> None:
        """Whichever comes first in one call, no payload is lost: it is taken, or its sender learns of the wait."""
        begin(persistence)
        race = [sent(), parked(take(persistence))]
        outcomes = commit(persistence, *(race if first == "message" else reversed(race)))
        if first == "message":
            assert [type(outcome) for outcome in outcomes] == [Committed, Committed]
            assert self._status(persistence) is StageStatus.READY
        else:
            assert [type(outcome) for outcome in outcomes] == [Committed, StaleVersion]
            assert self._status(persistence) is StageStatus.WAITING
        assert run_sync(persistence.find_message(run_id(), "w")) is None

    # Waits are closed.

    @pytest.mark.parametrize("status", [StageStatus.COMPLETED, StageStatus.FAILED, StageStatus.CANCELLED])
    def test_an_instance_that_ends_closes_its_open_waits(self, persistence: Persistence, status: StageStatus) -> None:
        """However an instance ends, its OPEN waits are CLOSED; those that have ended stay."""
        begin(persistence, "a", "b")
        wait_for(persistence, "x", "y", "z")
        wait_for(persistence, "y", at=key("b"))
        stand(persistence, answered("x"), expired("z"))
        stand(persistence, settled(take(persistence), Finish(status=status, failure=failure())))
        assert self._of(persistence) == [("a", 1, "x", RESOLVED), ("a", 1, "y", CLOSED), ("a", 1, "z", EXPIRED)]
        assert self._named(persistence, "y") == [("b", 1, "y", OPEN)]

    def test_the_end_of_a_run_closes_its_open_waits(self, persistence: Persistence) -> None:
        """When a run ends, its WAITING jobs are CANCELLED and its OPEN waits CLOSED; those of other runs are not."""
        begin(persistence)
        begin(persistence, run=2)
        wait_for(persistence, "w", "x")
        wait_for(persistence, at=key(run=2))
        stand(persistence, ended())
        assert self._status(persistence) is StageStatus.CANCELLED
        assert {status for _, _, _, status in self._of(persistence)} == {CLOSED}
        assert the_wait(persistence, at=key(run=2)).status is OPEN
        assert isinstance(refuse(persistence, attrs.evolve(answered(), require=ANY_LIVE)), StaleVersion)
        check_fold(persistence)

    def test_a_rerun_forgets_answers(self, persistence: Persistence) -> None:
        """A stage that is superseded completely has its RESOLVED and EXPIRED waits CLOSED, other stages keep theirs."""
        begin(persistence, "a", "b")
        for name in "ab":
            wait_for(persistence, f"{name}1", f"{name}2", at=key(name))
            stand(persistence, answered(f"{name}1", at=key(name)), expired(f"{name}2", at=key(name)))
            stand(persistence, completed(take(persistence, key(name))))
        stand(persistence, ended(), rerun(supersede=("b",)))
        assert [status for _, _, _, status in self._of(persistence, key("a"))] == [RESOLVED, EXPIRED]
        assert [status for _, _, _, status in self._of(persistence, key("b"))] == [CLOSED, CLOSED]
        assert self._of(persistence, key("b", generation=2)) == []
        assert self._named(persistence, "b1") == []

    def test_a_retry_keeps_answers(self, persistence: Persistence) -> None:
        """A stage whose failed records alone are superseded keeps what its waits were answered with."""
        begin(persistence)
        wait_for(persistence, "x", "y")
        stand(persistence, answered("x"))
        finish = Finish(status=StageStatus.FAILED, failure=failure())
        stand(persistence, settled(take(persistence), finish, step=ended(status=RunStatus.FAILED).step))
        retry = attrs.evolve(rerun(), supersede=(Supersede(stage_id="a", completed=False),))
        stand(persistence, retry)
        assert self._of(persistence, key(generation=2)) == [("a", 1, "x", RESOLVED)]

    # list_waits

    def test_waits_of_an_instance_are_in_order_of_opening(self, persistence: Persistence) -> None:
        """The waits of the stage instance come in the order in which they were opened, whatever became of them."""
        begin(persistence)
        wait_for(persistence, "z", "a")
        stand(persistence, answered("a"))
        wait_for(persistence, "m", "z")
        assert self._of(persistence) == [("a", 1, "z", OPEN), ("a", 1, "a", RESOLVED), ("a", 1, "m", OPEN)]

    def test_waits_are_of_one_turn_and_item(self, persistence: Persistence) -> None:
        """Waits of other stages, turns, items and runs are not those of the instance."""
        begin(persistence)
        places = [key("b", turn=turn, item=item) for turn in (0, 1) for item in (0, 1)]
        stand(persistence, begin_waiting(*(waiting_job(at, f"{at.turn}{at.item}") for at in places)))
        for at in places:
            assert self._of(persistence, at) == [("b", 1, f"{at.turn}{at.item}", OPEN)]
        for other in (key("c"), key("b", run=2), key("b", item=2)):
            assert self._of(persistence, other) == []

    def test_waits_of_earlier_generations_count_since(self, persistence: Persistence) -> None:
        """Answers of earlier generations count from *since* on; of one name the own comes first, else the newest."""
        begin(persistence)
        finish = Finish(status=StageStatus.FAILED, failure=failure())
        retry = (Supersede(stage_id="a", completed=False),)
        opened = (("both", "old", "open"), ("both", "mine"), ("mine", "fresh"))
        for generation, waits in enumerate(opened, 1):
            at = key(generation=generation)
            wait_for(persistence, *waits, at=at)
            if generation == 3:
                break
            for name in waits:
                if name != "open":
                    stand(persistence, answered(name, at=at, text=f"{generation}"))
            lease = take(persistence, at)
            stand(persistence, settled(lease, finish, step=ended(status=RunStatus.FAILED).step))
            stand(persistence, attrs.evolve(rerun(generation=generation + 1), supersede=retry))
        third = key(generation=3)
        own = [("a", 3, "mine", OPEN), ("a", 3, "fresh", OPEN)]
        assert self._of(persistence, third) == [("a", 1, "old", RESOLVED), ("a", 2, "both", RESOLVED), *own]
        assert self._of(persistence, third, since=2) == [("a", 2, "both", RESOLVED), *own]
        assert self._of(persistence, third, since=3) == own
        assert self._of(persistence, key(generation=2)) == [
            ("a", 1, "old", RESOLVED),
            ("a", 2, "both", RESOLVED),
            ("a", 2, "mine", RESOLVED),
        ]

    # list_named_waits

    def test_named_waits_are_those_not_closed(self, persistence: Persistence) -> None:
        """Waits of that name of all instances of the run come in the order of their opening, CLOSED ones left out."""
        begin(persistence, "c", "b", "a")
        for name in "bca":
            wait_for(persistence, "w", "x", at=key(name))
        stand(persistence, answered("x", at=key("c")), answered(at=key("a")))
        stand(persistence, settled(take(persistence, key("c")), Finish(status=StageStatus.FAILED, failure=failure())))
        assert self._named(persistence) == [("b", 1, "w", OPEN), ("a", 1, "w", RESOLVED)]
        assert self._named(persistence, "none") == []
        assert list(run_sync(persistence.list_named_waits(run_id(2), "w"))) == []

    # find_token

    def test_a_token_is_found_by_its_hash(self, persistence: Persistence, clock: FakeClock) -> None:
        """A token tells its run and wait, and from the end of its lifetime on that it is past."""
        begin(persistence)
        token = NewToken(hash="ab" * 32, name="w", lifetime=HOUR)
        other = NewToken(hash="cd" * 32, name="x", lifetime=2 * HOUR)
        stand(persistence, attrs.evolve(noted(), tokens=(token, other)))
        clock.advance(HOUR - timedelta(microseconds=1))
        assert run_sync(persistence.find_token(token.hash)) == Token(run_id=run_id(), name="w", expired=False)
        clock.advance(timedelta(microseconds=1))
        assert run_sync(persistence.find_token(token.hash)) == Token(run_id=run_id(), name="w", expired=True)
        assert run_sync(persistence.find_token(other.hash)) == Token(run_id=run_id(), name="x", expired=False)
        assert run_sync(persistence.find_token("ef" * 32)) is None

    def test_several_tokens_may_be_for_one_wait(self, persistence: Persistence) -> None:
        """Each of several tokens of one wait is found, also before the wait is opened and after the run has ended."""
        begin(persistence)
        tokens = tuple(NewToken(hash=f"{number}" * 64, name="w", lifetime=HOUR) for number in (1, 2))
        stand(persistence, attrs.evolve(noted(), tokens=tokens), ended())
        for token in tokens:
            assert run_sync(persistence.find_token(token.hash)) == Token(run_id=run_id(), name="w", expired=False)
