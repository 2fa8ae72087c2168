"""The contract of the Outbox port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import attrs

from holdfast.change import ZERO, Change, Require, Step
from holdfast.driving import run_sync
from holdfast.entities.run import LIVE_RUN
from holdfast.events import EventType, NewEvent
from holdfast.ports.outbox import Delivery, Stream
from holdfast.ports.persistence import Persistence
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    MANY,
    SECOND,
    SINK,
    TTL,
    begin,
    completed,
    created,
    ended,
    events_of,
    everything,
    key,
    noted,
    refuse,
    run_id,
    stand,
    started,
    take,
)

LIVE: Final = Require(statuses=LIVE_RUN)


def taken(stream: Stream, *, position: int | None = None) -> Delivery:
    """Return the delivery of all events of *stream*, or of those up to *position*."""
    reached = stream.events[-1].number if position is None else position
    return Delivery(run_id=stream.run_id, sink=stream.sink, epoch=stream.epoch, position=reached)


def failed(stream: Stream, *, failures: int = 1, delay: timedelta = ZERO, parked: bool = False) -> Delivery:
    """Return a delivery of *stream* of which nothing was taken."""
    return attrs.evolve(
        taken(stream, position=stream.position), failures=failures, delay=delay, parked=parked, error="OSError: down"
    )


def told(streams: Iterable[Stream]) -> list[tuple[int, list[int]]]:
    """Return the run number and the event numbers of each stream."""
    return [(int(stream.run_id[-12:]), [event.number for event in stream.events]) for stream in streams]


class OutboxContract:
    """What every store must do with events on their way to sinks."""

    def _lease(
        self, persistence: Persistence, *, sink: str = SINK, limit: int = MANY, events: int = MANY
    ) -> list[Stream]:
        return list(run_sync(persistence.lease_streams(sink=sink, limit=limit, events=events, ttl=TTL)))

    def _settle(self, persistence: Persistence, *deliveries: Delivery) -> list[bool]:
        return list(run_sync(persistence.settle_streams(deliveries)))

    def _replay(self, persistence: Persistence, *, sink: str = SINK, limit: int = MANY) -> int:
        return run_sync(persistence.replay_parked(sink=sink, limit=limit))

    def _told(self, persistence: Persistence, *counts: int) -> None:
        """Create a pending run for each of *counts*, with so many events."""
        for number, count in enumerate(counts, 1):
            stand(persistence, created(number))
            if count > 1:
                stand(persistence, noted(number, require=LIVE, events=count - 1))

    # lease_streams

    def test_nothing_to_deliver(self, persistence: Persistence) -> None:
        """A store without events has no streams."""
        assert self._lease(persistence) == []

    def test_a_stream_holds_the_events_of_a_run(self, persistence: Persistence) -> None:
        """A leased stream names its run, sink, epoch and position and holds the very events of the timeline."""
        begin(persistence)
        (stream,) = self._lease(persistence)
        assert (stream.run_id, stream.sink, stream.position, stream.failures) == (run_id(), SINK, 0, 0)
        assert stream.epoch == 1
        assert list(stream.events) == events_of(persistence)

    def test_only_committed_events(self, persistence: Persistence) -> None:
        """Events of a refused change-set are never delivered."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, completed(lease))
        refuse(persistence, completed(lease))
        (stream,) = self._lease(persistence)
        assert [event.type for event in stream.events] == [event.type for event in events_of(persistence)]
        assert sum(event.type is EventType.STAGE_COMPLETED for event in stream.events) == 1

    def test_events_of_grants_are_delivered(self, persistence: Persistence) -> None:
        """The event that the store itself appends when it leases a job is delivered like any other."""
        begin(persistence)
        self._settle(persistence, *map(taken, self._lease(persistence)))
        take(persistence)
        (stream,) = self._lease(persistence)
        assert [event.type for event in stream.events] == [EventType.STAGE_STARTED]

    def test_a_run_without_events_has_no_stream(self, persistence: Persistence) -> None:
        """A run whose change-sets told nothing has nothing to deliver."""
        stand(persistence, attrs.evolve(created(), step=Step()))
        assert self._lease(persistence) == []

    def test_at_most_limit_streams(self, persistence: Persistence) -> None:
        """At most *limit* streams are leased; the others stay for the next call."""
        self._told(persistence, 1, 1, 1)
        assert self._lease(persistence, limit=0) == []
        assert told(self._lease(persistence, limit=2)) == [(1, [1]), (2, [1])]
        assert told(self._lease(persistence, limit=2)) == [(3, [1])]
        assert self._lease(persistence, limit=2) == []

    def test_longest_waiting_first(self, persistence: Persistence, clock: FakeClock) -> None:
        """The stream that has been due the longest comes first, whatever its run's id or age."""
        for number in (3, 1, 2):
            stand(persistence, created(number))
            clock.advance("1s")
        assert told(self._lease(persistence, limit=1)) == [(3, [1])]
        assert told(self._lease(persistence, limit=1)) == [(1, [1])]
        stand(persistence, noted(3, require=LIVE))
        assert told(self._lease(persistence, limit=1)) == [(2, [1])]

    def test_a_stream_waits_since_its_head(self, persistence: Persistence, clock: FakeClock) -> None:
        """A stream that had been delivered waits since its new events, not since its old ones."""
        self._told(persistence, 1, 1)
        self._settle(persistence, *map(taken, self._lease(persistence)))
        for number in (2, 1):
            clock.advance("1s")
            stand(persistence, noted(number, require=LIVE))
        assert told(self._lease(persistence)) == [(2, [2]), (1, [2])]

    def test_parity_133_at_most_so_many_events(self, persistence: Persistence) -> None:
        """One event at a time delivers all events one by one, and then there are none."""
        self._told(persistence, 3)
        for number in (1, 2, 3):
            (stream,) = self._lease(persistence, events=1)
            assert told([stream]) == [(1, [number])]
            self._settle(persistence, taken(stream))
        assert self._lease(persistence, events=1) == []

    def test_events_in_all_are_bounded(self, persistence: Persistence) -> None:
        """The bound holds over all streams; each stream has at least one event, and one that has none is free."""
        self._told(persistence, 4, 4, 4, 4)
        seen: dict[int, list[int]] = {}
        for _ in range(MANY):
            streams = self._lease(persistence, events=5)
            if not streams:
                break
            assert 1 <= sum(len(stream.events) for stream in streams) <= 5
            assert all(stream.events for stream in streams)
            for number, delivered in told(streams):
                seen.setdefault(number, []).extend(delivered)
            self._settle(persistence, *map(taken, streams))
        assert seen == {number: [1, 2, 3, 4] for number in (1, 2, 3, 4)}

    def test_a_stream_that_got_no_event_is_not_leased(self, persistence: Persistence) -> None:
        """A stream that the bound left without an event is leased by the next call."""
        self._told(persistence, 1, 1)
        assert told(self._lease(persistence, events=1)) == [(1, [1])]
        assert told(self._lease(persistence, events=1)) == [(2, [1])]
        assert self._lease(persistence, events=0) == []

    def test_parity_134_each_run_in_its_own_order(self, persistence: Persistence) -> None:
        """Events of several runs have numbers of their own and come in order, from the position on."""
        self._told(persistence, 2, 3)
        first, second = self._lease(persistence)
        assert told([first, second]) == [(1, [1, 2]), (2, [1, 2, 3])]
        self._settle(persistence, taken(first, position=1), taken(second, position=2))
        stand(persistence, noted(1, require=LIVE), noted(2, require=LIVE))
        streams = {stream.run_id: stream for stream in self._lease(persistence)}
        assert [event.number for event in streams[run_id(1)].events] == [2, 3]
        assert [event.number for event in streams[run_id(2)].events] == [3, 4]
        assert (streams[run_id(1)].position, streams[run_id(2)].position) == (1, 2)

    def test_a_leased_stream_is_not_eligible(self, persistence: Persistence) -> None:
        """A stream that is leased is nobody else's, even when new events come."""
        self._told(persistence, 1)
        (stream,) = self._lease(persistence)
        stand(persistence, noted(require=LIVE))
        assert self._lease(persistence) == []
        assert self._settle(persistence, taken(stream)) == [True]
        assert told(self._lease(persistence)) == [(1, [2])]

    def test_a_delayed_stream_is_not_eligible(self, persistence: Persistence, clock: FakeClock) -> None:
        """A stream that failed waits for its delay, also when new events come, and then starts at its head."""
        self._told(persistence, 2)
        self._settle(persistence, failed(*self._lease(persistence), delay=SECOND))
        stand(persistence, noted(require=LIVE))
        clock.advance(SECOND - timedelta(microseconds=1))
        assert self._lease(persistence) == []
        clock.advance(timedelta(microseconds=1))
        (stream,) = self._lease(persistence)
        assert (told([stream]), stream.failures) == ([(1, [1, 2, 3])], 1)

    def test_parity_137_a_parked_stream_is_not_eligible(self, persistence: Persistence, clock: FakeClock) -> None:
        """A parked stream stops: neither time nor new events make it go on."""
        self._told(persistence, 1)
        self._settle(persistence, failed(*self._lease(persistence), parked=True))
        clock.advance(HOUR)
        stand(persistence, noted(require=LIVE))
        assert self._lease(persistence) == []

    def test_parity_136_one_run_stops_no_other(self, persistence: Persistence) -> None:
        """While one run's stream fails or is parked, the others are delivered."""
        self._told(persistence, 2, 2, 2)
        first, second, third = self._lease(persistence)
        self._settle(persistence, failed(first, delay=HOUR), failed(second, parked=True), taken(third))
        for number in (1, 2, 3):
            stand(persistence, noted(number, require=LIVE))
        assert told(self._lease(persistence)) == [(3, [3])]

    def test_a_long_backlog_starves_nobody(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run with many events goes to the back after each delivery, so that a waiting run gets its turn."""
        self._told(persistence, 10)
        clock.advance("1s")
        stand(persistence, created(2))
        (stream,) = self._lease(persistence, limit=1, events=2)
        assert told([stream]) == [(1, [1, 2])]
        clock.advance("1s")
        self._settle(persistence, taken(stream))
        assert told(self._lease(persistence, limit=1, events=2)) == [(2, [1])]
        assert told(self._lease(persistence, limit=1, events=2)) == [(1, [3, 4])]

    def test_a_lease_past_its_end_is_taken_over(self, persistence: Persistence, clock: FakeClock) -> None:
        """A stream whose lease is past its end is granted anew from the same position, under a higher epoch."""
        self._told(persistence, 2)
        (first,) = self._lease(persistence)
        clock.advance(TTL - timedelta(microseconds=1))
        assert self._lease(persistence) == []
        clock.advance(timedelta(microseconds=1))
        (second,) = self._lease(persistence)
        assert second == attrs.evolve(first, epoch=first.epoch + 1)

    def test_sinks_are_independent(self, persistence: Persistence) -> None:
        """Each sink has a stream of each run, with its own position, lease and fate."""
        self._told(persistence, 2)
        (log,) = self._lease(persistence, sink="log")
        (hook,) = self._lease(persistence, sink="hook")
        assert log.events == hook.events
        assert self._settle(persistence, taken(log), failed(hook, parked=True)) == [True, True]
        stand(persistence, noted(require=LIVE))
        assert told(self._lease(persistence, sink="log")) == [(1, [3])]
        assert self._lease(persistence, sink="hook") == []

    def test_a_new_sink_gets_everything(self, persistence: Persistence, clock: FakeClock) -> None:
        """A sink that asks for the first time gets every run from its first event on, the oldest run first."""
        begin(persistence)
        clock.advance("1s")
        begin(persistence, run=2)
        stand(persistence, ended(1))
        self._settle(persistence, *map(taken, self._lease(persistence)))
        assert told(self._lease(persistence, sink="new")) == [(1, [1, 2, 3, 4]), (2, [1, 2, 3])]

    def test_events_of_ended_runs_are_delivered(self, persistence: Persistence) -> None:
        """The end of a run does not end its stream."""
        begin(persistence)
        stand(persistence, ended())
        (stream,) = self._lease(persistence)
        assert stream.events[-1].type is EventType.RUN_CANCELLED

    def test_leasing_streams_changes_no_run(self, persistence: Persistence, clock: FakeClock) -> None:
        """Delivery is invisible to runs: nothing that a decision reads changes."""
        begin(persistence)
        before = run_sync(persistence.find_snapshot(run_id()))
        self._settle(persistence, *map(taken, self._lease(persistence)))
        assert run_sync(persistence.find_snapshot(run_id())) == before

    # settle_streams

    def test_settle_nothing(self, persistence: Persistence) -> None:
        """No deliveries are no answers."""
        assert self._settle(persistence) == []

    def test_parity_135_settle_stores_the_position(self, persistence: Persistence) -> None:
        """A delivered stream is done until new events come, which start behind the position."""
        self._told(persistence, 2)
        (stream,) = self._lease(persistence)
        assert self._settle(persistence, taken(stream)) == [True]
        assert self._lease(persistence) == []
        stand(persistence, noted(require=LIVE))
        (stream,) = self._lease(persistence)
        assert (stream.position, told([stream])) == (2, [(1, [3])])

    def test_settle_releases_at_once(self, persistence: Persistence) -> None:
        """A stream of which a part was delivered is due again at once, and its epoch rises with the next grant."""
        self._told(persistence, 3)
        (first,) = self._lease(persistence)
        self._settle(persistence, taken(first, position=1))
        (second,) = self._lease(persistence)
        assert told([second]) == [(1, [2, 3])]
        assert second.epoch > first.epoch

    def test_failures_are_counted_and_forgotten(self, persistence: Persistence) -> None:
        """The number of failures is kept as told, and is 0 after a success."""
        self._told(persistence, 2)
        for failures in (1, 2, 3):
            (stream,) = self._lease(persistence)
            assert stream.failures == failures - 1
            self._settle(persistence, failed(stream, failures=failures))
        (stream,) = self._lease(persistence)
        self._settle(persistence, taken(stream, position=1))
        (stream,) = self._lease(persistence)
        assert stream.failures == 0

    def test_a_delivery_under_an_old_epoch_changes_nothing(self, persistence: Persistence, clock: FakeClock) -> None:
        """A holder whose stream was taken over is told so, and neither position nor lease of the new one moves."""
        self._told(persistence, 2)
        (old,) = self._lease(persistence)
        clock.advance(TTL)
        (new,) = self._lease(persistence)
        for late in (taken(old), failed(old, delay=HOUR), failed(old, parked=True)):
            assert self._settle(persistence, late) == [False]
        assert self._lease(persistence) == []
        assert self._settle(persistence, taken(new, position=1)) == [True]
        assert told(self._lease(persistence)) == [(1, [2])]

    def test_a_lease_is_settled_once(self, persistence: Persistence) -> None:
        """The second settlement of one lease is told that it no longer held, and changes nothing."""
        self._told(persistence, 3)
        (stream,) = self._lease(persistence)
        assert self._settle(persistence, taken(stream, position=2)) == [True]
        assert self._settle(persistence, taken(stream, position=3)) == [False]
        assert self._settle(persistence, failed(stream, parked=True)) == [False]
        assert told(self._lease(persistence)) == [(1, [3])]

    def test_a_late_settlement_stands_if_nobody_took_over(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lease past its end that nobody took over is settled by its holder."""
        self._told(persistence, 2)
        (stream,) = self._lease(persistence)
        clock.advance(HOUR)
        assert self._settle(persistence, taken(stream)) == [True]
        assert self._lease(persistence) == []

    def test_each_delivery_gets_its_own_answer(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lost delivery among good ones refuses itself alone; unknown runs and sinks are lost."""
        self._told(persistence, 1, 1)
        (lost,) = self._lease(persistence, limit=1)
        clock.advance(TTL)
        fresh = {stream.run_id: stream for stream in self._lease(persistence)}
        good, other = fresh[run_id(2)], fresh[run_id(1)]
        strange = attrs.evolve(taken(good), run_id=run_id(9))
        stranger = attrs.evolve(taken(good), sink="nobody")
        answers = self._settle(persistence, taken(lost), taken(good), strange, stranger, taken(other))
        assert answers == [False, True, False, False, True]
        assert self._lease(persistence) == []

    # replay_parked

    def test_replay_starts_at_the_head(self, persistence: Persistence) -> None:
        """A parked stream that is replayed is due at once from the event it stopped at, with all that came since."""
        self._told(persistence, 3)
        (stream,) = self._lease(persistence)
        stopped = attrs.evolve(failed(stream, failures=7, parked=True), position=1)
        self._settle(persistence, stopped)
        stand(persistence, noted(require=LIVE))
        assert self._replay(persistence) == 1
        (again,) = self._lease(persistence)
        assert told([again]) == [(1, [2, 3, 4])]
        assert again.failures == 0

    def test_replay_ignores_the_delay(self, persistence: Persistence) -> None:
        """A replayed stream does not wait for the delay that it was parked with."""
        self._told(persistence, 1)
        self._settle(persistence, failed(*self._lease(persistence), delay=HOUR, parked=True))
        assert self._replay(persistence) == 1
        assert len(self._lease(persistence)) == 1

    def test_replay_at_most_limit(self, persistence: Persistence) -> None:
        """At most *limit* streams are replayed, and the number of those that were is returned."""
        self._told(persistence, 1, 1, 1)
        self._settle(persistence, *(failed(stream, parked=True) for stream in self._lease(persistence)))
        assert self._replay(persistence, limit=0) == 0
        assert self._replay(persistence, limit=2) == 2
        assert len(self._lease(persistence)) == 2
        assert self._replay(persistence, limit=2) == 1
        assert self._replay(persistence, limit=2) == 0

    def test_replay_is_of_one_sink(self, persistence: Persistence) -> None:
        """Streams of other sinks stay parked."""
        self._told(persistence, 1)
        for sink in ("log", "hook"):
            self._settle(persistence, failed(*self._lease(persistence, sink=sink), parked=True))
        assert self._replay(persistence, sink="nobody") == 0
        assert self._replay(persistence, sink="hook") == 1
        assert self._lease(persistence, sink="log") == []
        assert len(self._lease(persistence, sink="hook")) == 1

    def test_replay_leaves_the_others_alone(self, persistence: Persistence) -> None:
        """Delayed, leased and delivered streams are not replayed."""
        self._told(persistence, 1, 1, 1)
        delayed, delivered, _ = self._lease(persistence)
        self._settle(persistence, failed(delayed, delay=HOUR), taken(delivered))
        before = everything(persistence, 1, 2, 3)
        assert self._replay(persistence) == 0
        assert everything(persistence, 1, 2, 3) == before

    def test_events_reach_a_sink_in_order_whatever_happens(self, persistence: Persistence, clock: FakeClock) -> None:
        """Through partial deliveries, failures, takeovers and replays, first deliveries are 1, 2, 3… without gaps."""
        begin(persistence)
        seen: list[int] = []
        for turn in range(20):
            told_now = NewEvent(type=EventType.STAGE_PROGRESS, key=key(), data={"turn": turn})
            stand(persistence, Change(run_id=run_id(), step=Step(events=(told_now, told_now))))
            for stream in self._lease(persistence, events=1 + turn % 3):
                assert stream.events[0].number == len(seen) + 1
                assert stream.events[0].at >= START
                if turn % 5 == 4:
                    clock.advance(TTL)
                    continue
                if turn % 4 == 3:
                    self._settle(persistence, failed(stream, parked=turn % 8 == 7))
                    self._replay(persistence)
                    continue
                seen.extend(event.number for event in stream.events)
                self._settle(persistence, taken(stream))
        for stream in self._lease(persistence):
            seen.extend(event.number for event in stream.events)
        assert seen == [event.number for event in events_of(persistence)]

    def test_started_runs_tell_a_known_sink(self, persistence: Persistence) -> None:
        """A run that is created after a sink has read everything is delivered to it like the first ones."""
        stand(persistence, created())
        self._settle(persistence, *map(taken, self._lease(persistence)))
        stand(persistence, created(2), started(2))
        assert told(self._lease(persistence)) == [(2, [1, 2, 3])]
