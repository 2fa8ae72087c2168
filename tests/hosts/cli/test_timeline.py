"""The timeline in words, for every kind of event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.events import Event, EventType
from holdfast_hosts.cli.rendering.event_words import Teller
from holdfast_hosts.cli.rendering.folded import Fold, Folder, Row, number_of
from holdfast_hosts.cli.rendering.timeline import line, timeline_table, waits

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
        (
            EventType.STAGE_COMPLETED,
            {"attempt": 1, "edge": "ship>publish", "because": "r.sure"},
            "completed in 2.0 s → publish because r.sure",
        ),
        (
            EventType.STAGE_COMPLETED,
            {"attempt": 1, "edge": "ship>label~split+1#2", "because": "otherwise"},
            "completed in 2.0 s → map label and 1 more because nothing else matched",
        ),
        (
            EventType.STAGE_COMPLETED,
            {"attempt": 1, "edge": "ship>~end", "because": "timeout"},
            "completed in 2.0 s → the end because nobody answered in time",
        ),
        (
            EventType.STAGE_COMPLETED,
            {"attempt": 1, "edge": "", "because": "no edge matches"},
            "completed in 2.0 s, but there is no way on: no edge matches",
        ),
        (EventType.STAGE_COMPLETED, {"cached": True}, "completed: cached, the result is an earlier one"),
        (EventType.STAGE_COMPLETED, {"items": 31}, "split into 31 items"),
        (EventType.STAGE_SKIPPED, {}, "skipped, no way led here"),
        (
            EventType.STAGE_WAITING,
            {
                "waits": [
                    {"name": "approval", "kind": "PAYLOAD", "reason": "is it\nright?", "limitSeconds": 604_800.0},
                    {"name": "sleep:night", "kind": "SLEEP", "limitSeconds": 7_200.0},
                    {"name": "child:r2", "kind": "CHILD"},
                ]
            },
            'waits for "approval" (is it right?), at most 7 d, sleep "night" for 2 h, child run r2',
        ),
        (EventType.STAGE_RESUMED, {"name": "approval", "by": "ada"}, '"approval" answered by ada'),
        (
            EventType.STAGE_RESUMED,
            {"name": "child:r2", "child": "r2", "status": "FAILED"},
            "child run r2 failed",
        ),
        (
            EventType.STAGE_RESUMED,
            {"name": "approval", "early": True},
            'goes on at once: "approval" was there already',
        ),
        (EventType.STAGE_WAIT_EXPIRED, {"name": "approval"}, 'nobody answered "approval" in time'),
        (EventType.STAGE_WAIT_EXPIRED, {"name": "sleep:night"}, 'sleep "night" is over'),
        (
            EventType.STAGE_KEY_AWAITED,
            {"holder": "r2", "delaySeconds": 1.0},
            "its key is held by run r2; looks again in 1.0 s",
        ),
        (
            EventType.STAGE_CHILD_STARTED,
            {"name": "bill", "child": "r2", "workflow": "billing@1"},
            'started child "bill": run r2 of billing@1',
        ),
        (EventType.STAGE_COMPENSATED, {"attempt": 1}, "undone"),
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
        (
            EventType.RUN_CREATED,
            {"workflowId": "w", "workflowVersion": "2", "parentId": "r1", "startInSeconds": 7200.0},
            "created by run r1 for w version 2; it begins in 2 h",
        ),
        (EventType.RUN_DUE, {}, "its time has come, waits for a worker"),
        (EventType.RUN_RETRIED, {"generation": 2, "stages": ["ship", "~undo"]}, "retried, does again: ship, undo"),
        (EventType.RUN_RETRIED, {"generation": 2, "stages": []}, "retried, does again: what had not been done"),
        (EventType.RUN_PAUSED, {}, "paused"),
        (EventType.RUN_PAUSED, {"reason": "lunch"}, "paused: lunch"),
        (EventType.RUN_UNPAUSED, {}, "goes on"),
        (
            EventType.RUN_COMPENSATING,
            {"because": "failed", "stage": "ship", "code": "X", "message": "m"},
            'failed because "ship" failed; what its stages did is undone',
        ),
        (
            EventType.RUN_COMPENSATING,
            {"because": "cancelled", "reason": "enough"},
            "cancelled: enough; what its stages did is undone",
        ),
        (EventType.RUN_COMPENSATING, {"because": "retried"}, "retried; what its stages did is undone"),
        (EventType.RUN_MESSAGE_KEPT, {"name": "ok", "by": "ada"}, 'answer to "ok" by ada came early and is kept'),
        (
            EventType.RUN_FAILED,
            {"stage": "ship", "code": "NO_EDGE", "message": "no way"},
            "failed: no way (NO_EDGE)",
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


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"generation": 2, "item": 31}, "ship #2 [31]"),
        ({"turn": 1}, "ship round 2"),
        ({"turn": (2 << 20) | 3}, "ship round 3.4"),
        ({"stage_id": "~undo"}, "undo"),
        ({"stage_id": "label~split"}, "map label"),
        ({"stage_id": "label~join2"}, "join label 2"),
        ({"stage_id": "report~branch"}, "choice after report"),
        ({"stage_id": "report~branch~end"}, "end of choice after report"),
        ({"stage_id": "label~novelty"}, "novelty label"),
    ],
)
def test_instances_of_a_stage_are_told_apart(changes: dict[str, Any], subject: str) -> None:
    """A stage instance carries generation, round and item, and what a compiler put in is told in words."""
    key = attrs.evolve(KEY, **changes)
    assert Teller().tell(event(1, EventType.STAGE_READY, key=key)).subject == subject


def test_time_spent_waiting_is_told_when_it_ends() -> None:
    """An answer, a limit and the end of a pause say how long they took to come."""
    teller = Teller()
    teller.tell(event(1, EventType.STAGE_WAITING, waits=[{"name": "ok", "kind": "PAYLOAD"}]))
    assert teller.tell(event(2, EventType.STAGE_RESUMED, after=3, name="ok")).words == '"ok" answered after 3.0 s'
    teller.tell(event(3, EventType.RUN_PAUSED, key=None, after=4))
    assert teller.tell(event(4, EventType.RUN_UNPAUSED, key=None, after=6)).words == "goes on after 2.0 s"


def item(number: int, kind: EventType, index: int, *, stage_id: str = "label", **data: Any) -> Event:
    """Return an event of an item of a map."""
    return event(number, kind, key=StageKey(run_id="r", stage_id=stage_id, item=index), after=number / 1000, **data)


def map_of(size: int) -> list[Event]:
    """Return the events of a run that is one map over *size* items, all of which execute at once."""
    split, join = (StageKey(run_id="r", stage_id=f"label~{word}") for word in ("split", "join"))
    facts = [
        event(1, EventType.RUN_STARTED, key=None),
        event(2, EventType.STAGE_STARTED, key=split, attempt=1, worker=WORKER),
        event(3, EventType.STAGE_COMPLETED, key=split, attempt=1, items=size),
    ]
    facts += [item(4 + one, EventType.STAGE_STARTED, one, attempt=1, worker=WORKER) for one in range(size)]
    facts += [item(4 + size + one, EventType.STAGE_COMPLETED, one, attempt=1) for one in range(size)]
    last = 4 + 2 * size
    facts.append(event(last, EventType.STAGE_STARTED, key=join, after=last / 1000, attempt=1, worker=WORKER))
    facts.append(event(last + 1, EventType.STAGE_COMPLETED, key=join, after=last / 1000, attempt=1))
    facts.append(event(last + 2, EventType.RUN_COMPLETED, key=None, after=last / 1000))
    return facts


def folded(facts: list[Event], *, full: bool = False) -> list[Row]:
    """Return the rows of *facts*."""
    folder = Folder(full=full)
    return [*(row for fact in facts for row in folder.fold(fact)), *folder.rest()]


def test_a_large_map_is_one_line() -> None:
    """The events of 10,000 items are one row with counts; what only hands values on has none; --full shows all."""
    facts = map_of(10_000)
    rows = folded(facts)
    assert [row.subject for row in rows] == ["run", "map label", "label [0–9,999]", "run"]
    fold = rows[2]
    assert isinstance(fold, Fold)
    assert (fold.words, fold.events, number_of(fold)) == ("items: 10,000 completed", 20_000, 4)
    assert len(folded(facts, full=True)) == len(facts)


def test_a_small_map_is_told_item_by_item() -> None:
    """The items of a map that is short enough have their rows."""
    rows = folded(map_of(3))
    assert [row.subject for row in rows][2:-1] == ["label [0]", "label [1]", "label [2]"] * 2


def test_trouble_within_a_map_is_counted_and_the_first_failure_told() -> None:
    """Failed tries and failed items are counted, and the first item that failed says why."""
    facts = map_of(20)[:-3]
    facts.append(item(100, EventType.STAGE_RETRYING, 4, attempt=1, code="X", message="m", delaySeconds=1.0))
    facts.append(item(101, EventType.STAGE_FAILED, 7, attempt=2, code="X", message="broken"))
    facts.append(item(102, EventType.STAGE_FAILED, 8, attempt=2, code="X", message="broken too"))
    row = folded(facts)[-1]
    assert row.words == (
        "items: 20 completed, 2 failed for good, 1 failed try; first [7] failed for good on try 2: broken (X)"
    )


def test_maps_side_by_side_are_a_line_each() -> None:
    """Items of two maps whose events alternate do not break up each other's line."""
    facts = [
        item(2 * one + side, EventType.STAGE_COMPLETED, one, stage_id=stage_id, attempt=1)
        for one in range(1, 30)
        for side, stage_id in enumerate(("left", "right"))
    ]
    assert [row.subject for row in folded(facts)] == ["left [1–29]", "right [1–29]"]


