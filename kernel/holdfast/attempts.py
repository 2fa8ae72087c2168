"""One attempt of a leased job, from its lease to its committed outcome; executing and polling share it."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import attrs

from holdfast.authoring.batch import Pending
from holdfast.authoring.context import Watch
from holdfast.change import ZERO, Change, Committed
from holdfast.command import Ports
from holdfast.decide.advance import advance
from holdfast.decide.fail import fail, retry
from holdfast.decide.open import Keep
from holdfast.decide.outcome import NOTHING_LEFT, Left
from holdfast.decide.suspend import poll_again, suspend
from holdfast.entities.definition import Body, PayloadType
from holdfast.entities.payload import Payload
from holdfast.entities.retry import RetryAfter
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageKey, StageStatus
from holdfast.errors import BlobMissing, InvalidInput, LeaseLost, Rejected, Unavailable, UnknownStage
from holdfast.inputs import Leased, Unfit, prepare
from holdfast.payloads import attempt_prefix, keep
from holdfast.ports.executor import BodyCall, StageTimeout
from holdfast.settling import granted, settle


class JobOutcome(enum.Enum):
    """What became of a job that was executed or polled."""

    COMPLETED = "completed"
    #: Parked until its next poll.
    SUSPENDED = "suspended"
    #: The attempt failed and another one follows.
    RETRYING = "retrying"
    FAILED = "failed"
    #: The lease was lost, by time, by cancellation or to another worker; nothing was written.
    LOST = "lost"


@attrs.frozen(kw_only=True)
class Attempted:
    """The committed outcome of one attempt."""

    outcome: JobOutcome
    output: Payload | None = None
    failure: Failure | None = None
    #: How long until the next attempt or poll.
    delay: timedelta | None = None
    #: The lease on the next job of the same run, when it went to the same worker.
    following: Lease | None = None


async def attempt(
    lease: Lease, ports: Ports, *, given: Mapping[str, Payload], stay: Keep | None, watch: Watch
) -> Attempted:
    """Execute or poll the leased job once and commit what follows.

    Args:
        lease: The lease, granted to this process.
        ports: Where it happens.
        given: Outputs that are known already, by stage id.
        stay: The worker that takes what follows at once, if it may.
        watch: Where the attempt leaves its traces.

    Raises:
        UnknownWorkflow: If the run's workflow version is not registered here; the lease still stands.
        UnknownStage: If that version has no such stage here; the lease still stands.
        Unavailable: If a port cannot be reached; the lease still stands.
    """
    definition = ports.definitions.get(lease.run.workflow_id, lease.run.workflow_version)
    spec = definition.stages.get(lease.key.stage_id)
    if spec is None:
        raise UnknownStage(lease.key.stage_id, workflow_id=definition.name, known=tuple(definition.stages))
    job = Leased(lease=lease, ports=ports, definition=definition, spec=spec, given=given, stay=stay, watch=watch)
    try:
        decided = await _decide(job)
        committed = await settle(decided.change, ports)
    except LeaseLost:
        return Attempted(outcome=JobOutcome.LOST)
    return _attempted(decided, committed, lease=lease)


async def hand_back(lease: Lease, ports: Ports, *, delay: timedelta = ZERO) -> None:
    """Hand the job back, its attempt refunded, because of an error that is about to be raised.

    If that fails too, the lease ends by itself; the error that led here is the one to tell.
    """
    with suppress(Unavailable):
        await ports.job_transport.release(lease, delay=delay)


# Not frozen, like `Leased`: both live within one attempt, and a frozen one takes twice as long to make.
@attrs.define(kw_only=True)
class _Decided:
    change: Change
    outcome: JobOutcome
    output: Payload | None = None
    failure: Failure | None = None
    delay: timedelta | None = None


async def _decide(job: Leased) -> _Decided:
    try:
        arguments, body = await _prepared(job)
        try:
            value = await job.ports.executor.run(BodyCall(body=body, arguments=arguments, timeout=job.spec.timeout))
        except Exception as error:  # noqa: BLE001 - whatever user code raises is an outcome of the stage
            return _failed(error, job)
        if isinstance(value, Pending):
            return _pending(value, job)
        if job.spec.polling is not None and not job.is_poll:
            return await _suspended(value, job)
        output = await _kept(value, job.spec.output, what=f'output of stage "{job.spec.id}"', job=job)
    except Unfit as stop:
        return _final(stop.failure, job)
    except _Broken as broken:
        return _failed(broken.error, job)
    change = advance(job.lease, definition=job.definition, output=output, left=_left(job.watch), keep=job.stay)
    return _Decided(change=change, outcome=JobOutcome.COMPLETED, output=output)


@attrs.frozen
class _Broken(Exception):
    """The attempt failed at a blob, and counts: handed back, it would do the same for ever."""

    error: Unavailable


async def _prepared(job: Leased) -> tuple[tuple[Any, ...], Body]:
    try:
        return await prepare(job)
    except BlobMissing as error:
        raise _Broken(error) from error


async def _kept(value: object, kind: PayloadType, *, what: str, job: Leased) -> Payload:
    try:
        return await keep(
            _text(value, kind, what=what),
            prefix=attempt_prefix(job.lease.key, epoch=job.lease.epoch),
            what=what,
            blob_store=job.ports.blob_store,
            settings=job.ports.settings,
        )
    except Rejected as error:
        name = type(error).__qualname__
        failure = Failure(code="INVALID_OUTPUT", message=str(error), error=name, stage_id=job.spec.id)
        raise Unfit(failure) from error
    except Unavailable as error:
        # The body has run, so the attempt is used up whatever keeps its output from the blob store.
        raise _Broken(error) from error


def _text(value: object, kind: PayloadType, *, what: str) -> str:
    try:
        return kind.encode(value, what=what)
    except Rejected:
        raise
    except BaseException as error:  # noqa: BLE001 - the value's own code, and nothing is awaited here
        raise InvalidInput(what, [f"it raised {type(error).__name__} while it was written"]) from None


async def _suspended(value: object, job: Leased) -> _Decided:
    polling = job.spec.polling
    assert polling is not None, "only a batch stage suspends"
    state = await _kept(value, polling.state, what=f'reference of stage "{job.spec.id}"', job=job)
    change = suspend(job.lease, polling=polling, state=state, left=_left(job.watch))
    return _Decided(change=change, outcome=JobOutcome.SUSPENDED, delay=polling.every)


def _pending(pending: Pending, job: Leased) -> _Decided:
    polling = job.spec.polling
    if polling is None or not job.is_poll:
        message = "returned Pending, which only the poll of a batch stage may do"
        raise Unfit(Failure(code="INVALID_OUTPUT", message=message, stage_id=job.spec.id))
    if job.lease.overdue:
        limit = polling.give_up_after.total_seconds()
        raise Unfit(Failure(code="GAVE_UP", message=f"Not done after {limit:g} s of polling.", stage_id=job.spec.id))
    delay = pending.check_in or polling.every
    change = poll_again(job.lease, delay=delay, left=_left(job.watch))
    return _Decided(change=change, outcome=JobOutcome.SUSPENDED, delay=delay)


def _failed(error: Exception, job: Leased) -> _Decided:
    """Decide between another attempt and the end, by the stage's retry policy."""
    if isinstance(error, LeaseLost):
        raise error
    lease, policy = job.lease, job.spec.retry
    timed_out = isinstance(error, StageTimeout) and not isinstance(error, policy.never)
    failure = _failure(error, code="TIMEOUT" if isinstance(error, StageTimeout) else "STAGE_ERROR", job=job)
    if lease.attempt >= lease.max_attempts or not (timed_out or policy.retries(error)):
        return _final(failure, job)
    if isinstance(error, RetryAfter):
        delay = error.delay
    else:
        delay = policy.delay(attempt=lease.attempt, fraction=job.ports.ids.fraction())
    change = retry(lease, failure=failure, delay=delay, left=_left(job.watch))
    return _Decided(change=change, outcome=JobOutcome.RETRYING, failure=failure, delay=delay)


