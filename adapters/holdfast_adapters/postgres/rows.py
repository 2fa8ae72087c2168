"""Conversions between rows and entities; no row travels further than this file."""

from __future__ import annotations

from typing import Any, Final

from holdfast.entities.keyed import KeyedResult, KeyScope
from holdfast.entities.operation import OperationRecord
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Run, RunHeader, RunStatus
from holdfast.entities.stage import ExpiredLease, Lease, StageInstance, StageKey, StageStatus
from holdfast.entities.timer import Timer, TimerKind
from holdfast.entities.wait import Message, Token, Wait, WaitKind, WaitStatus
from holdfast.events import Event, EventType
from holdfast.ports.queries import Annotation, LogLine
from holdfast_adapters.postgres.encoding import decode, failure, instant, line, mapping, maybe_instant, names, state

Row = tuple[Any, ...]

#: What `run` reads, of run r and run_payload p.
RUN_COLUMNS: Final = """
    r.id, r.tenant, r.workflow_id, r.workflow_version, r.priority, p.input, p.input_digest, p.input_size, p.input_blob,
    p.config, r.parent, p.compensates, r.flow_key, r.status, r.version, r.generation, r.events, r.output_of, r.failure,
    p.idempotency_key, r.created_at, r.started_at, r.finished_at, r.held, r.singleton"""

#: What `header` reads, of run r and run_payload p; the first columns of `RUN_COLUMNS`.
HEADER_COLUMNS: Final = """
    r.id, r.tenant, r.workflow_id, r.workflow_version, r.priority, p.input, p.input_digest, p.input_size, p.input_blob,
    p.config, r.parent, p.compensates, r.flow_key"""
_HEADER_WIDTH: Final = 13


def header(row: Row) -> RunHeader:
    """Return the header that *row* begins with."""
    run_id, tenant, workflow_id, version, priority, text, digest, size, blob, config, parent, compensates, flow_key = (
        row[:_HEADER_WIDTH]
    )
    return RunHeader(
        id=run_id,
        tenant=tenant,
        workflow_id=workflow_id,
        workflow_version=version,
        priority=priority,
        input=Payload(text=text, digest=digest, size=size, blob=blob),
        config=config,
        parent_id=parent,
        compensates=compensates,
        concurrency_key=flow_key,
    )


def run(row: Row) -> Run:
    """Return the run of a row of `RUN_COLUMNS`."""
    status, version, generation, events, output_of, failed, key, created_at, started_at, finished_at, held, single = (
        row[_HEADER_WIDTH:]
    )
    return Run(
        header=header(row),
        status=RunStatus(status),
        version=version,
        generation=generation,
        events=events,
        output_of=names(output_of),
        failure=failure(failed),
        idempotency_key=key,
        created_at=instant(created_at),
        started_at=maybe_instant(started_at),
        finished_at=maybe_instant(finished_at),
        held=held,
        singleton=single,
    )


_KEY_WIDTH: Final = 4


def key(run_id: str, row: Row) -> StageKey:
    """Return the stage key that *row* begins with."""
    stage_id, generation, turn, item = row[:_KEY_WIDTH]
    return StageKey(run_id=run_id, stage_id=stage_id, generation=generation, turn=turn, item=item)


#: What `live_stage` reads of a job j.
JOB_COLUMNS: Final = """
    j.stage_id, j.generation, j.turn, j.item, j.status, j.attempt, j.max_attempts, j.epoch, j.worker, j.failure,
    coalesce(j.due_at, j.held_due_at), j.lease_until, j.started_at, j.via, j.depth, j.origin"""


JOB_WIDTH: Final = 16


def live_stage(run_id: str, row: Row) -> StageInstance:
    """Return the instance of a row of `JOB_COLUMNS`."""
    status, attempt, max_attempts, epoch, worker, failed, due, until, started, via, depth, origin = row[_KEY_WIDTH:]
    return StageInstance(
        key=key(run_id, row),
        status=StageStatus(status),
        attempt=attempt,
        max_attempts=max_attempts,
        epoch=epoch,
        worker=worker,
        output=None,
        failure=failure(failed),
        due_at=maybe_instant(due),
        lease_until=maybe_instant(until),
        started_at=maybe_instant(started),
        finished_at=None,
        metrics={},
        superseded=False,
        via=names(via),
        depth=depth,
        origin=origin,
    )


