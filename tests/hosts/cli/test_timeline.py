"""The timeline in words, for every kind of event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.events import Event, EventType
from holdfast_hosts.cli.rendering.event_words import Teller
from holdfast_hosts.cli.rendering.timeline import waits

START = datetime(2026, 3, 4, 23, 59, 58, tzinfo=UTC)
KEY = StageKey(run_id="r", stage_id="ship")
WORKER = "worker-019aa3c4-5b6c-7d80-8000-0123456789ab"


def event(number: int, kind: EventType, *, key: StageKey | None = KEY, after: float = 0, **data: Any) -> Event:
    """Return an event *after* so many seconds."""
    at = START + timedelta(seconds=after)
    return Event(run_id="r", number=number, type=kind, at=at, key=key, data=data)


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (EventType.STAGE_READY, {}, "ready, waits for a worker"),
        (EventType.STAGE_STARTED, {"attempt": 2, "worker": WORKER}, "try 2 started on worker-6789ab"),
        (EventType.STAGE_PROGRESS, {"done": 3, "total": 4, "message": "half"}, "3 of 4 done, half"),
        (EventType.STAGE_PROGRESS, {"done": 0.5, "total": None, "message": ""}, "0.5 done"),
        (
            EventType.STAGE_SUSPENDED,
            {"pollInSeconds": 0.7, "giveUpInSeconds": 86_400.0},
            "suspended after 2.0 s; first poll in 700 ms, given up after 1 d",
        ),
        (
            EventType.STAGE_POLL_FAILED,
            {"code": "STAGE_ERROR", "message": "no answer", "delaySeconds": 5.0},
            "poll failed: no answer; next poll in 5.0 s",
        ),
        (EventType.STAGE_POLL_FAILED, {"code": "LEASE_EXPIRED", "worker": WORKER}, "poll failed: LEASE_EXPIRED"),
        (
            EventType.STAGE_RETRYING,
            {"attempt": 1, "code": "TIMEOUT", "message": "too\nlong \x1b[2J", "delaySeconds": 90.0},
            "try 1 failed after 2.0 s: too long \\x1b[2J (TIMEOUT); next try in 1 m 30 s",
        ),
        (EventType.STAGE_RELEASED, {"worker": WORKER}, "handed back by worker-6789ab; the try does not count"),
        (
            EventType.STAGE_LEASE_EXPIRED,
            {"attempt": 1, "worker": "mine"},
            "taken back: mine fell silent during try 1 and its lease ended",
        ),
        (EventType.STAGE_COMPLETED, {"attempt": 1}, "completed in 2.0 s"),
        (EventType.STAGE_FAILED, {"attempt": 3, "code": "X", "message": "m"}, "failed for good on try 3: m (X)"),
    ],
)
def test_events_of_a_stage_are_told_in_words(kind: EventType, data: dict[str, Any], words: str) -> None:
    """Each event of a stage says what happened, who did it, why, and what comes next."""
    teller = Teller()
    teller.tell(event(1, EventType.STAGE_STARTED, attempt=1, worker=WORKER))
    moment = teller.tell(event(2, kind, after=2, **data))
    assert moment.words == words
    assert moment.subject == "ship"
    assert moment.gap == timedelta(seconds=2)


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (EventType.RUN_CREATED, {"workflowId": "w", "workflowVersion": "2"}, "created for w version 2"),
        (EventType.RUN_STARTED, {"generation": 1}, "started"),
        (EventType.RUN_COMPLETED, {}, "completed in 2.0 s"),
        (EventType.RUN_FAILED, {"stage": "ship", "code": "X", "message": "m"}, 'failed because "ship" failed'),
        (EventType.RUN_FAILED, {"code": "RUN_TIMEOUT", "message": "too slow"}, "failed: too slow (RUN_TIMEOUT)"),
        (EventType.RUN_CANCELLED, {}, "cancelled"),
        (EventType.RUN_CANCELLED, {"reason": "enough"}, "cancelled: enough"),
        (
            EventType.RUN_RERUN,
            {"fromStage": "ship", "generation": 2, "stages": ["ship", "bill"]},
            'rerun from "ship", does again: ship, bill',
        ),
    ],
)
def test_events_of_a_run_are_told_in_words(kind: EventType, data: dict[str, Any], words: str) -> None:
    """Each event of a run says what happened and why."""
    teller = Teller()
    teller.tell(event(1, EventType.RUN_STARTED, key=None))
    moment = teller.tell(event(2, kind, key=None, after=2, **data))
    assert (moment.subject, moment.words) == ("run", words)


def test_every_kind_of_event_has_words() -> None:
    """No kind of event is left out, even when its data are."""
    for kind in EventType:
        key = None if kind.value.startswith("run.") else KEY
        assert Teller().tell(event(1, kind, key=key)).words


def test_time_in_suspension_is_told_when_it_ends() -> None:
    """A stage that was suspended tells how long of its time it was."""
    teller = Teller()
    teller.tell(event(1, EventType.STAGE_STARTED, attempt=1, worker=WORKER))
    teller.tell(event(2, EventType.STAGE_SUSPENDED, after=1, pollInSeconds=1.0, giveUpInSeconds=60.0))
    moment = teller.tell(event(3, EventType.STAGE_COMPLETED, after=4, attempt=1))
    assert moment.words == "completed in 4.0 s, suspended for 3.0 s"


def test_generations_and_items_are_told_apart() -> None:
    """A stage instance of a rerun or of a map carries its number."""
    key = attrs.evolve(KEY, generation=2, item=31)
    assert Teller().tell(event(1, EventType.STAGE_READY, key=key)).subject == "ship #2 [31]"


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        (EventType.STAGE_READY, {"status": StageStatus.READY}, "ready for 3.0 s; waits for a worker"),
        (
            EventType.STAGE_STARTED,
            {"status": StageStatus.RUNNING, "worker": WORKER, "lease_until": START + timedelta(seconds=8)},
            "running for 3.0 s; on worker-6789ab, lease ends in 5.0 s",
        ),
        (
            EventType.STAGE_STARTED,
            {"status": StageStatus.RUNNING, "worker": WORKER, "lease_until": START + timedelta(seconds=1)},
            "running for 3.0 s; on worker-6789ab, lease ended 2.0 s ago",
        ),
        (
            EventType.STAGE_SUSPENDED,
            {"status": StageStatus.SUSPENDED, "due_at": START + timedelta(seconds=5)},
            "suspended for 3.0 s; next poll in 2.0 s",
        ),
    ],
)
def test_what_a_live_stage_waits_for_is_told(kind: EventType, change: dict[str, Any], words: str) -> None:
    """A live stage says what it is, since when, and what it waits for."""
    teller = Teller()
    teller.tell(event(1, kind))
    stage = StageInstance(
        key=KEY,
        status=StageStatus.READY,
        attempt=0,
        max_attempts=3,
        epoch=1,
        worker=None,
        output=None,
        failure=None,
        due_at=None,
        lease_until=None,
        started_at=None,
        finished_at=None,
        metrics={},
        superseded=False,
    )
    now = START + timedelta(seconds=3)
    assert waits([attrs.evolve(stage, **change)], teller, now=now) == [("ship", words)]
    assert waits([attrs.evolve(stage, status=StageStatus.COMPLETED)], teller, now=now) == []
