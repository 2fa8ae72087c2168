"""What a test can ask of the sink and the scheduler that remember."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast.driving import run_sync
from holdfast.errors import SinkFailed
from holdfast.events import EventType
from holdfast_testing.contracts.event_sink import event
from holdfast_testing.schedulers import FakeScheduler
from holdfast_testing.sinks import CollectingSink


def test_collected_events_are_found_by_type_and_run() -> None:
    """Events are kept in order of delivery and can be picked by type or by run."""
    sink = CollectingSink()
    first, other = event(1, type=EventType.RUN_CREATED), event(1, run_id="other", type=EventType.RUN_CREATED)
    second = event(2, type=EventType.RUN_STARTED)
    run_sync(sink.deliver([first]))
    run_sync(sink.deliver([other]))
    run_sync(sink.deliver([second]))
    assert sink.events == [first, other, second]
    assert sink.by_type(EventType.RUN_CREATED) == [first, other]
    assert sink.of_run("other") == [other]
    sink.clear()
    assert sink.events == []


def test_sink_fails_as_often_as_it_is_told() -> None:
    """The next so many batches are refused as a whole, and then taken."""
    sink = CollectingSink()
    sink.fail(2)
    for _ in range(2):
        with pytest.raises(SinkFailed, match="'collecting'"):
            run_sync(sink.deliver([event(1)]))
    run_sync(sink.deliver([event(1)]))
    assert sink.events == [event(1)]
    assert sink.failed == 2


def test_sink_fails_until_it_is_healed() -> None:
    """Without a number every batch is refused until the sink is healed."""
    sink = CollectingSink()
    sink.fail()
    for _ in range(100):
        with pytest.raises(SinkFailed):
            run_sync(sink.deliver([event(1)]))
    sink.heal()
    run_sync(sink.deliver([event(1)]))
    assert sink.events == [event(1)]


def test_fake_scheduler_remembers_what_it_was_told() -> None:
    """Delays are kept as given, in order, until they are cleared."""
    scheduler = FakeScheduler()
    for seconds in (5, -1, 0):
        scheduler.wake_in(timedelta(seconds=seconds))
    assert [delay.total_seconds() for delay in scheduler.delays] == [5, -1, 0]
    scheduler.clear()
    assert scheduler.delays == []
