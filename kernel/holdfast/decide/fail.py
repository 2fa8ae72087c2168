"""The decision after an attempt failed: another attempt after a delay, or the end of the stage and what that means."""

from __future__ import annotations

from datetime import timedelta

import attrs

from holdfast.change import Change, Finish, Requeue, Resolution, Step
from holdfast.decide.advance import place_of
from holdfast.decide.ending import failing, unable_to_undo
from holdfast.decide.outcome import NOTHING_LEFT, Left, outcome
from holdfast.decide.route import Routing
from holdfast.entities.definition import UNDO, Definition
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageKey, StageStatus
from holdfast.events import EventType, NewEvent


def retry(lease: Lease, *, failure: Failure, delay: timedelta, left: Left = NOTHING_LEFT) -> Change:
    """Return the change-set that gives the job another attempt after *delay*."""
    polling = lease.status is StageStatus.SUSPENDED
    event = NewEvent(
        type=EventType.STAGE_POLL_FAILED if polling else EventType.STAGE_RETRYING,
        key=lease.key,
        data={
            "attempt": lease.attempt,
            "code": failure.code,
            "message": failure.message,
            "delaySeconds": delay.total_seconds(),
        },
    )
    return outcome(
        lease,
        settle=Requeue(delay=delay, attempt=lease.attempt, failure=failure),
        left=left,
        step=Step(events=(*left.events, event)),
    )


def fail(lease: Lease, *, failure: Failure, definition: Definition, left: Left = NOTHING_LEFT) -> Change:
    """Return the change-set that fails the stage.

    Its run fails with it and siblings still live are cancelled, unless a join or a map may tolerate the failure: then
    they are told.
    """
    key = lease.key
    if key.stage_id == UNDO:
        failure = unable_to_undo(failure)
    before = (*left.events, failed(failure, key=key, attempt=lease.attempt))
    settle = Finish(status=StageStatus.FAILED, failure=failure, metrics=left.metrics)
    if key.stage_id == UNDO or not definition.absorbs(key.stage_id):
        # What could not be undone is not undone once more: that is for a person to retry.
        header = attrs.evolve(lease.run, compensates=False) if key.stage_id == UNDO else lease.run
        step = failing(failure, header=header, generation=key.generation, before=before)
        return outcome(lease, settle=settle, left=left, step=step)
    routing = Routing(definition, lease.run, generation=key.generation)
    is_item = definition.stages[key.stage_id].within is not None
    routing.leave(place_of(lease), Resolution.FAILED, origin=lease.origin if is_item else None)
    change = outcome(lease, settle=settle, left=left, step=routing.parts.step(before=before))
    return attrs.evolve(change, rules=routing.rules)


def failed(failure: Failure, *, key: StageKey, attempt: int) -> NewEvent:
    """Return the event that tells of the failed stage."""
    return NewEvent(
        type=EventType.STAGE_FAILED,
        key=key,
        data={"attempt": attempt, "code": failure.code, "message": failure.message},
    )
