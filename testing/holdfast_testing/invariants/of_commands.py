"""What the answers to commands must keep to: same run, no repetition, durable, and always to be found out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from holdfast.codec import converter, from_json
from holdfast.command import Command
from holdfast.commands.run_cancel import RunCancel, RunCancelResult
from holdfast.commands.run_create import RunCreate
from holdfast.commands.run_pause import RunPause
from holdfast.commands.run_rerun_from import RunRerunFrom, RunRerunFromResult
from holdfast.commands.run_resume import Resumed, RunResume
from holdfast.commands.run_retry import RunRetry, RunRetryResult
from holdfast.commands.run_unpause import RunUnpause
from holdfast.creating import RunCreated
from holdfast.entities.operation import OPERATION_SCOPE, OperationRecord
from holdfast.errors import HoldfastError
from holdfast.events import Event, EventType
from holdfast.ports.persistence import Persistence
from holdfast_testing.invariants.history import History
from holdfast_testing.invariants.ledger import Identity, Ledger, Violation


@attrs.frozen(kw_only=True)
class Books:
    """What the store and the ledger say of commands, side by side."""

    runs: Sequence[History]
    ledger: Ledger
    #: The stored outcome of every identity that a client has used.
    records: dict[Identity, OperationRecord]
    #: Payloads that are kept for waits to come: run, name of the wait, digest.
    kept: frozenset[tuple[str, str, str]]

    def run(self, run_id: str) -> History | None:
        """Return the run, if there is one."""
        return next((history for history in self.runs if history.run.id == run_id), None)

    def records_of(self, command: type[Command[Any]]) -> list[OperationRecord]:
        """Return the records of one kind of command."""
        return [record for record in self.records.values() if record.command == command.type]


def identities(command: Command[Any]) -> list[Identity]:
    """Return the identities by which the outcome of *command* is found again."""
    tenant = getattr(command, "tenant", "")
    named = (
        (OPERATION_SCOPE, getattr(command, "operation_id", None)),
        (command.type, getattr(command, "idempotency_key", None)),
    )
    return [(tenant, scope, key) for scope, key in named if key is not None]


async def open_books(runs: Sequence[History], ledger: Ledger, *, persistence: Persistence) -> Books:
    """Return the books as they stand now."""
    records: dict[Identity, OperationRecord] = {}
    for command in ledger.sent:
        for tenant, scope, key in identities(command):
            record = await persistence.find_operation(tenant=tenant, scope=scope, key=key)
            if record is not None:
                records[tenant, scope, key] = record
    return Books(runs=runs, ledger=ledger, records=records, kept=await _kept(runs, persistence))


async def _kept(runs: Sequence[History], persistence: Persistence) -> frozenset[tuple[str, str, str]]:
    found: set[tuple[str, str, str]] = set()
    for history in runs:
        for name in {event.data["name"] for event in history.of_type(EventType.RUN_MESSAGE_KEPT)}:
            message = await persistence.find_message(history.run.id, name)
            if message is not None:
                found.add((history.run.id, name, message.payload.digest))
    return frozenset(found)


def same_key_same_run(books: Books) -> Iterator[Violation]:
    """I12: all creates with one key give one run; another request under that key gives none."""

    def broken(key: Identity, found: str) -> Violation:
        return Violation(invariant="I12", promise="same key, same run", subject=f"key {key[2]!r}", found=found)

    for identity, commands in _by_identity(books.ledger, RunCreate).items():
        results = [result for command in commands for result in books.ledger.results(command)]
        run_ids = {result.run_id for result in results if isinstance(result, RunCreated)}
        if len(run_ids) > 1:
            yield broken(identity, f"it was answered with the runs {sorted(run_ids)}")
        named = {
            history.run.id
            for history in books.runs
            if identity[1] != OPERATION_SCOPE
            and (history.run.header.tenant, history.run.idempotency_key) == (identity[0], identity[2])
        }
        if len(named | run_ids) > 1:
            yield broken(identity, f"the runs {sorted(named | run_ids)} came of it")
        requests = [command for command in commands if books.ledger.results(command)]
        if any(_request(command) != _request(requests[0]) for command in requests):
            yield broken(identity, "two different requests were both accepted under it")


def retries_do_not_repeat(books: Books) -> Iterator[Violation]:
    """I13: equal commands with an identity are answered alike, and every effect is asked for by an identity."""
    ledger = books.ledger
    for command in _distinct(ledger.sent):
        results = ledger.results(command)
        if identities(command) and any(result != results[0] for result in results):
            yield Violation(
                invariant="I13",
                promise="a retried command does not repeat",
                subject=f"{command.type} {identities(command)}",
                found=f"it was answered with {results}",
            )


def acknowledged_is_durable(books: Books) -> Iterator[Violation]:
    """I14: whatever a client was told is so."""
    for answer in books.ledger.answers:
        lacking = None if isinstance(answer.result, HoldfastError) else _lacking(answer.command, answer.result, books)
        if lacking is not None:
            yield Violation(
                invariant="I14",
                promise="acknowledged means durable",
                subject=f"{answer.command.type} {identities(answer.command)}",
                found=f"it was answered with {answer.result}, but {lacking}",
            )


def outcomes_can_be_found_out(books: Books) -> Iterator[Violation]:
    """I15: a look-up by the command's identity says done if and only if it is done, and keeps saying so."""

    def broken(subject: str, found: str) -> Violation:
        return Violation(invariant="I15", promise="an unknown outcome can be found out", subject=subject, found=found)

    for identity, record in books.ledger.looked_up.items():
        if books.records.get(identity) != record:
            yield broken(f"key {identity}", f"it was found done as {record}, and later {books.records.get(identity)}")
    created = {record.run_id for record in books.records_of(RunCreate)}
    for run_id in created - {history.run.id for history in books.runs}:
        yield broken(f"run {run_id}", "a look-up says that it was created, and it does not exist")
    for history in books.runs:
        run_id = history.run.id
        if run_id not in created and history.run.header.parent_id is None:
            yield broken(f"run {run_id}", "it exists, and the look-up of every create says not done")
        for what, command, happened in _doings(history):
            # A rerun may have two identities; each effect has a generation of its own in its result.
            done = {
                record.result if command in {RunRerunFrom, RunRetry} else record.key
                for record in books.records_of(command)
                if _is_done(record, run_id)
            }
            # What was asked for without an identity cannot be looked up.
            nameless = any(type(one) is command and not identities(one) for one in books.ledger.sent)
            if len(happened) != len(done) and not (nameless and len(happened) > len(done)):
                yield broken(f"run {run_id}", f"{what} happened {len(happened)} times, look-ups say {len(done)} times")


