"""One attempt of a leased job, from its lease to its committed outcome; executing and polling share it."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

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
from holdfast.entities.definition import PayloadType
from holdfast.entities.payload import Payload
from holdfast.entities.retry import RetryAfter
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageStatus
from holdfast.errors import BlobMissing, InvalidInput, LeaseLost, Rejected, Unavailable, UnknownStage
from holdfast.inputs import Leased, Unfit, prepare
from holdfast.payloads import attempt_prefix, inline, is_small, keep
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


# Not frozen, like `Leased`: both live within one attempt, and a frozen one takes twice as long to make.
@attrs.define(kw_only=True)
class Attempted:
    """The outcome of one attempt, committed when `attempt` returns it."""

    outcome: JobOutcome
    #: What was committed; None when the lease was lost.
    change: Change | None = None
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
        attempted = await _decide(job)
        assert attempted.change is not None, "every outcome of an attempt is committed"
        committed = await settle(attempted.change, ports)
    except LeaseLost:
        return Attempted(outcome=JobOutcome.LOST)
    attempted.following = _following(attempted.change, committed, lease=lease)
    return attempted


async def hand_back(lease: Lease, ports: Ports, *, delay: timedelta = ZERO) -> None:
    """Hand the job back, its attempt refunded, because of an error that is about to be raised.

    If that fails too, the lease ends by itself; the error that led here is the one to tell.
    """
    with suppress(Unavailable):
        await ports.job_transport.release(lease, delay=delay)


async def _decide(job: Leased) -> Attempted:
    try:
        arguments, body = await prepare(job)
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
    except BlobMissing as error:
        # Of an input: the attempt counts, for handed back it would do the same for ever.
        return _failed(error, job)
    except _Broken as broken:
        return _failed(broken.error, job)
    change = advance(job.lease, definition=job.definition, output=output, left=_left(job.watch), keep=job.stay)
    return Attempted(change=change, outcome=JobOutcome.COMPLETED, output=output)


@attrs.frozen
class _Broken(Exception):
    """The attempt failed at the blob of what its body returned, and counts: the body has run."""

    error: Unavailable


async def _kept(value: object, kind: PayloadType, *, what: str, job: Leased) -> Payload:
    try:
        text = _text(value, kind, what=what)
        if is_small(text, job.ports.settings):
            return inline(text)
        return await keep(
            text,
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
        raise _Broken(error) from error


def _text(value: object, kind: PayloadType, *, what: str) -> str:
    try:
        return kind.encode(value, what=what)
    except Rejected:
        raise
    except BaseException as error:  # noqa: BLE001 - the value's own code, and nothing is awaited here
        raise InvalidInput(what, [f"it raised {type(error).__name__} while it was written"]) from None


async def _suspended(value: object, job: Leased) -> Attempted:
    polling = job.spec.polling
    assert polling is not None, "only a batch stage suspends"
    state = await _kept(value, polling.state, what=f'reference of stage "{job.spec.id}"', job=job)
    change = suspend(job.lease, polling=polling, state=state, left=_left(job.watch))
    return Attempted(change=change, outcome=JobOutcome.SUSPENDED, delay=polling.every)


def _pending(pending: Pending, job: Leased) -> Attempted:
    polling = job.spec.polling
    if polling is None or not job.is_poll:
        message = "returned Pending, which only the poll of a batch stage may do"
        raise Unfit(Failure(code="INVALID_OUTPUT", message=message, stage_id=job.spec.id))
    if job.lease.overdue:
        limit = polling.give_up_after.total_seconds()
        raise Unfit(Failure(code="GAVE_UP", message=f"Not done after {limit:g} s of polling.", stage_id=job.spec.id))
    delay = pending.check_in or polling.every
    change = poll_again(job.lease, delay=delay, left=_left(job.watch))
    return Attempted(change=change, outcome=JobOutcome.SUSPENDED, delay=delay)


def _failed(error: Exception, job: Leased) -> Attempted:
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
    return Attempted(change=change, outcome=JobOutcome.RETRYING, failure=failure, delay=delay)


def _final(failure: Failure, job: Leased) -> Attempted:
    change = fail(job.lease, failure=failure, left=_left(job.watch))
    return Attempted(change=change, outcome=JobOutcome.FAILED, failure=failure)


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


def _following(change: Change, committed: Committed, *, lease: Lease) -> Lease | None:
    """Return the lease that the store gave together with a new job, without reading it back."""
    following = None
    for job in granted(change, committed):
        assert job.grant is not None, "only granted jobs are taken on"
        following = Lease(
            key=job.key,
            epoch=1,
            attempt=1,
            max_attempts=job.max_attempts,
            worker=job.grant.worker,
            queue=job.queue,
            status=StageStatus.RUNNING,
            run=lease.run,
        )
    return following