def _final(failure: Failure, job: Leased) -> _Decided:
    change = fail(job.lease, failure=failure, left=_left(job.watch))
    return _Decided(change=change, outcome=JobOutcome.FAILED, failure=failure)


def _failure(error: BaseException, *, code: str, job: Leased) -> Failure:
    return Failure(
        code=code,
        message=_told(_message, error),
        error=type(error).__qualname__,
        stage_id=job.spec.id,
        trace=_told(_trace, error),
    )


def _told(tell: Callable[[BaseException], str], error: BaseException) -> str:
    """Return what *tell* says of the error, whose own methods may raise anything, even what would end the process."""
    try:
        return tell(error)
    except BaseException as other:  # noqa: BLE001 - the error's own code, and nothing is awaited here
        return f"(no words: its text raised {type(other).__name__})"


def _message(error: BaseException) -> str:
    return str(error) or repr(error)


def _trace(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())


def _left(watch: Watch) -> Left:
    if not (watch.events or watch.logs or watch.annotations or watch.artifacts or watch.metrics):
        return NOTHING_LEFT
    events, logs = watch.drain()
    return Left(
        events=events,
        logs=logs,
        annotations=tuple(watch.annotations),
        artifacts=tuple(watch.artifacts.values()),
        metrics=dict(watch.metrics),
    )


def _attempted(decided: _Decided, committed: Committed, *, lease: Lease) -> Attempted:
    following = None
    for job in granted(decided.change, committed):
        assert job.grant is not None, "only granted jobs are taken on"
        following = _sticky(job.key, lease=lease, worker=job.grant.worker, queue=job.queue, limit=job.max_attempts)
    return Attempted(
        outcome=decided.outcome,
        output=decided.output,
        failure=decided.failure,
        delay=decided.delay,
        following=following,
    )


def _sticky(key: StageKey, *, lease: Lease, worker: str, queue: str, limit: int) -> Lease:
    """Return the lease that the store gave together with the new job, without reading it back."""
    return Lease(
        key=key,
        epoch=1,
        attempt=1,
        max_attempts=limit,
        worker=worker,
        queue=queue,
        status=StageStatus.RUNNING,
        run=lease.run,
    )
