"""One attempt of a leased job, from its lease to its committed outcome; executing and polling share it."""

from __future__ import annotations

import enum
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from holdfast.authoring.batch import Pending
from holdfast.run_config import slice_of
from holdfast.authoring.context import Attempt, Context, Surroundings, Watch
from holdfast.change import Change, Committed
from holdfast.command import Ports
from holdfast.decide.advance import NOTHING_LEFT, Left, advance
from holdfast.decide.fail import fail, retry
from holdfast.decide.open import Keep
from holdfast.decide.suspend import poll_again, suspend
from holdfast.entities.definition import Body, Definition, StageSpec
from holdfast.entities.payload import Payload
from holdfast.entities.retry import NeverRetry, RetryAfter
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageKey, StageStatus
from holdfast.errors import LeaseLost, Rejected, UnknownStage
from holdfast.payloads import BlobArtifacts, attempt_prefix, keep, text_of
from holdfast.ports.executor import BodyCall, StageTimeout
from holdfast.settling import granted, settle

#: Failures that another attempt cannot mend, because the code or the stored value is wrong.
FINAL_CODES: Final = frozenset({"INVALID_INPUT", "INVALID_CONFIG", "INVALID_OUTPUT", "PAYLOAD_TOO_LARGE", "GAVE_UP"})


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
class Following:
    """The next job of the same run, already leased to the same worker."""

    lease: Lease
    #: Outputs that need not be read again, by stage id.
    given: Mapping[str, Payload]


@attrs.frozen(kw_only=True)
class Attempted:
    """The committed outcome of one attempt."""

    outcome: JobOutcome
    output: Payload | None = None
    failure: Failure | None = None
    #: How long until the next attempt or poll.
    delay: timedelta | None = None
    following: Following | None = None


@attrs.frozen(kw_only=True)
class Inputs:
    """What a body is called with."""

    arguments: tuple[Any, ...]
    watch: Watch


@attrs.frozen
class _Failed(Exception):
    """The attempt failed before or after the body, for a reason that is known exactly."""

    failure: Failure


