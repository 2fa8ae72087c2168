"""What waits and timers must keep to: ended once, never early, and nothing lost that was accepted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from holdfast.codec import converter, from_json
from holdfast.commands.run_resume import Resumed, RunResume, RunResumeResult
from holdfast.entities.stage import StageKey
from holdfast.entities.wait import WaitStatus
from holdfast.events import Event, EventType
from holdfast_testing.invariants.history import RUN_BEGINS_AGAIN, History
from holdfast_testing.invariants.ledger import Ledger, Violation
from holdfast_testing.invariants.of_commands import Books

_ENDS = {EventType.STAGE_RESUMED: WaitStatus.RESOLVED, EventType.STAGE_WAIT_EXPIRED: WaitStatus.EXPIRED}
#: The code of a run that has taken longer than its workflow allows.
_RUN_TIMEOUT = "RUN_TIMEOUT"


def waits_end_once(history: History, _: Ledger) -> Iterator[Violation]:
    """I23: a wait is answered or reaches its limit once, as its record and its one event say."""

    def broken(key: StageKey, name: str, found: str) -> Violation:
        return Violation(invariant="I23", promise="a wait ends once", subject=f'wait "{name}" of {key}', found=found)

    for (key, name), wait in history.seen.waits.items():
        ended = [event for event in history.about(key, *_ENDS) if event.data["name"] == name]
        if len(ended) > 1:
            yield broken(key, name, f"it ended {len(ended)} times")
        if wait.status is WaitStatus.OPEN and (ended or history.run.status.is_terminal):
            yield broken(key, name, f"it is OPEN after {len(ended)} ends in a run that is {history.run.status.value}")
        is_known = wait.status in {WaitStatus.RESOLVED, WaitStatus.EXPIRED}
        if is_known and (not ended or _ENDS[ended[0].type] is not wait.status):
            yield broken(
                key, name, f"it is {wait.status.value}, and its events say {[one.type.value for one in ended]}"
            )
        if (wait.payload is not None) != (wait.status is WaitStatus.RESOLVED):
            yield broken(key, name, f"it is {wait.status.value} with the payload {wait.payload}")
    for event in history.events:
        is_end = event.type in _ENDS and event.key is not None
        if is_end and (event.key, event.data["name"]) not in history.seen.waits:
            yield broken(event.key or StageKey(run_id="", stage_id=""), event.data["name"], "it ended and is not there")


def nothing_is_early(history: History, _: Ledger) -> Iterator[Violation]:
    """I21: what was to happen after some time has not happened before, and what fires fires once."""

    def broken(event: Event, early: timedelta) -> Violation:
        found = f"event {event.number} {event.type.value} {event.key or ''} came {early} early"
        subject = f"run {history.run.id}"
        return Violation(invariant="I21", promise="timers are never early", subject=subject, found=found)

    due: dict[object, datetime] = {}
    for event in history.events:
        for what, delay in _set(event, history):
            due[what] = event.at + delay
        for what in _fired(event):
            if what in due and event.at < due[what]:
                yield broken(event, due[what] - event.at)
            due.pop(what, None)


def _set(event: Event, history: History) -> Iterator[tuple[object, timedelta]]:
    """Return what the event says is to happen, and after how long."""
    data = event.data
    if event.type is EventType.RUN_CREATED and "startInSeconds" in data:
        yield "start", timedelta(seconds=data["startInSeconds"])
    if event.type is EventType.RUN_STARTED or event.type in RUN_BEGINS_AGAIN:
        timeout = None if history.definition is None else history.definition.timeout
        if timeout is not None:
            yield _RUN_TIMEOUT, timeout
    if event.type in {EventType.STAGE_RETRYING, EventType.STAGE_KEY_AWAITED}:
        yield event.key, timedelta(seconds=data["delaySeconds"])
    for wait in data.get("waits", ()):
        there = None if event.key is None else history.seen.waits.get((event.key, wait["name"]))
        # Whoever parks again says again what was open before, whose limit stands.
        if there is not None and "limitSeconds" in wait and there.opened_at == event.at:
            yield (event.key, wait["name"]), timedelta(seconds=wait["limitSeconds"])


def _fired(event: Event) -> Iterator[object]:
    """Return what the event says has happened."""
    if event.type in {EventType.RUN_DUE, EventType.RUN_STARTED}:
        yield "start"
    if event.type is EventType.RUN_FAILED and event.data.get("code") == _RUN_TIMEOUT:
        yield _RUN_TIMEOUT
    if event.type is EventType.STAGE_STARTED:
        yield event.key
    if event.type is EventType.STAGE_WAIT_EXPIRED:
        yield event.key, event.data["name"]


def accepted_is_not_lost(books: Books) -> Iterator[Violation]:
    """I23: a payload that was accepted is in the wait or kept for it, and no other was accepted beside it."""
    accepted: dict[tuple[str, str], set[str]] = {}
    for command, result in _accepted(books):
        accepted.setdefault((result.run_id, result.name), set()).add(result.digest)
        history = books.run(result.run_id)
        lacking = "there is no such run" if history is None else _lacking(history, result, books)
        if lacking is not None:
            yield Violation(
                invariant="I23",
                promise="an accepted payload is never lost",
                subject=f"{command.type} {command.operation_id}",
                found=f"it was answered with {result}, but {lacking}",
            )
    for (run_id, name), digests in accepted.items():
        history = books.run(run_id)
        if len(digests) > 1 and history is not None and history.run.generation == 1:
            yield Violation(
                invariant="I23",
                promise="a wait takes one payload",
                subject=f'wait "{name}" of run {run_id}',
                found=f"{len(digests)} different ones were accepted",
            )


def _accepted(books: Books) -> list[tuple[RunResume, RunResumeResult]]:
    """Return every resume that was accepted, by its answer or by its look-up."""
    found = [
        (answer.command, answer.result)
        for answer in books.ledger.answers
        if isinstance(answer.command, RunResume) and isinstance(answer.result, RunResumeResult)
    ]
    said = {command.operation_id for command, _ in found}
    for record in books.records_of(RunResume):
        if record.key not in said:
            result = converter.structure(from_json(record.result), RunResumeResult)
            found.append((RunResume(operation_id=record.key), result))
    return [one for one in found if one[1].outcome is not Resumed.ANSWERED_BEFORE]


def _lacking(history: History, result: RunResumeResult, books: Books) -> str | None:
    """Return what is not so although *result* says it."""
    waits = [wait for (_, name), wait in history.seen.waits.items() if name == result.name]
    told = history.of_type(EventType.STAGE_RESUMED, EventType.RUN_MESSAGE_KEPT)
    if not any(event.data["name"] == result.name for event in told):
        return "no event tells of it"
    # A rerun forgets what was answered in what it does again.
    if history.run.generation > 1 or any(wait.status is WaitStatus.RESOLVED for wait in waits):
        digests = {wait.payload.digest for wait in waits if wait.payload is not None}
        wrong = digests and result.digest not in digests and history.run.generation == 1
        return f"the wait holds {sorted(digests)}" if wrong else None
    if (history.run.id, result.name, result.digest) in books.kept:
        return None
    # What is kept when a run closes, or a wait closes unasked, is of no use to anybody any more.
    open_waits = [wait for wait in waits if wait.status is not WaitStatus.CLOSED]
    if open_waits or not history.run.status.is_terminal:
        return f"its waits are {[wait.status.value for wait in waits]}, and no message is kept"
    return None if result.outcome is Resumed.KEPT else "the wait is not RESOLVED"
