"""What log lines tell and hide, and which functions are called for which events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import pytest
from structlog.testing import capture_logs

from holdfast.driving import run_sync
from holdfast.entities.stage import StageKey
from holdfast.errors import SinkFailed
from holdfast.events import Event, EventType
from holdfast_adapters.sinks import CallbackSink, StructlogSink

KEY: Final = StageKey(run_id="run-1", stage_id="split", generation=2, item=3)


def event(type: EventType, *, number: int = 7, data: Mapping[str, Any] | None = None) -> Event:
    about = KEY if type.value.startswith("stage.") else None
    at = datetime(2025, 1, 1, 12, tzinfo=UTC)
    return Event(run_id="run-1", number=number, type=type, at=at, key=about, data=data or {})


def logged(*events: Event) -> list[Any]:
    with capture_logs() as lines:
        run_sync(StructlogSink().deliver(events))
    return lines


def test_line_tells_what_when_and_of_which_stage() -> None:
    """An event of a stage is one line with its type, number, instant, run and stage instance."""
    (line,) = logged(event(EventType.STAGE_STARTED, data={"attempt": 2, "worker": "w1"}))
    assert line == {
        "event": "stage.started",
        "log_level": "info",
        "run_id": "run-1",
        "number": 7,
        "at": "2025-01-01T12:00:00+00:00",
        "stage": "split",
        "generation": 2,
        "item": 3,
        "attempt": 2,
        "worker": "w1",
    }


def test_line_of_a_run_has_no_stage_instance() -> None:
    """An event of a run tells the run alone."""
    (line,) = logged(event(EventType.RUN_STARTED))
    assert set(line) == {"event", "log_level", "run_id", "number", "at"}


@pytest.mark.parametrize("type", EventType)
def test_no_payload_or_message_is_logged(type: EventType) -> None:
    """What user code said or returned, which could hold a secret, never reaches the log."""
    secrets: dict[str, str] = dict.fromkeys(("message", "output", "input", "progress", "value", "anything"), "hunter2")
    assert "hunter2" not in str(logged(event(type, data=secrets)))


@pytest.mark.parametrize(
    ("type", "level"),
    [
        (EventType.RUN_COMPLETED, "info"),
        (EventType.RUN_CANCELLED, "info"),
        (EventType.STAGE_RETRYING, "warning"),
        (EventType.STAGE_POLL_FAILED, "warning"),
        (EventType.STAGE_LEASE_EXPIRED, "warning"),
        (EventType.STAGE_FAILED, "error"),
        (EventType.RUN_FAILED, "error"),
    ],
)
def test_level_tells_how_bad_it_is(type: EventType, level: str) -> None:
    """What failed for good is an error, what will be tried again a warning, all else information."""
    (line,) = logged(event(type))
    assert line["log_level"] == level


def test_functions_are_called_by_type() -> None:
    """Each event goes to the function of its type, and events of other types are passed over."""
    started: list[int] = []
    failed: list[int] = []
    sink = CallbackSink(
        "mail",
        {
            EventType.RUN_STARTED: lambda event: started.append(event.number),
            EventType.RUN_FAILED: lambda event: failed.append(event.number),
        },
    )
    types = (EventType.RUN_CREATED, EventType.RUN_STARTED, EventType.STAGE_FAILED, EventType.RUN_FAILED)
    run_sync(sink.deliver([event(each, number=number) for number, each in enumerate(types, 1)]))
    assert (started, failed) == ([2], [4])


def test_failure_of_a_function_names_the_event() -> None:
    """The error names sink, event and run, and carries what the function raised."""

    def refuse(event: Event) -> None:
        raise ConnectionError("refused")

    with pytest.raises(SinkFailed, match=r"'mail' failed at event 7 \(run.failed\) of run run-1: .*refused") as caught:
        run_sync(CallbackSink("mail", refuse).deliver([event(EventType.RUN_FAILED)]))
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_events_after_a_failure_are_not_handed_over() -> None:
    """A function that fails at an event never sees a later one of the batch before it."""
    seen: list[int] = []

    def fussy(event: Event) -> None:
        seen.append(event.number)
        if event.number == 2:
            raise ValueError("no")

    first = event(EventType.RUN_STARTED)
    with pytest.raises(SinkFailed):
        run_sync(CallbackSink("fussy", fussy).deliver([attrs.evolve(first, number=number) for number in (1, 2, 3)]))
    assert seen == [1, 2]


def test_death_of_the_process_is_no_failed_delivery() -> None:
    """What is not an Exception goes through a sink unchanged."""

    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sync(CallbackSink("stop", stop).deliver([event(EventType.RUN_STARTED)]))
