"""The contract of the Retention port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs
import pytest

from holdfast.change import Change, NewRun, Require, Step
from holdfast.driving import run_sync
from holdfast.entities.run import TERMINAL_RUN, RunStatus
from holdfast.entities.wait import WaitKind
from holdfast.events import EventType, NewEvent
from holdfast.ports.outbox import Delivery
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast.ports.retention import Place, Pruned, Terms
from holdfast.traces import NewAnnotation, NewCheckpoint, NewLog, NewToken
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    MANY,
    SECOND,
    SINK,
    TTL,
    artifact,
    begin,
    commit,
    completed,
    created,
    ended,
    events_of,
    everything,
    header,
    key,
    moved,
    new_wait,
    noted,
    operation,
    parked,
    payload,
    rerun,
    reserved,
    run_id,
    sent,
    stand,
    started,
    take,
)

DAY: Final = timedelta(days=1)
#: Runs go after a day, results under keys after two, operation records three days after their run.
TERMS: Final = Terms(runs=DAY, results=2 * DAY, operations=3 * DAY)
LEAST: Final = timedelta(microseconds=1)


def child(number: int, *, parent: int) -> Change:
    """Return the change-set that creates the *number*-th run as a child of another."""
    head = attrs.evolve(header(number), parent_id=run_id(parent))
    return Change(run_id=head.id, create=NewRun(header=head), step=Step(events=(NewEvent(type=EventType.RUN_CREATED),)))


class RetentionContract:
    """What every store must do with what is over."""

    def _prune(
        self,
        persistence: Persistence,
        *,
        limit: int = MANY,
        after: Place | None = None,
        trial: bool = False,
        terms: Terms = TERMS,
    ) -> Pruned:
        return run_sync(persistence.prune(terms, limit=limit, after=after, trial=trial))

    def _gone(self, persistence: Persistence) -> list[int]:
        """Prune all at once and return the numbers of the runs that went."""
        return [int(each[-12:]) for each in self._prune(persistence).run_ids]

    def _end(self, persistence: Persistence, *numbers: int, status: RunStatus = RunStatus.COMPLETED) -> None:
        """Begin runs and end them."""
        for number in numbers or (1,):
            begin(persistence, run=number)
            stand(persistence, ended(number, status=status))

    def _deliver(self, persistence: Persistence, *, sink: str = SINK) -> None:
        """Let the sink take all events there are."""
        streams = run_sync(persistence.lease_streams(sink=sink, limit=MANY, events=MANY, ttl=TTL))
        for stream in streams:
            position = stream.events[-1].number
            taken = Delivery(run_id=stream.run_id, sink=sink, epoch=stream.epoch, position=position)
            assert run_sync(persistence.settle_streams([taken])) == [True]

    # What is looked at.

    @pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.COMPLETED, RunStatus.FAILED])
    def test_i32_a_run_goes_once_it_ended_long_enough_ago(
        self, persistence: Persistence, clock: FakeClock, status: RunStatus
    ) -> None:
        """A run goes from the instant on at which it ended so long ago, and not before."""
        self._end(persistence, status=status)
        clock.advance(DAY - LEAST)
        assert self._prune(persistence) == Pruned(run_ids=(), looked_at=0, next=None)
        clock.advance(LEAST)
        assert self._prune(persistence) == Pruned(run_ids=(run_id(),), looked_at=1, next=None)
        assert run_sync(persistence.find_run(run_id())) is None

    def test_i32_nothing_that_is_live_goes(self, persistence: Persistence, clock: FakeClock) -> None:
        """Runs of every status that is not terminal stay, however old they are."""
        stand(persistence, created(1))
        begin(persistence, run=2)
        begin(persistence, run=3)
        stand(persistence, parked(take(persistence, key(run=3))))
        begin(persistence, run=4)
        stand(persistence, moved(4, status=RunStatus.PAUSED))
        begin(persistence, run=5)
        stand(persistence, moved(5, status=RunStatus.COMPENSATING))
        clock.advance(400 * DAY)
        before = everything(persistence, 1, 2, 3, 4, 5)
        assert self._prune(persistence).looked_at == 0
        assert everything(persistence, 1, 2, 3, 4, 5) == before

    def test_a_run_that_came_back_stays(self, persistence: Persistence, clock: FakeClock) -> None:
        """A rerun makes a run live again, and its next end counts."""
        begin(persistence)
        stand(persistence, completed(take(persistence)), ended())
        clock.advance(DAY)
        stand(persistence, rerun())
        clock.advance(DAY)
        assert self._gone(persistence) == []
        stand(persistence, ended())
        clock.advance(DAY - LEAST)
        assert self._gone(persistence) == []
        clock.advance(LEAST)
        assert self._gone(persistence) == [1]

    def test_those_that_ended_longest_ago_go_first(self, persistence: Persistence, clock: FakeClock) -> None:
        """A batch takes runs in the order in which they ended, those of one instant in order of id."""
        for number in (3, 1, 2):
            begin(persistence, run=number)
        stand(persistence, ended(3))
        clock.advance(SECOND)
        stand(persistence, ended(2), ended(1))
        clock.advance(2 * DAY)
        first = self._prune(persistence, limit=2)
        assert first == Pruned(
            run_ids=(run_id(3), run_id(1)), looked_at=2, next=Place(finished_at=START + SECOND, run_id=run_id(1))
        )
        assert self._prune(persistence, limit=2) == Pruned(run_ids=(run_id(2),), looked_at=1, next=None)

    def test_a_batch_goes_on_behind_the_one_before(self, persistence: Persistence, clock: FakeClock) -> None:
        """Runs that stay are not looked at again behind the place at which a full batch says that it ended."""
        self._deliver(persistence)
        self._end(persistence, *range(1, 6))
        clock.advance(DAY)
        places: list[Place | None] = [None]
        while (pruned := self._prune(persistence, limit=2, after=places[-1])).next is not None:
            assert (pruned.run_ids, pruned.looked_at) == ((), 2)
            places.append(pruned.next)
        assert pruned.looked_at == 1
        assert [place and place.run_id for place in places] == [None, run_id(2), run_id(4)]

    def test_a_place_needs_no_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """The run at which a batch ended may have gone when the next one begins."""
        self._end(persistence, 1, 2, 3)
        clock.advance(DAY)
        place = self._prune(persistence, limit=1).next
        assert self._prune(persistence, limit=1, after=place).run_ids == (run_id(2),)
        assert self._prune(persistence, after=place).run_ids == (run_id(3),)

    # What keeps a run.

    def test_rule_1_a_child_stays_while_its_parent_is_live(self, persistence: Persistence, clock: FakeClock) -> None:
        """A child that ended stays as long as its parent is live, and until that ended long enough ago."""
        begin(persistence, run=1)
        stand(persistence, child(2, parent=1), started(2), ended(2))
        clock.advance(10 * DAY)
        assert self._gone(persistence) == []
        stand(persistence, ended(1))
        clock.advance(DAY - LEAST)
        assert self._gone(persistence) == []
        clock.advance(LEAST)
        assert self._gone(persistence) == [2, 1]

    def test_rule_1_a_parent_that_has_gone_keeps_nobody(self, persistence: Persistence, clock: FakeClock) -> None:
        """A child goes when there is no parent any more."""
        self._end(persistence, 1)
        clock.advance(DAY)
        stand(persistence, child(2, parent=1), started(2), ended(2))
        assert self._gone(persistence) == [1]
        clock.advance(DAY)
        assert self._gone(persistence) == [2]

    def test_rule_2_a_parent_stays_while_a_child_is_live(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run stays as long as one that it started is live."""
        begin(persistence, run=1)
        stand(persistence, child(2, parent=1), ended(1))
        clock.advance(10 * DAY)
        assert self._gone(persistence) == []
        stand(persistence, started(2), ended(2))
        assert self._gone(persistence) == [1]

    def test_rule_3_undelivered_events_keep_their_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run goes only when each sink that has ever asked has taken all its events."""
        self._deliver(persistence)
        self._end(persistence)
        clock.advance(DAY)
        assert self._gone(persistence) == []
        self._deliver(persistence)
        self._deliver(persistence, sink="other")
        stand(persistence, noted(require=Require(statuses=TERMINAL_RUN)))
        self._deliver(persistence)
        assert self._gone(persistence) == []
        self._deliver(persistence, sink="other")
        assert self._gone(persistence) == [1]

    def test_rule_3_leased_delayed_and_parked_streams_keep_their_run(
        self, persistence: Persistence, clock: FakeClock
    ) -> None:
        """A stream that somebody delivers, that waits for its delay or that is parked keeps its run."""
        self._end(persistence)
        clock.advance(DAY)
        (stream,) = run_sync(persistence.lease_streams(sink=SINK, limit=1, events=MANY, ttl=TTL))
        assert self._gone(persistence) == []
        failed = Delivery(run_id=run_id(), sink=SINK, epoch=stream.epoch, position=1, failures=1, delay=HOUR)
        run_sync(persistence.settle_streams([failed]))
        assert self._gone(persistence) == []
        clock.advance(HOUR)
        (stream,) = run_sync(persistence.lease_streams(sink=SINK, limit=1, events=MANY, ttl=TTL))
        run_sync(persistence.settle_streams([attrs.evolve(failed, epoch=stream.epoch, parked=True)]))
        assert self._gone(persistence) == []
        assert run_sync(persistence.replay_parked(sink=SINK, limit=1)) == 1
        self._deliver(persistence)
        assert self._gone(persistence) == [1]

    def test_rule_4_results_under_keys_keep_their_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run whose result others find under a key stays as long as results are kept; then both go."""
        self._end(persistence, 2)
        begin(persistence)
        stand(persistence, reserved(take(persistence), output="1"), ended())
        clock.advance(2 * DAY - LEAST)
        assert self._gone(persistence) == [2]
        clock.advance(LEAST)
        assert self._gone(persistence) == [1]
        begin(persistence, run=3)
        stand(persistence, reserved(take(persistence, key(run=3))))

    # What goes.

    def test_everything_of_a_run_goes(self, persistence: Persistence, clock: FakeClock) -> None:
        """Whatever the port can tell of a run is gone with it, and what it tells of others is as before."""
        begin(persistence, run=2)
        stand(persistence, completed(take(persistence, key(run=2))), ended(2))
        clock.advance(HOUR)
        self._fill(persistence)
        clock.advance(DAY)
        empty = everything(persistence, 3)
        assert len(run_sync(persistence.list_runs(RunFilter(), limit=MANY))) == 2
        assert self._gone(persistence) == [2, 1]
        after = everything(persistence, 1)
        assert run_sync(persistence.list_runs(RunFilter(), limit=MANY)) == []
        assert isinstance(after, tuple)
        assert isinstance(empty, tuple)
        assert after[-1] == empty[-1]
        assert run_sync(persistence.find_token("0" * 64)) is None
        assert run_sync(persistence.count()).runs == {}
        # Its rows would be found by a run of the same id.
        stand(persistence, created(1))
        assert [event.number for event in events_of(persistence)] == [1]
        assert everything(persistence, 1) != empty
        assert run_sync(persistence.list_stages(run_id())) == []
        assert run_sync(persistence.list_logs(run_id(), limit=MANY)) == []
        assert run_sync(persistence.find_checkpoint(key(), name="n")) is None

    def _fill(self, persistence: Persistence) -> None:
        """Make a run that has something of everything, and end it."""
        begin(persistence, "a", "b")
        lease = take(persistence)
        waits = (new_wait("w"), new_wait("s", kind=WaitKind.SLEEP, timeout=HOUR))
        told = attrs.evolve(
            noted(),
            patch={"x": 1},
            tokens=(NewToken(hash="0" * 64, name="w", lifetime=10 * DAY),),
            artifacts=(artifact(),),
            checkpoints=(NewCheckpoint(key=key(), name="n", result=payload("1")),),
            annotations=(NewAnnotation(name="why", value={"a": 1}, actor="user:7"),),
            logs=(NewLog(key=key(), attempt=1, level="info", message="m", data={}, at=START),),
        )
        stand(persistence, told, sent("later"))
        stand(persistence, parked(lease, *(wait.name for wait in waits)))
        stand(persistence, completed(take(persistence, key("b"))), ended())
        self._deliver(persistence)

    def test_nothing_of_other_runs_goes(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run that stays is told of exactly as before, whatever went beside it."""
        self._end(persistence, 2, 3)
        clock.advance(DAY)
        self._fill(persistence)
        of_it = everything(persistence, 1)
        assert self._gone(persistence) == [2, 3]
        after = everything(persistence, 1)
        assert isinstance(of_it, tuple)
        assert isinstance(after, tuple)
        assert after[-1] == of_it[-1]

    def test_streams_go_with_their_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """No stream is left, so that sinks are given nothing of runs that are gone, and what comes later as ever."""
        self._deliver(persistence)
        self._end(persistence)
        self._deliver(persistence)
        clock.advance(DAY)
        assert self._gone(persistence) == [1]
        assert run_sync(persistence.lease_streams(sink="new", limit=MANY, events=MANY, ttl=TTL)) == []
        stand(persistence, created(1))
        (stream,) = run_sync(persistence.lease_streams(sink=SINK, limit=MANY, events=MANY, ttl=TTL))
        assert (stream.position, [event.number for event in stream.events]) == (0, [1])

    def test_a_commit_finds_no_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """To a change-set a run that went is one that never was."""
        self._end(persistence)
        clock.advance(DAY)
        self._prune(persistence)
        (never, gone) = commit(persistence, rerun(2), rerun(1))
        assert type(gone) is type(never)

    def test_a_trial_removes_nothing(self, persistence: Persistence, clock: FakeClock) -> None:
        """A trial tells what the same call would come to, and leaves everything, operation records included."""
        stand(persistence, attrs.evolve(created(), operations=(operation(),)), started(), ended())
        self._end(persistence, 2)
        clock.advance(DAY)
        before = everything(persistence, 1, 2)
        tried = self._prune(persistence, limit=1, trial=True)
        assert everything(persistence, 1, 2) == before
        clock.advance(9 * DAY)
        assert run_sync(persistence.forget_operations(limit=MANY)) == 0
        assert self._prune(persistence, limit=1) == tried

    # Operation records.

    def test_i32_operation_records_outlive_their_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """A record is found for as long as the terms say after its run went, and is then forgotten."""
        stand(persistence, attrs.evolve(created(), operations=(operation(),)), started(), ended())
        clock.advance(400 * DAY)
        assert run_sync(persistence.forget_operations(limit=MANY)) == 0
        self._prune(persistence)
        clock.advance(3 * DAY - LEAST)
        assert run_sync(persistence.forget_operations(limit=MANY)) == 0
        assert self._operation(persistence) == operation()
        clock.advance(LEAST)
        assert run_sync(persistence.forget_operations(limit=MANY)) == 1
        assert self._operation(persistence) is None
        assert run_sync(persistence.forget_operations(limit=MANY)) == 0

    def test_records_are_forgotten_in_bounded_batches(self, persistence: Persistence, clock: FakeClock) -> None:
        """At most so many records are forgotten at once, those that are longest due first."""
        for number, name in enumerate(("first", "second", "third"), 1):
            record = attrs.evolve(operation(name), run_id=run_id(number))
            stand(persistence, attrs.evolve(created(number), operations=(record,)), started(number), ended(number))
            clock.advance(DAY)
            self._prune(persistence)
        clock.advance(3 * DAY)
        assert run_sync(persistence.forget_operations(limit=2)) == 2
        assert [self._operation(persistence, name) is None for name in ("first", "second", "third")] == [
            True,
            True,
            False,
        ]

    def _operation(self, persistence: Persistence, name: str = "op-1") -> object:
        given = operation(name)
        return run_sync(persistence.find_operation(tenant=given.tenant, scope=given.scope, key=name))

    # Sinks that are gone.

    def test_a_sink_that_is_forgotten_keeps_nothing(self, persistence: Persistence, clock: FakeClock) -> None:
        """What a sink has not taken keeps no run any more once it is forgotten; other sinks are as before."""
        self._end(persistence)
        self._deliver(persistence)
        (stream,) = run_sync(persistence.lease_streams(sink="gone", limit=1, events=MANY, ttl=TTL))
        clock.advance(DAY)
        assert self._gone(persistence) == []
        assert run_sync(persistence.forget_sink("gone"))
        assert not run_sync(persistence.forget_sink("gone"))
        assert run_sync(persistence.count()).undelivered == 0
        late = Delivery(run_id=stream.run_id, sink="gone", epoch=stream.epoch, position=1)
        assert run_sync(persistence.settle_streams([late])) == [False]
        assert self._gone(persistence) == [1]

    def test_a_sink_that_was_forgotten_begins_anew(self, persistence: Persistence) -> None:
        """When it asks again it is given all events there are."""
        begin(persistence)
        self._deliver(persistence)
        run_sync(persistence.forget_sink(SINK))
        (stream,) = run_sync(persistence.lease_streams(sink=SINK, limit=1, events=MANY, ttl=TTL))
        assert (stream.position, len(stream.events)) == (0, len(events_of(persistence)))

    # Runs that are missing.

    def test_missing_runs_are_told_in_the_order_given(self, persistence: Persistence) -> None:
        """Of the ids given those are told of which there is no run, whatever its status."""
        stand(persistence, created(2))
        self._end(persistence, 4)
        assert run_sync(persistence.list_missing([run_id(n) for n in (5, 4, 3, 2, 1)])) == [
            run_id(5),
            run_id(3),
            run_id(1),
        ]
        assert run_sync(persistence.list_missing([])) == []
