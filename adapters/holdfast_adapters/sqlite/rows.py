"""Conversions between rows and entities; no row travels further than this file."""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from holdfast.entities.operation import OperationRecord
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Failure, Run, RunHeader, RunStatus
from holdfast.entities.stage import ExpiredLease, Lease, StageInstance, StageKey, StageStatus
from holdfast.entities.timer import Timer, TimerKind
from holdfast.events import Event, EventType
from holdfast.ports.queries import Annotation, LogLine

Row = tuple[Any, ...]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
decode: Final = json.loads


def _encoding() -> Callable[[Any], str]:
    """Return how to encode: by the interpreter's own encoder, made once, or where it has none by the usual way.

    `JSONEncoder.encode` makes a new one for every call, which costs more than the encoding of an event.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    try:
        chunks = make(None, _ENCODER.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    except TypeError:
        # An interpreter that wants other arguments: it is no public interface.
        return _ENCODER.encode
    return lambda value: "".join(chunks(value, 0))


#: ASCII only, so that neither NUL nor anything else in a JSON value needs care in the store.
encode: Final = _encoding()


def micros(instant: datetime) -> int:
    """Return an instant as it is stored."""
    return (instant - _EPOCH) // _MICROSECOND


def span(delta: timedelta) -> int:
    """Return a duration in microseconds."""
    return delta // _MICROSECOND


def instant(stored: int) -> datetime:
    """Return a stored instant."""
    return _EPOCH + timedelta(microseconds=stored)


def duration(stored: int) -> timedelta:
    """Return a number of microseconds as a duration."""
    return timedelta(microseconds=stored)


def _instant(stored: int | None) -> datetime | None:
    return None if stored is None else _EPOCH + timedelta(microseconds=stored)


def mapping_text(data: Mapping[str, Any]) -> str | None:
    """Return a mapping as it is stored, None for an empty one."""
    return encode(dict(data)) if data else None


def _mapping(text: str | None) -> dict[str, Any]:
    return decode(text) if text else {}


def failure_text(failure: Failure | None) -> str | None:
    """Return a failure as it is stored."""
    if failure is None:
        return None
    return encode([failure.code, failure.message, failure.error, failure.stage_id, failure.trace])


def _failure(text: str | None) -> Failure | None:
    if text is None:
        return None
    code, message, error, stage_id, trace = decode(text)
    return Failure(code=code, message=message, error=error, stage_id=stage_id, trace=trace)


def state_text(payload: Payload) -> str:
    """Return the state of a suspended instance as it is stored."""
    return encode([payload.text, payload.digest, payload.size, payload.blob])


def _state(text: str | None) -> Payload | None:
    if text is None:
        return None
    content, digest, size, blob = decode(text)
    return Payload(text=content, digest=digest, size=size, blob=blob)


#: What `run` reads, of run r and run_payload p.
RUN_COLUMNS: Final = """
    r.id, p.tenant, r.workflow_id, r.workflow_version, r.priority, p.input, p.input_digest, p.input_size, p.input_blob,
    p.config, r.status, r.version, r.generation, r.events, r.output_of, r.failure, p.idempotency_key,
    r.created_at, r.started_at, r.finished_at"""

#: What `header` reads, of run r and run_payload p; the first columns of `RUN_COLUMNS`.
HEADER_COLUMNS: Final = """
    r.id, p.tenant, r.workflow_id, r.workflow_version, r.priority, p.input, p.input_digest, p.input_size, p.input_blob,
    p.config"""
_HEADER_WIDTH: Final = 10


def header(row: Row) -> RunHeader:
    """Return the header that *row* begins with."""
    run_id, tenant, workflow_id, version, priority, text, digest, size, blob, config = row[:_HEADER_WIDTH]
    return RunHeader(
        id=run_id,
        tenant=tenant,
        workflow_id=workflow_id,
        workflow_version=version,
        priority=priority,
        input=Payload(text=text, digest=digest, size=size, blob=blob),
        config=config,
    )


def run(row: Row) -> Run:
    """Return the run of a row of `RUN_COLUMNS`."""
    status, version, generation, events, output_of, failure, key, created_at, started_at, finished_at = row[
        _HEADER_WIDTH:
    ]
    return Run(
        header=header(row),
        status=RunStatus(status),
        version=version,
        generation=generation,
        events=events,
        output_of=tuple(decode(output_of)) if output_of else (),
        failure=_failure(failure),
        idempotency_key=key,
        created_at=instant(created_at),
        started_at=_instant(started_at),
        finished_at=_instant(finished_at),
    )


#: What `live_stage` reads of a job j.
JOB_COLUMNS: Final = """
    j.stage_id, j.generation, j.item, j.status, j.attempt, j.max_attempts, j.epoch, j.worker, j.failure, j.due_at,
    j.lease_until, j.started_at"""


def live_stage(run_id: str, row: Row) -> StageInstance:
    """Return the instance of a row of `JOB_COLUMNS`."""
    stage_id, generation, item, status, attempt, max_attempts, epoch, worker, failure, due, until, started = row
    return StageInstance(
        key=StageKey(run_id=run_id, stage_id=stage_id, generation=generation, item=item),
        status=StageStatus(status),
        attempt=attempt,
        max_attempts=max_attempts,
        epoch=epoch,
        worker=worker,
        output=None,
        failure=_failure(failure),
        due_at=_instant(due),
        lease_until=_instant(until),
        started_at=_instant(started),
        finished_at=None,
        metrics={},
        superseded=False,
    )


#: What `done_stage` reads of a stage s.
STAGE_COLUMNS: Final = """
    s.stage_id, s.generation, s.item, s.status, s.attempt, s.max_attempts, s.epoch, s.worker, s.output,
    s.output_digest, s.output_size, s.output_blob, s.failure, s.started_at, s.finished_at, s.metrics, s.superseded"""


def done_stage(run_id: str, row: Row) -> StageInstance:
    """Return the instance of a row of `STAGE_COLUMNS`."""
    stage_id, generation, item, status, attempt, max_attempts, epoch, worker = row[:8]
    failure, started, finished, metrics, superseded = row[12:]
    return StageInstance(
        key=StageKey(run_id=run_id, stage_id=stage_id, generation=generation, item=item),
        status=StageStatus(status),
        attempt=attempt,
        max_attempts=max_attempts,
        epoch=epoch,
        worker=worker,
        output=payload(row[8:12]),
        failure=_failure(failure),
        due_at=None,
        lease_until=None,
        started_at=_instant(started),
        finished_at=_instant(finished),
        metrics=_mapping(metrics),
        superseded=bool(superseded),
    )


def payload(row: Row) -> Payload | None:
    """Return the payload of a row of text, digest, size and blob, None if there is none."""
    text, digest, size, blob = row
    return None if digest is None else Payload(text=text, digest=digest, size=size, blob=blob)


def lease(row: Row, *, key: StageKey, worker: str, now: int) -> Lease:
    """Return the lease that has just been granted.

    Args:
        row: Epoch and attempt as they are now, max_attempts, queue, status, state, give_up_at, then `HEADER_COLUMNS`.
        key: The job.
        worker: Who got it.
        now: When.
    """
    epoch, attempt, max_attempts, queue, status, state, give_up_at = row[:7]
    return Lease(
        key=key,
        epoch=epoch,
        attempt=attempt,
        max_attempts=max_attempts,
        worker=worker,
        queue=queue,
        status=StageStatus(status),
        run=header(row[7:]),
        state=_state(state),
        overdue=give_up_at is not None and give_up_at <= now,
    )


def expired(row: Row) -> ExpiredLease:
    """Return the lease of a row of run id, stage id, generation, item, epoch, attempts, worker and status."""
    run_id, stage_id, generation, item, epoch, attempt, max_attempts, worker, status = row
    return ExpiredLease(
        key=StageKey(run_id=run_id, stage_id=stage_id, generation=generation, item=item),
        epoch=epoch,
        attempt=attempt,
        max_attempts=max_attempts,
        worker=worker,
        status=StageStatus(status),
    )


def timer(row: Row) -> Timer:
    """Return the timer of a row of run id, id, kind and due_at."""
    run_id, name, kind, due_at = row
    return Timer(run_id=run_id, id=name, kind=TimerKind(kind), due_at=instant(due_at))


#: What `event` reads.
EVENT_COLUMNS: Final = "number, type, at, stage_id, generation, item, data"


def event(run_id: str, row: Row) -> Event:
    """Return the event of a row of `EVENT_COLUMNS`."""
    number, kind, at, stage_id, generation, item, data = row
    return Event(
        run_id=run_id,
        number=number,
        type=EventType(kind),
        at=instant(at),
        key=_key(run_id, (stage_id, generation, item)),
        data=_mapping(data),
    )


def _key(run_id: str, row: Row) -> StageKey | None:
    stage_id, generation, item = row
    if stage_id is None:
        return None
    return StageKey(run_id=run_id, stage_id=stage_id, generation=generation, item=item)


def select(text: str, **more: str) -> str:
    """Return a query with ``{run}``, ``{header}``, ``{job}``, ``{stage}`` and ``{event}`` written out as columns.

    Args:
        text: The query.
        more: Further parts by name.
    """
    return text.format(
        run=RUN_COLUMNS, header=HEADER_COLUMNS, job=JOB_COLUMNS, stage=STAGE_COLUMNS, event=EVENT_COLUMNS, **more
    )


def artifact(row: Row) -> Artifact:
    """Return the artifact of a row of name, blob, digest, size and media type."""
    name, blob, digest, size, media_type = row
    return Artifact(name=name, blob=blob, digest=digest, size=size, media_type=media_type)


def log_line(run_id: str, row: Row) -> LogLine:
    """Return the log line of a row of stage key, attempt, level, message, data and instant."""
    stage_id, generation, item, attempt, level, message, data, at = row
    return LogLine(
        key=StageKey(run_id=run_id, stage_id=stage_id, generation=generation, item=item),
        attempt=attempt,
        level=level,
        message=message,
        data=_mapping(data),
        at=instant(at),
    )


def annotation(run_id: str, row: Row) -> Annotation:
    """Return the annotation of a row of name, value, stage key, attempt, actor and instant."""
    name, value, stage_id, generation, item, attempt, actor, at = row
    return Annotation(
        run_id=run_id,
        name=name,
        value=decode(value),
        key=_key(run_id, (stage_id, generation, item)),
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
