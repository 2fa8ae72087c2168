"""The contract of singleton keys: of the runs that share one, one goes on at a time."""

from __future__ import annotations

from datetime import timedelta

import attrs

from holdfast.change import Change, NewTimer, Require, RunPatch, Step
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.entities.timer import START, TimerKind
from holdfast.errors import SingletonTaken
from holdfast.events import EventType, NewEvent
from holdfast.ports.persistence import Persistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    KNOWN,
    MANY,
    SECOND,
    commit,
    created,
    ended,
    events_of,
    header,
    refuse,
    rerun,
    run_id,
    stand,
    started,
    the_run,
    timers_of,
)


def single(number: int, *, queues_up: bool = True, name: str = "s", held: bool = False, tenant: str = "acme") -> Change:
    """Return the change-set that creates the *number*-th run with a singleton key; a held one waits for its start."""
    change = created(head=attrs.evolve(header(number), tenant=tenant))
    assert change.create is not None
    new = attrs.evolve(change.create, singleton=name, queues_up=queues_up, held=held)
    if not held:
        return attrs.evolve(change, create=new)
    start = NewTimer(id=START, kind=TimerKind.RUN_START, delay=timedelta(minutes=1))
    return attrs.evolve(change, create=new, step=attrs.evolve(change.step, timers=(start,)))


def let_go(number: int) -> Change:
    """Return the change-set of the timer that lets a held run go."""
    step = Step(run=RunPatch(status=RunStatus.PENDING), events=(NewEvent(type=EventType.RUN_DUE),))
    require = Require(statuses=frozenset({RunStatus.PENDING}))
    return Change(run_id=run_id(number), require=require, fired=START, step=step)


def dropped(number: int) -> Change:
    """Return the change-set that consumes the timer and does nothing."""
    return Change(run_id=run_id(number), require=Require(statuses=frozenset(RunStatus)), fired=START)


def pending(persistence: Persistence) -> list[int]:
    """Return the runs that may be admitted."""
    return [int(run.id[-12:]) for run in run_sync(persistence.list_pending(limit=MANY, known=KNOWN))]


def cancelled(number: int) -> Change:
    """Return the change-set that cancels a run in whatever live status."""
    live = frozenset(status for status in RunStatus if not status.is_terminal)
    return attrs.evolve(ended(number), require=Require(statuses=live))