#: What `done_stage` reads of a stage s.
STAGE_COLUMNS: Final = """
    s.stage_id, s.generation, s.turn, s.item, s.status, s.attempt, s.max_attempts, s.epoch, s.worker, s.output,
    s.output_digest, s.output_size, s.output_blob, s.failure, s.started_at, s.finished_at, s.metrics, s.superseded,
    s.edge, s.via, s.depth, s.origin"""


def done_stage(run_id: str, row: Row) -> StageInstance:
    """Return the instance of a row of `STAGE_COLUMNS`."""
    status, attempt, max_attempts, epoch, worker = row[_KEY_WIDTH:9]
    failed, started, finished, metrics, superseded, edge, via, depth, origin = row[13:]
    return StageInstance(
        key=key(run_id, row),
        status=StageStatus(status),
        attempt=attempt,
        max_attempts=max_attempts,
        epoch=epoch,
        worker=worker,
        output=payload(row[9:13]),
        failure=failure(failed),
        due_at=None,
        lease_until=None,
        started_at=maybe_instant(started),
        finished_at=maybe_instant(finished),
        metrics=mapping(metrics),
        superseded=superseded,
        edge=edge,
        via=names(via),
        depth=depth,
        origin=origin,
    )


def payload(row: Row) -> Payload | None:
    """Return the payload of a row of text, digest, size and blob, None if there is none."""
    text, digest, size, blob = row
    return None if digest is None else Payload(text=text, digest=digest, size=size, blob=blob)


#: What `lease` reads of a job j, in front of `HEADER_COLUMNS`.
LEASE_COLUMNS: Final = """
    j.epoch, j.attempt, j.max_attempts, j.queue, j.status, j.state, j.give_up_at, j.via, j.depth, j.origin"""
LEASE_WIDTH: Final = 10
#: Positions of the queue and the status.
QUEUE, STATUS = 3, 4


def lease(row: Row, *, key: StageKey, worker: str, now: int) -> Lease:
    """Return the lease that has just been granted.

    Args:
        row: `LEASE_COLUMNS` as they are now, then `HEADER_COLUMNS`.
        key: The job.
        worker: Who got it.
        now: When.
    """
    epoch, attempt, max_attempts, queue, status, stored, give_up_at, via, depth, origin = row[:LEASE_WIDTH]
    return Lease(
        key=key,
        epoch=epoch,
        attempt=attempt,
        max_attempts=max_attempts,
        worker=worker,
        queue=queue,
        status=StageStatus(status),
        run=header(row[LEASE_WIDTH:]),
        state=state(stored),
        overdue=give_up_at is not None and give_up_at <= now,
        via=names(via),
        depth=depth,
        origin=origin,
    )


def expired(row: Row) -> ExpiredLease:
    """Return the lease of a row of run id, stage key, epoch, attempts, worker, status and guarded."""
    epoch, attempt, max_attempts, worker, status, guarded = row[1 + _KEY_WIDTH :]
    return ExpiredLease(
        key=key(row[0], row[1:]),
        epoch=epoch,
        attempt=attempt,
        max_attempts=max_attempts,
        worker=worker,
        status=StageStatus(status),
        guarded=guarded,
    )


def timer(row: Row) -> Timer:
    """Return the timer of a row of run id, id, kind and due_at."""
    run_id, name, kind, due_at = row
    return Timer(run_id=run_id, id=name, kind=TimerKind(kind), due_at=instant(due_at))


#: What `wait` reads of a wait w.
WAIT_COLUMNS: Final = """
    w.stage_id, w.generation, w.turn, w.item, w.name, w.kind, w.status, w.text, w.digest, w.size, w.blob, w.reason,
    w.actor, w.opened_at, w.due_at"""


def wait(run_id: str, row: Row) -> Wait:
    """Return the wait of a row of `WAIT_COLUMNS`."""
    name, kind, status = row[_KEY_WIDTH:7]
    reason, actor, opened_at, due_at = row[11:]
    return Wait(
        key=key(run_id, row),
        name=name,
        kind=WaitKind(kind),
        status=WaitStatus(status),
        payload=payload(row[7:11]),
        reason=reason,
        actor=actor,
        opened_at=instant(opened_at),
        due_at=maybe_instant(due_at),
    )


def token(row: Row) -> Token:
    """Return the token of a row of run id, name and whether it has expired."""
    run_id, name, expired = row
    return Token(run_id=run_id, name=name, expired=expired)


