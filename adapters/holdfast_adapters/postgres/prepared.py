"""A change-set made ready before it is handed in, so that nothing is encoded while row locks are held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

from holdfast.change import Change, NewJob, NewWait, Park, Step
from holdfast.entities.keyed import KeyScope
from holdfast.entities.payload import Payload
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.entities.timer import START
from holdfast.events import NewEvent
from holdfast_adapters.postgres import encoding
from holdfast_adapters.postgres.runstate import PAUSED, RunState

_READY: Final = StageStatus.READY.value
_RUNNING: Final = StageStatus.RUNNING.value
_WAITING: Final = StageStatus.WAITING.value

#: A stage instance within its run: stage id, generation, turn, item.
JobKey = tuple[str, int, int, int]
#: A wait within its run.
WaitKey = tuple[JobKey, str]
#: A gate within its run: gate, generation, turn.
GateKey = tuple[str, int, int]
#: Tenant, workflow, stage and key.
Scope = tuple[str, str, str, str]
#: An event without run, number and instant: type, stage id, generation, turn, item, data.
EventText = tuple[str, str | None, int | None, int | None, int | None, str | None]

_NO_JOB: Final = (None, None, None, None)
_NO_PAYLOAD: Final = (None, None, None, None)
_NOTHING: Final = frozenset[str]()


class Prepared:
    """A change-set with everything encoded that needs no look at the store."""

    __slots__ = (
        "answers",
        "change",
        "events",
        "gates",
        "granted",
        "has_more",
        "job",
        "logs",
        "looks_further",
        "may_close",
        "moves",
        "notes",
        "opens",
        "operations",
        "parent",
        "parks",
        "run_id",
        "scope",
        "stands_alone",
        "statuses",
    )

    def __init__(self, change: Change) -> None:
        self.change = change
        self.run_id = change.run_id
        fence = change.fence
        #: The fenced job.
        self.job = None if fence is None else job_key(fence.key)
        self.statuses = _status_texts(change.require.statuses)
        self.events = [event_text(event) for event in change.step.events]
        #: The parent of the run it creates.
        self.parent = None if change.create is None else change.create.header.parent_id
        #: The gates that its arrivals can reach.
        self.gates: Sequence[GateKey] = ()
        if change.step.arrivals:
            self.gates = [(rule.gate, rule.generation, rule.turn) for rule in change.rules.values()]
        #: Whether its run may end with it, or begin to be undone.
        self.may_close = _may_close(change.step) or (
            bool(change.step.arrivals) and any(_may_close(step) for step in _steps(change))
        )
        #: Whether its run may end with it, be let go or come back, or is created: what others of a singleton key heed.
        self.moves = self.may_close or change.step.run is not None or change.create is not None or change.fired == START
        #: The queues of the jobs that it may make and that ask for a grant.
        self.granted = _granted(change)
        #: Waits it wants to end.
        self.answers: Sequence[WaitKey] = [(job_key(each.key), each.name) for each in change.answers]
        #: Waits of the fenced job that may be there already.
        self.parks: Sequence[WaitKey] = ()
        if isinstance(change.settle, Park) and self.job is not None:
            self.parks = [(self.job, wait.name) for wait in change.settle.waits]
        #: Names of waits that it may open.
        self.opens: Sequence[str] = ()
        if change.step.arrivals or isinstance(change.settle, Park) or any(job.waits for job in change.step.jobs):
            self.opens = [wait.name for wait in _waits(change)]
        #: The key it wants.
        self.scope = None if change.reservation is None else scope_key(change.reservation.scope)
        #: Whether nothing else of its run may have been judged in the same wave before it.
        self.stands_alone = bool(change.supersede or change.messages)
        #: Whether there is anything that a plain step does not have.
        self.has_more = bool(
            change.operations or change.annotations or change.logs or change.artifacts or change.checkpoints
        )
        #: Whether it is judged by more than its run and its fenced job.
        self.looks_further = bool(
            change.fired is not None
            or change.step.arrivals
            or change.operations
            or change.answers
            or change.messages
            or change.tokens
            or self.opens
            or self.scope is not None
            or change.patch is not None
        )
        #: Identities of the operations it records.
        self.operations: Sequence[tuple[str, str, str]] = ()
        self.notes: Sequence[tuple[Any, ...]] = ()
        self.logs: Sequence[tuple[Any, ...]] = ()
        if self.has_more:
            self._prepare_more()

    def _prepare_more(self) -> None:
        change = self.change
        self.operations = [(record.tenant, record.scope, record.key) for record in change.operations]
        self.notes = [
            (
                each.name,
                encoding.encode(each.value),
                *(job_key(each.key) if each.key else _NO_JOB),
                each.attempt,
                each.actor,
            )
            for each in change.annotations
        ]
        self.logs = [
            (
                *job_key(each.key),
                each.attempt,
                each.level,
                encoding.line_text(each.message),
                encoding.mapping_text(each.data),
                encoding.micros(each.at),
            )
            for each in change.logs
        ]


def _may_close(step: Step) -> bool:
    return step.run is not None and step.run.closes


def _steps(change: Change) -> Iterator[Step]:
    """Yield the steps that may follow from the change-set."""
    yield change.step
    if change.step.arrivals:
        for rule in change.rules.values():
            yield from (rule.opens, rule.skips, rule.fails)


def _jobs(change: Change) -> Iterator[NewJob]:
    """Yield the jobs that the change-set may make."""
    for step in _steps(change):
        yield from step.jobs
    if change.step.arrivals:
        for rule in change.rules.values():
            if rule.refill is not None:
                yield rule.refill.job


def _granted(change: Change) -> frozenset[str]:
    jobs = _jobs(change) if change.step.arrivals else change.step.jobs
    return frozenset([job.queue for job in jobs if job.grant is not None]) if jobs else _NOTHING


def _waits(change: Change) -> Iterator[NewWait]:
    """Yield the waits that the change-set may open."""
    if isinstance(change.settle, Park):
        yield from change.settle.waits
    for job in _jobs(change):
        if job.waits:
            yield from job.waits


@cache
def _status_texts(statuses: frozenset[RunStatus]) -> frozenset[str]:
    return frozenset(status.value for status in statuses)


def job_key(key: StageKey) -> JobKey:
    """Return a stage instance within its run."""
    return (key.stage_id, key.generation, key.turn, key.item)


def scope_key(scope: KeyScope) -> Scope:
    """Return where a key is unique, as it is stored."""
    return (scope.tenant, scope.workflow_id, scope.stage_id, scope.key)


def event_text(event: NewEvent) -> EventText:
    """Return the columns of an event that the caller knows."""
    key = event.key
    data = encoding.mapping_text(event.data) if event.data else None
    # Not `value`, which is a property: of each stage there are two events.
    kind: str = event.type._value_
    if key is None:
        return (kind, None, None, None, None, data)
    return (kind, key.stage_id, key.generation, key.turn, key.item, data)


def payload_columns(payload: Payload | None) -> tuple[Any, ...]:
    """Return the columns of a payload: text, digest, size, blob."""
    return _NO_PAYLOAD if payload is None else (payload.text, payload.digest, payload.size, payload.blob)


def job_row(job: NewJob, run: RunState, *, now: int, waits: bool, withheld: bool) -> tuple[Any, ...]:
    """Return the columns of a new job, in the order of `writes.INSERT_JOB`.

    Args:
        job: The job.
        run: Its run.
        now: The instant of the commit.
        waits: Whether it is WAITING.
        withheld: Whether it is not granted although it asks for it.
    """
    grant = job.grant
    key = (run.n, *job_key(job.key))
    kind = (job.workflow_id, job.workflow_version, job.queue, job.priority)
    past = (encoding.names_text(job.via), job.depth, job.origin, job.guarded, run.tenant, run.flow_key, job.weight)
    if waits:
        return (*key, _WAITING, *kind, None, None, 0, 0, job.max_attempts, None, None, None, *past, True)
    if grant is None or withheld:
        delay = encoding.span(job.delay)
        due = now + delay
        dues = (None, due) if run.status == PAUSED else (due, None)
        return (*key, _READY, *kind, *dues, 0, 0, job.max_attempts, None, None, None, *past, delay <= 0)
    until = now + encoding.span(grant.ttl)
    return (*key, _RUNNING, *kind, None, None, 1, 1, job.max_attempts, grant.worker, until, now, *past, True)
