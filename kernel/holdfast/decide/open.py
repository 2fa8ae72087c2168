"""What follows when a gate opens: the next stages become live, or the run is complete."""

from __future__ import annotations

import attrs

from holdfast.change import Grant, NewJob, RunPatch, Step
from holdfast.entities.definition import Definition, Gate
from holdfast.entities.run import RunHeader, RunStatus
from holdfast.entities.stage import StageKey
from holdfast.events import EventType, NewEvent


@attrs.frozen(kw_only=True)
class Keep:
    """The worker that would like to go on with what follows, and the queues it serves."""

    grant: Grant
    queues: frozenset[str]


def open_gate(
    gate: Gate, *, definition: Definition, header: RunHeader, generation: int, keep: Keep | None = None
) -> Step:
    """Return what follows from the opening of *gate*."""
    if not gate.targets:
        return Step(
            run=RunPatch(status=RunStatus.COMPLETED, output_of=definition.final),
            events=(NewEvent(type=EventType.RUN_COMPLETED, data={"outputOf": list(definition.final)}),),
        )
    return ready(gate.targets, definition=definition, header=header, generation=generation, keep=keep)


def ready(
    stage_ids: tuple[str, ...],
    *,
    definition: Definition,
    header: RunHeader,
    generation: int,
    keep: Keep | None = None,
) -> Step:
    """Return the step that makes these stages live, the first that *keep* can take already leased to its worker."""
    jobs: list[NewJob] = []
    events: list[NewEvent] = []
    for stage_id in stage_ids:
        spec = definition.stages[stage_id]
        key = StageKey(run_id=header.id, stage_id=stage_id, generation=generation)
        grant = keep.grant if keep is not None and spec.queue in keep.queues else None
        if grant is not None:
            keep = None
            data = {"attempt": 1, "worker": grant.worker}
            events.append(NewEvent(type=EventType.STAGE_STARTED, key=key, data=data))
        else:
            events.append(NewEvent(type=EventType.STAGE_READY, key=key))
        jobs.append(
            NewJob(
                key=key,
                workflow_id=header.workflow_id,
                workflow_version=header.workflow_version,
                queue=spec.queue,
                priority=header.priority,
                max_attempts=spec.retry.attempts,
                grant=grant,
            )
        )
    return Step(jobs=tuple(jobs), events=tuple(events))