async def attempt(
    lease: Lease,
    ports: Ports,
    *,
    given: Mapping[str, Payload],
    stay: Keep | None,
    watch: Watch,
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
    try:
        decided = await _decide(lease, ports, definition=definition, spec=spec, given=given, stay=stay, watch=watch)
        committed = await settle(decided.change, ports)
    except LeaseLost:
        return Attempted(outcome=JobOutcome.LOST)
    return _attempted(decided, committed, lease=lease)


@attrs.frozen(kw_only=True)
class _Decided:
    change: Change
    outcome: JobOutcome
    output: Payload | None = None
    failure: Failure | None = None
    delay: timedelta | None = None


async def _decide(
    lease: Lease,
    ports: Ports,
    *,
    definition: Definition,
    spec: StageSpec,
    given: Mapping[str, Payload],
    stay: Keep | None,
    watch: Watch,
) -> _Decided:
    polling = lease.status is StageStatus.SUSPENDED
    try:
        arguments, body = await _prepare(lease, ports, definition=definition, spec=spec, given=given, watch=watch)
        try:
            value = await ports.executor.run(BodyCall(body=body, arguments=arguments, timeout=spec.timeout))
        except Exception as error:
            return _failed(error, lease=lease, spec=spec, ports=ports, watch=watch)
        if isinstance(value, Pending):
            return _pending(value, lease=lease, spec=spec, watch=watch)
        if spec.polling is not None and not polling:
            return await _suspended(value, lease=lease, ports=ports, spec=spec, watch=watch)
        what = f'output of stage "{spec.id}"'
        output = await _kept(value, spec.output.encode, what=what, lease=lease, ports=ports)
    except _Failed as stop:
        return _final(stop.failure, lease=lease, watch=watch)
    change = advance(lease, definition=definition, output=output, left=_left(watch), keep=stay)
    return _Decided(change=change, outcome=JobOutcome.COMPLETED, output=output)


async def _prepare(
    lease: Lease,
    ports: Ports,
    *,
    definition: Definition,
    spec: StageSpec,
    given: Mapping[str, Payload],
    watch: Watch,
) -> tuple[tuple[Any, ...], Body]:
    polling = spec.polling if lease.status is StageStatus.SUSPENDED else None
    body = spec.body if polling is None else polling.body
    texts = await _outputs(lease, ports, spec=spec, given=given)
    arguments: list[Any] = []
    if body.takes_input:
        if polling is not None:
            assert lease.state is not None, "a suspended stage instance has its state"
            text = await text_of(lease.state, blob_store=ports.blob_store)
            arguments.append(_read(polling.state.decode, text, what=f'reference of stage "{spec.id}"', spec=spec))
        else:
            text = await _input_text(lease, ports, spec=spec, texts=texts)
            arguments.append(_read(spec.input.decode, text, what=f'input of stage "{spec.id}"', spec=spec))
    if body.takes_context:
        arguments.append(_context(lease, ports, definition=definition, spec=spec, texts=texts, watch=watch))
    return tuple(arguments), body


async def _outputs(
    lease: Lease, ports: Ports, *, spec: StageSpec, given: Mapping[str, Payload]
) -> Mapping[str, str]:
    wanted = spec.sources + spec.needs
    if not wanted:
        return {}
    payloads: Mapping[str, Payload] = given
    missing = tuple(stage_id for stage_id in wanted if stage_id not in given)
    if missing:
        payloads = {**given, **await ports.persistence.get_outputs(lease.key.run_id, missing)}
    return {
        stage_id: await text_of(payloads[stage_id], blob_store=ports.blob_store)
        for stage_id in wanted
        if stage_id in payloads
    }


async def _input_text(lease: Lease, ports: Ports, *, spec: StageSpec, texts: Mapping[str, str]) -> str:
    if not spec.sources:
        return await text_of(lease.run.input, blob_store=ports.blob_store)
    absent = [source for source in spec.sources if source not in texts]
    if absent:
        raise _Failed(
            Failure(
                code="INVALID_INPUT",
                message=f"The output of {', '.join(absent)} is not there; the run's input never stands in for it.",
                stage_id=spec.id,
            )
        )
    if len(spec.sources) == 1:
        return texts[spec.sources[0]]
    return f"[{','.join(texts[source] for source in spec.sources)}]"


def _context(
    lease: Lease,
    ports: Ports,
    *,
    definition: Definition,
    spec: StageSpec,
    texts: Mapping[str, str],
    watch: Watch,
) -> Context[Any]:
    config = None
    if spec.config is not None:
        text = slice_of(lease.run.config, spec.id)
        config = _read(spec.config.decode, text, what=f'config of stage "{spec.id}"', spec=spec, code="INVALID_CONFIG")
    at = Attempt(
        lease=lease,
        spec=spec,
        definition=definition,
        outputs=texts,
        watch=watch,
        surroundings=Surroundings(
            clock=ports.clock, services=ports.services, artifacts=BlobArtifacts(ports), block_on=ports.block_on
        ),
        deadline=None if spec.timeout is None else ports.clock.now() + spec.timeout,
    )
    return Context(at, config=config)


def _read(
    decode: Callable[..., Any], text: str, *, what: str, spec: StageSpec, code: str = "INVALID_INPUT"
) -> Any:
    try:
        return decode(text, what=what)
    except Rejected as error:
        raise _Failed(_failure(error, code=code, spec=spec)) from error


async def _kept(
    value: object, encode: Callable[..., str], *, what: str, lease: Lease, ports: Ports
) -> Payload:
    try:
        text = encode(value, what=what)
        return await keep(
            text,
            prefix=attempt_prefix(lease.key, epoch=lease.epoch),
            what=what,
            blob_store=ports.blob_store,
            settings=ports.settings,
        )
    except Rejected as error:
        failure = Failure(
            code="INVALID_OUTPUT", message=str(error), error=type(error).__qualname__, stage_id=lease.key.stage_id
        )
        raise _Failed(failure) from error


async def _suspended(value: object, *, lease: Lease, ports: Ports, spec: StageSpec, watch: Watch) -> _Decided:
    assert spec.polling is not None, "only a batch stage suspends"
    what = f'reference of stage "{spec.id}"'
    state = await _kept(value, spec.polling.state.encode, what=what, lease=lease, ports=ports)
    change = suspend(lease, polling=spec.polling, state=state, left=_left(watch))
    return _Decided(change=change, outcome=JobOutcome.SUSPENDED, delay=spec.polling.every)


def _pending(pending: Pending, *, lease: Lease, spec: StageSpec, watch: Watch) -> _Decided:
    polling = spec.polling
    if polling is None or lease.status is not StageStatus.SUSPENDED:
        message = "returned Pending, which only the poll of a batch stage may do"
        raise _Failed(Failure(code="INVALID_OUTPUT", message=message, stage_id=spec.id))
    if lease.overdue:
        limit = polling.give_up_after.total_seconds()
        raise _Failed(Failure(code="GAVE_UP", message=f"Not done after {limit:g} s of polling.", stage_id=spec.id))
    delay = pending.check_in or polling.every
    change = poll_again(lease, delay=delay, left=_left(watch))
    return _Decided(change=change, outcome=JobOutcome.SUSPENDED, delay=delay)


def _failed(error: Exception, *, lease: Lease, spec: StageSpec, ports: Ports, watch: Watch) -> _Decided:
    """Decide between another attempt and the end, by the stage's retry policy."""
    if isinstance(error, LeaseLost):
        raise error
    code = "TIMEOUT" if isinstance(error, StageTimeout) else "STAGE_ERROR"
    failure = _failure(error, code=code, spec=spec)
    wanted = isinstance(error, StageTimeout) and not isinstance(error, NeverRetry)
    if lease.attempt >= lease.max_attempts or not (wanted or spec.retry.retries(error)):
        return _final(failure, lease=lease, watch=watch)
    if isinstance(error, RetryAfter):
        delay = error.delay
    else:
        delay = spec.retry.delay(attempt=lease.attempt, fraction=ports.ids.fraction())
    change = retry(lease, failure=failure, delay=delay, left=_left(watch))
    return _Decided(change=change, outcome=JobOutcome.RETRYING, failure=failure, delay=delay)


def _final(failure: Failure, *, lease: Lease, watch: Watch) -> _Decided:
    change = fail(lease, failure=failure, left=_left(watch))
    return _Decided(change=change, outcome=JobOutcome.FAILED, failure=failure)


def _failure(error: BaseException, *, code: str, spec: StageSpec) -> Failure:
    trace = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    return Failure(
        code=code, message=str(error) or repr(error), error=type(error).__qualname__, stage_id=spec.id, trace=trace
    )


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
        following = Following(
            lease=_sticky(job.key, lease=lease, worker=job.grant.worker, queue=job.queue, limit=job.max_attempts),
            given={} if decided.output is None else {lease.key.stage_id: decided.output},
        )
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