def _doings(history: History) -> Iterator[tuple[str, type[Command[Any]], list[Event]]]:
    """Return what commands alone bring about, with the events that tell of it."""
    closed = history.of_type(EventType.RUN_CANCELLED, EventType.RUN_COMPENSATING)
    cancelled = [event for event in closed if _is_cancel(event, history)]
    yield "cancelling", RunCancel, cancelled
    yield "a rerun", RunRerunFrom, history.of_type(EventType.RUN_RERUN)
    yield "a retry", RunRetry, history.of_type(EventType.RUN_RETRIED)
    yield "a pause", RunPause, history.of_type(EventType.RUN_PAUSED)
    yield "the end of a pause", RunUnpause, history.of_type(EventType.RUN_UNPAUSED)
    resumed = history.of_type(EventType.STAGE_RESUMED, EventType.RUN_MESSAGE_KEPT)
    yield "a resume", RunResume, [one for one in resumed if not one.data.get("early") and "child" not in one.data]


def _is_cancel(event: Event, history: History) -> bool:
    """Return whether the event tells that somebody cancelled the run by a command made for that."""
    # Its parent does it too, and a run that takes its place; and undoing ends so.
    if event.data.get("reason", "").startswith(("Its parent", "Replaced by")):
        return False
    if event.type is EventType.RUN_COMPENSATING:
        return bool(event.data["because"] == "cancelled")
    before = [
        one for one in history.of_type(EventType.RUN_COMPENSATING, EventType.RUN_RERUN) if one.number < event.number
    ]
    return not before or before[-1].type is EventType.RUN_RERUN


def _is_done(record: OperationRecord, run_id: str) -> bool:
    """Return whether the record is that of a command which changed the run."""
    if record.run_id != run_id:
        return False
    told = from_json(record.result)
    word = {RunCancel.type: "cancelled", RunPause.type: "paused", RunUnpause.type: "unpaused"}.get(record.command)
    if record.command == RunResume.type:
        return bool(told["outcome"] != Resumed.ANSWERED_BEFORE.value)
    return True if word is None else bool(told[word])


def _lacking(command: Command[Any], result: object, books: Books) -> str | None:
    """Return what is not so although *result* says it."""
    if isinstance(result, RunCreated | RunRerunFromResult | RunRetryResult):
        history = books.run(result.run_id)
        if history is None:
            return "there is no such run"
        if not isinstance(result, RunCreated) and result.generation not in history.redone():
            return f"the run has the generations {sorted(history.redone())}"
    elif isinstance(command, RunCancel) and isinstance(result, RunCancelResult) and result.cancelled:
        history = books.run(command.run_id)
        if history is None or not next(some for _, kind, some in _doings(history) if kind is RunCancel):
            return "the run was never cancelled"
    for identity in identities(command):
        record = books.records.get(identity)
        if record is not None and from_json(record.result) != converter.unstructure(result):
            return f"its look-up says {record.result}"
    return None


def _by_identity(ledger: Ledger, kind: type[RunCreate]) -> dict[Identity, list[RunCreate]]:
    found: dict[Identity, list[RunCreate]] = {}
    for command in _distinct(ledger.sent):
        if isinstance(command, kind):
            for identity in identities(command):
                found.setdefault(identity, []).append(command)
    return found


def _request(command: RunCreate) -> RunCreate:
    """Return *command* without its identities: what is asked for."""
    return attrs.evolve(command, operation_id=None, idempotency_key=None, annotations={})


def _distinct(commands: Sequence[Command[Any]]) -> list[Command[Any]]:
    # Commands hold values that need not be hashable.
    found: list[Command[Any]] = []
    for command in commands:
        if command not in found:
            found.append(command)
    return found
