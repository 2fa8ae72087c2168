"""What follows when a gate opens: the next stages become live, or the run is complete."""

from __future__ import annotations

import attrs

from holdfast.change import Grant, NewJob, NewTimer, RunPatch, Step
from holdfast.entities.definition import Definition, Gate
from holdfast.entities.run import RunHeader, RunStatus
from holdfast.entities.stage import StageKey
from holdfast.events import EventType, NewEvent


@attrs.frozen(kw_only=True)
class Keep:
    """The worker that would like to go on with what follows, and the queues it serves."""

    grant: Grant
    queues: frozenset[str]


@attrs.define
class Opened:
    """What opening gates adds to a step, gathered before the step is made."""

    jobs: list[NewJob] = attrs.field(factory=list)
    events: list[NewEvent] = attrs.field(factory=list)
    run: RunPatch | None = None

    def step(self, *, timers: tuple[NewTimer, ...] = ()) -> Step:
        """Return all of it as one step."""
        return Step(run=self.run, jobs=tuple(self.jobs), timers=timers, events=tuple(self.events))


def open_gate(
    gate: Gate, opened: Opened, *, definition: Definition, header: RunHeader, generation: int, keep: Keep | None = None
) -> None:
    """Add to *opened* what follows from the opening of *gate*: the run's end, or its targets become live."""
    if gate.targets:
        ready(gate.targets, opened, definition=definition, header=header, generation=generation, keep=keep)
        return
    opened.run = RunPatch(status=RunStatus.COMPLETED, output_of=definition.final)
    opened.events.append(NewEvent(type=EventType.RUN_COMPLETED, data={"outputOf": list(definition.final)}))


def ready(
    stage_ids: tuple[str, ...],
    opened: Opened,
    *,
    definition: Definition,
    header: RunHeader,
    generation: int,
    keep: Keep | None = None,
) -> None:
    """Add to *opened* that these stages become live, the first that *keep* can take already leased to its worker."""
    for stage_id in stage_ids:
        spec = definition.stages[stage_id]
        key = StageKey(run_id=header.id, stage_id=stage_id, generation=generation)
        grant = keep.grant if keep is not None and spec.queue in keep.queues else None
        if grant is not None:
            keep = None
            data = {"attempt": 1, "worker": grant.worker}
            opened.events.append(NewEvent(type=EventType.STAGE_STARTED, key=key, data=data))
        else:
            opened.events.append(NewEvent(type=EventType.STAGE_READY, key=key))
        opened.jobs.append(
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
