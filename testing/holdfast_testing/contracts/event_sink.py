"""The contract of the EventSink port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from holdfast.entities.stage import StageKey
from holdfast.events import Event, EventType
from holdfast.ports.event_sink import EventSink
from holdfast_testing.contracts.drives import Drive, DrivenContract

RUN = "01940000-0000-7000-8000-000000000001"
#: Returns (run id, number) of every event that went through the sink so far, in order.
Taken = Callable[[], Sequence[tuple[str, int]]]
#: Makes the world behind the sink fail once, at the next event.
FailOnce = Callable[[], None]


def event(number: int, *, run_id: str = RUN, type: EventType = EventType.STAGE_COMPLETED) -> Event:
    """Return an event, about a stage if its type is."""
    key = StageKey(run_id=run_id, stage_id="split") if type.value.startswith("stage.") else None
    return Event(run_id=run_id, number=number, type=type, at=datetime(2025, 1, 1, tzinfo=UTC), key=key, data={})


class EventSinkContract(DrivenContract):
    """What every sink must do; `taken` looks behind it, and `fail_once` breaks what is there."""

    def test_name_is_stable(self, event_sink: EventSink) -> None:
        """A sink has a name, and always the same."""
        assert event_sink.name
        assert event_sink.name == event_sink.name

    def test_batch_is_taken_when_the_call_returns(self, event_sink: EventSink, taken: Taken, drive: Drive) -> None:
        """All events of a batch have gone through the sink, in order, when it returns."""
        drive(event_sink.deliver([event(n) for n in range(1, 51)]))
        assert taken() == [(RUN, n) for n in range(1, 51)]

    def test_batches_follow_in_order(self, event_sink: EventSink, taken: Taken, drive: Drive) -> None:
        """What is delivered later comes later."""
        drive(event_sink.deliver([event(1), event(2)]))
        drive(event_sink.deliver([event(1, run_id="other")]))
        drive(event_sink.deliver([event(3)]))
        assert taken() == [(RUN, 1), (RUN, 2), ("other", 1), (RUN, 3)]

    @pytest.mark.parametrize("type", EventType)
    def test_every_type_of_event_is_taken(
        self, *, event_sink: EventSink, taken: Taken, drive: Drive, type: EventType
    ) -> None:
        """No type of event is more than a sink can bear."""
        drive(event_sink.deliver([event(1, type=type)]))
        assert taken() == [(RUN, 1)]

    def test_repeats_are_taken(self, event_sink: EventSink, taken: Taken, drive: Drive) -> None:
        """A batch that comes again, because its taking was not noted, is taken again."""
        drive(event_sink.deliver([event(1), event(2)]))
        drive(event_sink.deliver([event(1), event(2), event(3)]))
        assert list(taken())[-1] == (RUN, 3)

    def test_failure_is_told(self, event_sink: EventSink, fail_once: FailOnce, drive: Drive) -> None:
        """A batch that could not be taken is never taken for delivered."""
        fail_once()
        with pytest.raises(Exception):  # noqa: B017, PT011 - the port allows any error
            drive(event_sink.deliver([event(1), event(2)]))

    def test_failed_batch_can_come_again(
        self, *, event_sink: EventSink, taken: Taken, fail_once: FailOnce, drive: Drive
    ) -> None:
        """A batch that failed is taken when it comes again."""
        fail_once()
        with pytest.raises(Exception):  # noqa: B017, PT011 - the port allows any error
            drive(event_sink.deliver([event(1), event(2)]))
        drive(event_sink.deliver([event(1), event(2)]))
        assert list(taken())[-2:] == [(RUN, 1), (RUN, 2)]
