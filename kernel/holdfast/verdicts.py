"""What an attempt comes to: the change-set that is committed for it, and what its host has to know."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, cast

import attrs

from holdfast.acts import kept_text
from holdfast.authoring.batch import Pending
from holdfast.authoring.results import Fail, Ok, Wait
from holdfast.authoring.watch import Watch
from holdfast.change import ZERO, Change, NewWait
from holdfast.choosing import choose_edge
from holdfast.codec import from_json, to_json
from holdfast.decide.advance import advance, stranded
from holdfast.decide.choose import Unroutable
from holdfast.decide.fail import fail, retry
from holdfast.decide.outcome import NOTHING_LEFT, Left
from holdfast.decide.park import park
from holdfast.decide.route import wait_name
from holdfast.decide.suspend import poll_again, suspend
from holdfast.entities.definition import PayloadType
from holdfast.entities.graph import EdgeOn
from holdfast.entities.payload import Payload
from holdfast.entities.retry import RetryAfter
from holdfast.entities.run import Failure, storable
from holdfast.entities.stage import Lease
from holdfast.entities.wait import WaitKind, WaitStatus
from holdfast.errors import ChildFailed, InvalidInput, LeaseLost, Rejected, Unavailable, WaitTimedOut
from holdfast.inputs import Leased, Unfit
from holdfast.ports.executor import StageTimeout
from holdfast.traces import Reservation

#: Patches of a run's state above this many bytes are refused.
MAX_PATCH: Final = 65_536


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
    #: The queues of jobs that the worker would have gone on with but for the limits of the queues.
    withheld: frozenset[str] = frozenset()


async def completed(
    output: Payload,
    job: Leased,
    *,
    patch: Mapping[str, Any] | None = None,
    reservation: Reservation | None = None,
    on: EdgeOn = EdgeOn.OUTPUT,
    cached: bool = False,
) -> Attempted:
    """Choose the edge behind the stage and follow it."""
    left = left_behind(job.watch)
    failure: Failure | None = None
    try:
        edge = await choose_edge(job, output, on=on, patch=patch)
    except Unroutable as error:
        failure = Failure(code=error.code, message=error.message, stage_id=job.spec.id)
        change = stranded(job.lease, output=output, failure=failure, left=left, cached=cached)
        outcome = JobOutcome.FAILED
    else:
        outcome = JobOutcome.COMPLETED
        change = advance(
            job.lease,
            definition=job.definition,
            output=output,
            edge=edge,
            left=left,
            keep=job.stay,
            cached=cached,
        )
    if patch:
        change = attrs.evolve(change, patch=patch)
    if job.watch.statements:
        change = attrs.evolve(change, statements=tuple(job.watch.statements))
    if reservation is not None:
        result = await kept_text(await _shared(output, patch, job), job)
        change = attrs.evolve(change, reservation=attrs.evolve(reservation, output=result))
    return Attempted(change=change, outcome=outcome, output=output, failure=failure)


async def _shared(output: Payload, patch: Mapping[str, Any] | None, job: Leased) -> str:
    """Return what is kept under a key: the output with what the stage changes in the state of whoever gets it."""
    return f'{{"output":{await job.text_of(output)},"patch":{to_json(patch, what="patch")}}}'


async def returned(value: object, job: Leased, *, reservation: Reservation | None = None) -> Attempted:
    """Decide by what the body returned.

    Raises:
        Unfit: If it returned something that does not fit.
        Broken: If what it returned cannot be stored.
    """
    if job.watch.parking:
        message = (
            "went on although it was parked. ctx.sleep, ctx.wait_for and ctx.result leave the stage by an exception "
            "that is no Exception; let it pass, also out of asyncio.gather."
        )
        raise Unfit(Failure(code="PARKING_SWALLOWED", message=message, stage_id=job.spec.id))
    if isinstance(value, Pending):
        return pending(value, job)
    if isinstance(value, Fail):
        return returned_failure(value, job)
    if isinstance(value, Wait):
        return await returned_wait(value, job)
    patch: Mapping[str, Any] | None = None
    if isinstance(value, Ok):
        result = cast("Ok[object]", value)
        value, patch = result.output, patched(result.patch, job)
    if job.spec.polling is not None and not job.is_poll:
        return await suspended(value, job)
    output = await kept(value, job.spec.output, what=f'output of stage "{job.spec.id}"', job=job)
    return await completed(output, job, patch=patch, reservation=reservation)


async def parked(waits: tuple[NewWait, ...], job: Leased, *, patch: Mapping[str, Any] | None = None) -> Attempted:
    """Give the worker back until one of *waits* is answered."""
    known = await job.steps.waits()
    there = {name for name, wait in known.items() if wait.status is WaitStatus.OPEN and wait.key == job.lease.key}
    change = park(job.lease, waits=waits, open_already=there, left=left_behind(job.watch), patch=patch)
    return Attempted(change=change, outcome=JobOutcome.SUSPENDED)


async def returned_wait(wait: Wait, job: Leased) -> Attempted:
    """Park the stage that asked for it, to be called again with what it is resumed with."""
    declared = tuple(job.spec.waits)
    name = wait.name or (declared[0] if len(declared) == 1 else job.spec.id)
    if name not in declared:
        message = f'returned a Wait named "{name}", which it does not declare; write waits={{"{name}": …}}.'
        raise Unfit(Failure(code="UNDECLARED_WAIT", message=message, stage_id=job.spec.id))
    until = wait.until
    timeout = max(until - job.ports.clock.now(), ZERO) if isinstance(until, datetime) else until
    new = NewWait(
        name=wait_name(name, spec=job.spec, item=job.lease.key.item),
        kind=WaitKind.PAYLOAD,
        timeout=timeout,
        reason=storable(wait.reason),
        anew=True,
    )
    return await parked((new,), job, patch=patched(wait.patch, job))


def returned_failure(fail: Fail, job: Leased) -> Attempted:
    """Fail the attempt as the body asked for."""
    failure = Failure(code=fail.code, message=fail.message, stage_id=job.spec.id)
    if not fail.retryable or job.lease.attempt >= job.lease.max_attempts:
        return final(failure, job)
    return _again(failure, job)


def patched(patch: Mapping[str, Any], job: Leased) -> Mapping[str, Any] | None:
    """Return a patch of the state as JSON values."""
    if not patch:
        return None
    if not job.definition.stateful:
        message = "patched the run's state, but its workflow has none; make it with state=True."
        raise Unfit(Failure(code="NO_STATE", message=message, stage_id=job.spec.id))
    try:
        text = to_json(dict(patch), what=f'patch of stage "{job.spec.id}"')
    except Rejected as error:
        raise Unfit(Failure(code="INVALID_PATCH", message=str(error), stage_id=job.spec.id)) from error
    if len(text) > MAX_PATCH:
        message = f"A patch has at most {MAX_PATCH:,} bytes; this one has {len(text):,}. Keep large values as outputs."
        raise Unfit(Failure(code="INVALID_PATCH", message=message, stage_id=job.spec.id))
    plain: dict[str, Any] = from_json(text, what="patch")
    return plain


@attrs.frozen
class Broken(Exception):
    """The attempt failed at the blob of what its body returned, and counts: the body has run."""

    error: Unavailable


async def kept(value: object, kind: PayloadType, *, what: str, job: Leased) -> Payload:
    """Return what the body gave as a payload."""
    try:
        return await kept_text(_text(value, kind, what=what), job, what=what)
    except Rejected as error:
        name = type(error).__qualname__
        failure = Failure(code="INVALID_OUTPUT", message=str(error), error=name, stage_id=job.spec.id)
        raise Unfit(failure) from error
    except Unavailable as error:
        raise Broken(error) from error


def _text(value: object, kind: PayloadType, *, what: str) -> str:
    try:
        return kind.encode(value, what=what)
    except Rejected:
        raise
    except BaseException as error:  # noqa: BLE001 - the value's own code, and nothing is awaited here
        raise InvalidInput(what, [f"it raised {type(error).__name__} while it was written"]) from None


async def suspended(value: object, job: Leased) -> Attempted:
    """Suspend the batch stage with the reference that its body gave."""
    polling = job.spec.polling
    assert polling is not None, "only a batch stage suspends"
    state = await kept(value, polling.state, what=f'reference of stage "{job.spec.id}"', job=job)
    change = suspend(job.lease, polling=polling, state=state, left=left_behind(job.watch))
    return Attempted(change=change, outcome=JobOutcome.SUSPENDED, delay=polling.every)


def pending(pending: Pending, job: Leased) -> Attempted:
    """Poll the batch stage again later."""
    polling = job.spec.polling
    if polling is None or not job.is_poll:
        message = "returned Pending, which only the poll of a batch stage may do"
        raise Unfit(Failure(code="INVALID_OUTPUT", message=message, stage_id=job.spec.id))
    if job.lease.overdue:
        limit = polling.give_up_after.total_seconds()
        raise Unfit(Failure(code="GAVE_UP", message=f"Not done after {limit:g} s of polling.", stage_id=job.spec.id))
    delay = pending.check_in or polling.every
    change = poll_again(job.lease, delay=delay, left=left_behind(job.watch))
    return Attempted(change=change, outcome=JobOutcome.SUSPENDED, delay=delay)


def failed(error: Exception, job: Leased) -> Attempted:
    """Decide between another attempt and the end, by the stage's retry policy."""
    if isinstance(error, LeaseLost):
        raise error
    lease, policy = job.lease, job.spec.retry
    timed_out = isinstance(error, StageTimeout) and not isinstance(error, policy.never)
    failure = _failure(error, code=_code(error), job=job)
    if lease.attempt >= lease.max_attempts or not (timed_out or (policy.retries(error) and not _is_useless(error))):
        return final(failure, job)
    return _again(failure, job, delay=error.delay if isinstance(error, RetryAfter) else None)


def _code(error: Exception) -> str:
    if isinstance(error, StageTimeout):
        return "TIMEOUT"
    if isinstance(error, WaitTimedOut):
        return "WAIT_TIMEOUT"
    return "CHILD_FAILED" if isinstance(error, ChildFailed) else "STAGE_ERROR"


def _is_useless(error: Exception) -> bool:
    """Return whether another attempt would meet the very same answer: it is journalled."""
    return isinstance(error, WaitTimedOut | ChildFailed)


def _again(failure: Failure, job: Leased, *, delay: timedelta | None = None) -> Attempted:
    lease = job.lease
    if delay is None:
        delay = job.spec.retry.delay(attempt=lease.attempt, fraction=job.ports.ids.fraction())
    change = retry(lease, failure=failure, delay=delay, left=left_behind(job.watch))
    return Attempted(change=change, outcome=JobOutcome.RETRYING, failure=failure, delay=delay)


def final(failure: Failure, job: Leased) -> Attempted:
    """Fail the stage for good."""
    change = fail(job.lease, failure=failure, definition=job.definition, left=left_behind(job.watch))
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


def left_behind(watch: Watch) -> Left:
    """Return what the attempt leaves behind."""
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