class SingletonsContract:
    """How every store lets the runs of one key follow each other."""

    def test_the_first_of_a_key_goes_on(self, persistence: Persistence) -> None:
        """A run whose key nobody has is PENDING like any other, and tells its key."""
        stand(persistence, single(1), created(2))
        assert pending(persistence) == [1, 2]
        assert (the_run(persistence, 1).singleton, the_run(persistence, 2).singleton) == ("s", None)
        assert not the_run(persistence, 1).held

    def test_the_next_ones_are_held(self, persistence: Persistence) -> None:
        """A run that queues up is held while another of its key is live, whatever that one does."""
        stand(persistence, single(1), single(2), started(1), single(3))
        assert [the_run(persistence, number).held for number in (1, 2, 3)] == [False, True, True]
        assert pending(persistence) == []

    def test_one_that_does_not_queue_up_is_refused(self, persistence: Persistence) -> None:
        """A run that does not queue up is not created while another of its key is live, and the refusal names that."""
        stand(persistence, single(1))
        before = run_sync(persistence.count())
        refused = refuse(persistence, single(2, queues_up=False))
        assert isinstance(refused, SingletonTaken)
        assert (refused.key, refused.run_id) == ("s", run_id(1))
        assert run_sync(persistence.count()) == before
        stand(persistence, cancelled(1), single(2, queues_up=False))
        assert pending(persistence) == [2]

    def test_the_refusal_names_the_run_that_goes_on(self, persistence: Persistence) -> None:
        """Of several live runs of a key the refusal names the oldest."""
        stand(persistence, single(1), single(2))
        refused = refuse(persistence, single(3, queues_up=False))
        assert isinstance(refused, SingletonTaken)
        assert refused.run_id == run_id(1)

    def test_two_of_one_call(self, persistence: Persistence) -> None:
        """A change-set sees what an earlier one of the same call did with the key."""
        first, second, third = commit(persistence, single(1), single(2, queues_up=False), single(3))
        assert isinstance(second, SingletonTaken)
        assert not isinstance(first, SingletonTaken)
        assert not isinstance(third, SingletonTaken)
        assert the_run(persistence, 3).held

    def test_keys_of_others_do_not_matter(self, persistence: Persistence) -> None:
        """A key counts within its tenant and workflow."""
        stand(persistence, single(1))
        stand(persistence, single(2, tenant="other", queues_up=False))
        change = created(head=header(3, workflow="other"))
        assert change.create is not None
        stand(persistence, attrs.evolve(change, create=attrs.evolve(change.create, singleton="s")))
        stand(persistence, single(4, name="t", queues_up=False))
        assert pending(persistence) == [1, 4, 2]

    def test_the_end_of_one_lets_the_next_go(self, persistence: Persistence) -> None:
        """When a run ends, the oldest held one of its key gets a timer that is due at once, and no other."""
        stand(persistence, single(1), single(2), single(3), started(1))
        assert timers_of(persistence) == []
        version = the_run(persistence, 2).version
        stand(persistence, ended(1, status=RunStatus.COMPLETED))
        assert timers_of(persistence) == [(2, START, TimerKind.RUN_START)]
        assert the_run(persistence, 2).version == version
        stand(persistence, let_go(2))
        assert pending(persistence) == [2]
        stand(persistence, started(2), ended(2, status=RunStatus.FAILED))
        assert timers_of(persistence) == [(3, START, TimerKind.RUN_START)]

    def test_a_held_run_that_is_cancelled_passes_its_turn_on(self, persistence: Persistence) -> None:
        """A run that was told and ends before it went on passes the turn to the next."""
        stand(persistence, single(1), single(2), single(3), started(1), ended(1))
        stand(persistence, cancelled(2))
        assert timers_of(persistence) == [(3, START, TimerKind.RUN_START)]

    def test_a_held_run_that_was_not_told_passes_nothing_on(self, persistence: Persistence) -> None:
        """While a run of the key goes on, the end of a held one lets nobody go."""
        stand(persistence, single(1), single(2), single(3), started(1), cancelled(2))
        assert timers_of(persistence) == []

    def test_a_new_one_comes_behind_those_that_are_held(self, persistence: Persistence) -> None:
        """A run that queues up comes behind one that was told and has not gone on yet."""
        stand(persistence, single(1), single(2), started(1), ended(1), single(3))
        assert the_run(persistence, 3).held
        assert isinstance(refuse(persistence, single(4, queues_up=False)), SingletonTaken)

    def test_one_that_starts_later_is_passed_over(self, persistence: Persistence, clock: FakeClock) -> None:
        """A held run whose start lies ahead keeps its timer; the one behind it has its turn."""
        stand(persistence, single(1), single(2, held=True), single(3), started(1), ended(1))
        assert timers_of(persistence) == [(3, START, TimerKind.RUN_START)]
        stand(persistence, let_go(3), started(3))
        clock.advance("60s")
        assert timers_of(persistence) == [(2, START, TimerKind.RUN_START)]
        refused = refuse(persistence, let_go(2))
        assert isinstance(refused, SingletonTaken)
        assert refused.run_id == run_id(3)
        stand(persistence, dropped(2))
        assert timers_of(persistence) == []
        stand(persistence, ended(3))
        assert timers_of(persistence) == [(2, START, TimerKind.RUN_START)]
        stand(persistence, let_go(2))
        assert pending(persistence) == [2]

    def test_one_that_starts_later_may_be_the_only_one(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run that is to start later goes on at its start if nobody has the key then."""
        stand(persistence, single(1, held=True))
        clock.advance("60s")
        stand(persistence, let_go(1))
        assert pending(persistence) == [1]

    def test_a_run_comes_back_only_if_its_key_is_free(self, persistence: Persistence) -> None:
        """A run that is done again while another one of its key goes on is refused; a held one does not matter."""
        stand(persistence, single(1), started(1), single(2), ended(1))
        stand(persistence, let_go(2))
        refused = refuse(persistence, rerun(1, supersede=("b",)))
        assert isinstance(refused, SingletonTaken)
        assert refused.run_id == run_id(2)
        stand(persistence, cancelled(2), single(3, held=True))
        stand(persistence, rerun(1, supersede=("b",)))
        assert isinstance(refuse(persistence, single(4, queues_up=False)), SingletonTaken)

    def test_live_runs_of_a_key_are_listed(self, persistence: Persistence) -> None:
        """The live runs of a key are listed in order of creation, and no others."""
        stand(persistence, single(1), single(2), started(1), ended(1), single(3), single(4, tenant="other"))
        stand(persistence, single(5, name="t"), created(6))
        found = run_sync(persistence.list_singletons(tenant="acme", workflow_id="review", key="s"))
        assert found == [the_run(persistence, 2), the_run(persistence, 3)]

    def test_a_held_run_that_nobody_lets_go_is_an_orphan(self, persistence: Persistence, clock: FakeClock) -> None:
        """A held run counts as an orphan when it has neither a timer nor a live run of its key before it."""
        stand(persistence, single(1), single(2), started(1))
        clock.advance(SECOND)
        assert run_sync(persistence.list_orphans(limit=MANY)) == []
        stand(persistence, ended(1))
        assert run_sync(persistence.list_orphans(limit=MANY)) == []
        stand(persistence, dropped(2))
        assert run_sync(persistence.list_orphans(limit=MANY)) == [run_id(2)]

    def test_nothing_is_told_of_a_turn_that_passes(self, persistence: Persistence) -> None:
        """That a timer is set for the next run is no event of it."""
        stand(persistence, single(1), single(2), started(1))
        before = events_of(persistence, 2)
        stand(persistence, ended(1))
        assert events_of(persistence, 2) == before
