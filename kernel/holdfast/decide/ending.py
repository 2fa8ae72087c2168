"""How a run ends otherwise than well: at once, or after what its stages did has been undone."""

from __future__ import annotations

import attrs

from holdfast.change import NewJob, RunPatch, Step
from holdfast.entities.definition import DEFAULT_QUEUE, UNDO, UNDO_RETRY
from holdfast.entities.run import Failure, RunHeader, RunStatus
from holdfast.entities.stage import StageKey
from holdfast.events import EventType, NewEvent


def failing(failure: Failure, *, header: RunHeader, generation: int, before: tuple[NewEvent, ...] = ()) -> Step:
    """Return the step that fails the run, or begins to undo it; *before* are facts that come first."""
    told = {"code": failure.code, "message": failure.message}
    if failure.stage_id is not None:
        told = {"stage": failure.stage_id, **told}
    if header.compensates:
        return undoing(failure, header=header, generation=generation, before=before, told={"because": "failed", **told})
    return Step(
        run=RunPatch(status=RunStatus.FAILED, failure=failure),
        events=(*before, NewEvent(type=EventType.RUN_FAILED, data=told)),
    )


def cancelling(reason: str | None, *, header: RunHeader, generation: int, is_pending: bool) -> Step:
    """Return the step that cancels the run, or begins to undo it."""
    told = {} if reason is None else {"reason": reason}
    if header.compensates and not is_pending:
        return undoing(None, header=header, generation=generation, told={"because": "cancelled", **told})
    return Step(run=RunPatch(status=RunStatus.CANCELLED), events=(NewEvent(type=EventType.RUN_CANCELLED, data=told),))


def unable_to_undo(failure: Failure) -> Failure:
    """Return the failure of a run whose stages could not be undone, for the reason that *failure* gives."""
    return attrs.evolve(failure, code="COMPENSATION_FAILED", stage_id=UNDO)


def undoing(
    failure: Failure | None,
    *,
    header: RunHeader,
    generation: int,
    told: dict[str, str],
    before: tuple[NewEvent, ...] = (),
    origin: int | None = None,
) -> Step:
    """Return the step that closes everything of the run and begins to undo what its stages did."""
    key = StageKey(run_id=header.id, stage_id=UNDO, generation=generation)
    job = NewJob(
        key=key,
        workflow_id=header.workflow_id,
        workflow_version=header.workflow_version,
        queue=DEFAULT_QUEUE,
        priority=header.priority,
        max_attempts=UNDO_RETRY.attempts,
        origin=generation if origin is None else origin,
    )
    return Step(
        run=RunPatch(status=RunStatus.COMPENSATING, failure=failure),
        jobs=(job,),
        events=(
            *before,
            NewEvent(type=EventType.RUN_COMPENSATING, data=told),
            NewEvent(type=EventType.STAGE_READY, key=key),
        ),
    )