def message(run_id: str, row: Row) -> Message:
    """Return the message of a row of name, payload, actor and instant."""
    name, *kept, actor, at = row
    content = payload(tuple(kept))
    assert content is not None, "a message has a payload"
    return Message(run_id=run_id, name=name, payload=content, actor=actor, at=instant(at))


def keyed(row: Row) -> KeyedResult:
    """Return the result of a row of scope, fingerprint, run id and stage key of the holder, and payload."""
    tenant, workflow_id, stage_id, name, fingerprint, run_id = row[:6]
    return KeyedResult(
        scope=KeyScope(tenant=tenant, workflow_id=workflow_id, stage_id=stage_id, key=name),
        fingerprint=fingerprint,
        holder=key(run_id, row[6:]),
        output=payload(row[6 + _KEY_WIDTH :]),
    )


#: What `event` reads.
EVENT_COLUMNS: Final = "number, type, at, stage_id, generation, turn, item, data"


def event(run_id: str, row: Row) -> Event:
    """Return the event of a row of `EVENT_COLUMNS`."""
    number, kind, at, *_, data = row
    return Event(
        run_id=run_id,
        number=number,
        type=EventType(kind),
        at=instant(at),
        key=_maybe_key(run_id, row[3:]),
        data=mapping(data),
    )


def _maybe_key(run_id: str, row: Row) -> StageKey | None:
    return None if row[0] is None else key(run_id, row)


#: The instant that queries compare with: the first parameter for tests that bring a clock, else the database's own. It
#: stays the same within a statement, so that an index can be searched for it.
NOW: Final = "coalesce($1::bigint, (extract(epoch FROM now()) * 1000000)::bigint)"


#: The payload of run r, and the run of a row with its number. A query that cannot be flattened is carried out for each
#: row of what stands before it: the planner would else be free to begin with the other table if it took it for empty.
PAYLOAD: Final = "CROSS JOIN LATERAL (SELECT * FROM holdfast.run_payload q WHERE q.run = r.n OFFSET 0) p"
RUN_OF: Final = "CROSS JOIN LATERAL (SELECT * FROM holdfast.run x WHERE x.n = {0}.run OFFSET 0) r"


def select(text: str, **more: str) -> str:
    """Return a query with the names of groups of columns, such as ``{run}``, written out.

    Args:
        text: The query.
        more: Further parts by name.
    """
    return text.format(
        run=RUN_COLUMNS,
        header=HEADER_COLUMNS,
        job=JOB_COLUMNS,
        lease=LEASE_COLUMNS,
        stage=STAGE_COLUMNS,
        event=EVENT_COLUMNS,
        wait=WAIT_COLUMNS,
        now=NOW,
        payload=PAYLOAD,
        run_of_j=RUN_OF.format("j"),
        run_of_t=RUN_OF.format("t"),
        run_of_s=RUN_OF.format("s"),
        **more,
    )


def artifact(row: Row) -> Artifact:
    """Return the artifact of a row of name, blob, digest, size and media type."""
    name, blob, digest, size, media_type = row
    return Artifact(name=name, blob=blob, digest=digest, size=size, media_type=media_type)


def log_line(run_id: str, row: Row) -> LogLine:
    """Return the log line of a row of stage key, attempt, level, message, data and instant."""
    attempt, level, message, data, at = row[_KEY_WIDTH:]
    return LogLine(
        key=key(run_id, row),
        attempt=attempt,
        level=level,
        message=line(message),
        data=mapping(data),
        at=instant(at),
    )


def annotation(run_id: str, row: Row) -> Annotation:
    """Return the annotation of a row of name, value, stage key, attempt, actor and instant."""
    name, value = row[:2]
    attempt, actor, at = row[2 + _KEY_WIDTH :]
    return Annotation(
        run_id=run_id,
        name=name,
        value=decode(value),
        key=_maybe_key(run_id, row[2:]),
        attempt=attempt,
        actor=actor,
        at=instant(at),
    )


def operation(row: Row) -> OperationRecord:
    """Return the record of a row of tenant, scope, key, command, fingerprint, result and run id."""
    tenant, scope, key, command, fingerprint, result, run_id = row
    return OperationRecord(
        tenant=tenant,
        scope=scope,
        key=key,
        command=command,
        fingerprint=fingerprint,
        result=result,
        run_id=run_id,
    )