def test_what_happens_between_items_stands_between_them() -> None:
    """An event of another stage ends the line of the items before it, so that the order stays true."""
    facts = [item(one, EventType.STAGE_COMPLETED, one, attempt=1) for one in range(1, 21)]
    facts.append(event(21, EventType.STAGE_COMPLETED, attempt=1))
    facts += [item(one, EventType.STAGE_COMPLETED, one, attempt=1) for one in range(22, 42)]
    rows = folded(facts)
    assert [row.subject for row in rows] == ["label [1–20]", "ship", "label [22–41]"]
    assert [number_of(row) for row in rows] == [1, 21, 22]


def test_a_choice_is_told_though_its_stage_was_put_in() -> None:
    """Of a stage that the compiler put in only the way it led on is told."""
    key = StageKey(run_id="r", stage_id="report~branch")
    facts = [
        event(1, EventType.STAGE_READY, key=key),
        event(2, EventType.STAGE_STARTED, key=key, attempt=1, worker=WORKER),
        event(3, EventType.STAGE_COMPLETED, key=key, attempt=1, edge="report~branch>ask", because="r.sure"),
    ]
    (row,) = folded(facts)
    assert row.words.endswith("→ ask because r.sure")


def test_rows_are_shown_in_tables_and_lines() -> None:
    """A folded row is shown like any other, with how long it took and how many events it stands for."""
    rows = folded(map_of(50))
    texts = [line(row, utc=True).plain for row in rows]
    assert "≡ items: 50 completed in 99 ms (100 events)" in texts[2]
    assert timeline_table(rows, utc=True).row_count == len(rows)


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
