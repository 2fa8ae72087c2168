"""One attempt of a leased job, from its lease to its committed outcome; executing and polling share it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

import attrs

from holdfast.acts import act, kept_text, undo
from holdfast.authoring.watch import Watch
from holdfast.change import ZERO, Change, Committed, Held, Requeue
from holdfast.choosing import take_key
from holdfast.codec import digest, from_json, to_json
from holdfast.command import Ports
from holdfast.decide.advance import split
from holdfast.decide.park import await_key
from holdfast.decide.route import Keep
from holdfast.decide.undone import undone
from holdfast.entities.definition import Act
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageStatus
from holdfast.errors import BlobMissing, LeaseLost, Rejected, StatementFailed, Unavailable, UnknownStage
from holdfast.events import EventType
from holdfast.inputs import Leased, Prepared, Unfit, prepare
from holdfast.payloads import inline
from holdfast.ports.executor import BodyCall, Parked
from holdfast.settling import granted, leased, settle
from holdfast.verdicts import (
    Attempted,
    Broken,
    JobOutcome,
    completed,
    failed,
    final,
    left_behind,
    parked,
    returned,
)


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
        try:
            change, committed = await _settled(attempted, ports)
        except StatementFailed as error:
            attempted = _refused(error, attempted, job)
            change, committed = await _settled(attempted, ports)
    except LeaseLost:
        return Attempted(outcome=JobOutcome.LOST)
    attempted.following = _following(change, committed, lease=lease)
    if not committed.paused:
        attempted.withheld = committed.withheld
    return attempted


async def _settled(attempted: Attempted, ports: Ports) -> tuple[Change, Committed]:
    assert attempted.change is not None, "every outcome of an attempt is committed"
    return attempted.change, await settle(attempted.change, ports)


async def hand_back(lease: Lease, ports: Ports, *, delay: timedelta = ZERO) -> None:
    """Hand the job back, its attempt refunded, because of an error that is about to be raised.

    If that fails too, the lease ends by itself; the error that led here is the one to tell.
    """
    with suppress(Unavailable):
        await ports.job_transport.release(lease, delay=delay)


async def _decide(job: Leased) -> Attempted:
    lease = job.lease
    try:
        if lease.attempt > lease.max_attempts:
            # The last attempt ended without a word; this one is here to tell what follows, not to try again.
            message = f"The worker of attempt {lease.max_attempts} of {lease.max_attempts} stopped without a word."
            raise Unfit(Failure(code="LEASE_EXPIRED", message=message, stage_id=job.spec.id))
        if job.spec.act is Act.UNDO:
            return await _undo(job)
        earlier = await _earlier(job) if lease.origin < lease.key.generation else None
        if earlier is not None:
            return await completed(earlier, job, cached=True)
        if job.spec.act is not Act.BODY:
            return await _acted(job)
        return await _executed(job)
    except Unfit as stop:
        return final(stop.failure, job)
    except BlobMissing as error:
        # Of an input: the attempt counts, for handed back it would do the same for ever.
        return failed(error, job)
    except Broken as broken:
        return failed(broken.error, job)


def _refused(error: StatementFailed, attempted: Attempted, job: Leased) -> Attempted:
    """Fail the attempt at what it wanted to write, as if its body had raised that."""
    if attempted.change is not None:
        progress = (event for event in attempted.change.step.events if event.type is EventType.STAGE_PROGRESS)
        job.watch.put_back(progress, attempted.change.logs)
    return failed(error, job)


async def _executed(job: Leased) -> Attempted:
    """Call the stage's body and decide by what it returns or raises."""
    prepared = await prepare(job)
    reservation = None
    if job.spec.key is not None and not job.is_poll:
        taken = await take_key(job, prepared)
        if isinstance(taken, Held):
            return await _held(taken, job, prepared)
        reservation = taken
    try:
        call = BodyCall(body=prepared.body, arguments=prepared.arguments, timeout=job.spec.timeout)
        value = await job.ports.executor.run(call)
    except Parked:
        await job.steps.quiet()
        return await parked(job.watch.waits(), job)
    except Exception as error:  # noqa: BLE001 - whatever user code raises is an outcome of the stage
        return failed(error, job)
    return await returned(value, job, reservation=reservation)


async def _acted(job: Leased) -> Attempted:
    """Do what a stage does that has no body."""
    try:
        acted = await act(job)
    except Rejected as error:
        failure = Failure(code="INVALID_OUTPUT", message=str(error), error=type(error).__qualname__)
        raise Unfit(attrs.evolve(failure, stage_id=job.spec.id)) from error
    if acted.items is None:
        return await completed(acted.output, job, on=acted.on)
    change = split(job.lease, definition=job.definition, output=acted.output, items=acted.items, keep=job.stay)
    return Attempted(change=change, outcome=JobOutcome.COMPLETED, output=acted.output)


async def _undo(job: Leased) -> Attempted:
    job.watch.is_undoing = True
    try:
        await undo(job)
    except Parked:
        return await parked(job.watch.waits(), job)
    except (Unfit, Unavailable, LeaseLost):
        raise
    except Exception as error:  # noqa: BLE001 - whatever user code raises is an outcome of the stage
        return failed(error, job)
    run = await job.ports.persistence.find_run(job.lease.key.run_id)
    assert run is not None, "a leased job has its run"
    change = undone(job.lease, failure=run.failure, left=left_behind(job.watch))
    return Attempted(change=change, outcome=JobOutcome.COMPLETED, output=inline("null"))


async def _earlier(job: Leased) -> Payload | None:
    """Return what the instance returned that this one retries, if it had completed: it is not executed again."""
    if job.spec.act is Act.SPLIT:
        return None
    key = job.lease.key
    for generation in range(key.generation - 1, job.lease.origin - 1, -1):
        there = await job.ports.persistence.find_stage(attrs.evolve(key, generation=generation))
        if there is not None and there.status is StageStatus.COMPLETED and not there.superseded:
            return there.output
    return None


async def _held(held: Held, job: Leased, prepared: Prepared) -> Attempted:
    """Decide for a stage whose key is in use, or has been used."""
    result = held.result
    if result.fingerprint != digest(prepared.input_text or ""):
        message = (
            f'The key "{result.scope.key}" was used by {result.holder} with another input. '
            "A key has to tell inputs apart: make it of everything that the result depends on."
        )
        raise Unfit(Failure(code="KEY_MISMATCH", message=message, stage_id=job.spec.id))
    if result.output is not None:
        shared = from_json(await job.text_of(result.output), what="result under a key")
        # A payload of its own, for that of the other run may be gone before this run needs it.
        output = await kept_text(to_json(shared["output"], what="result under a key"), job)
        return await completed(output, job, patch=shared["patch"], cached=True)
    change = await_key(job.lease, held=result)
    assert isinstance(change.settle, Requeue), "the job looks again later"
    return Attempted(change=change, outcome=JobOutcome.RETRYING, delay=change.settle.delay)


def _following(change: Change, committed: Committed, *, lease: Lease) -> Lease | None:
    """Return the lease that the store gave together with a new job, without reading it back."""
    for job in granted(change, committed):
        return leased(job, run=lease.run)
    return None
