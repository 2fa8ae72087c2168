"""The decision after a stage completed: its record, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from holdfast.change import Arrival, Change, Fence, Finish, NewAnnotation, NewLog, Step
from holdfast.decide.open import Keep, open_gate
from holdfast.entities.definition import Definition
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.stage import Lease, StageStatus
from holdfast.events import EventType, NewEvent


@attrs.frozen(kw_only=True)
class Left:
    """What an attempt leaves behind besides its outcome; committed with it, whatever it is."""

    events: tuple[NewEvent, ...] = ()
    logs: tuple[NewLog, ...] = ()
    annotations: tuple[NewAnnotation, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    metrics: Mapping[str, float] = attrs.field(factory=dict)


NOTHING_LEFT = Left()


def advance(
    lease: Lease,
    *,
    definition: Definition,
    output: Payload,
    left: Left = NOTHING_LEFT,
    keep: Keep | None = None,
) -> Change:
    """Return the change-set that completes the leased stage and readies what its gates open.

    Gates of one source open at once. At the others the completion counts as one arrival, so that completions in
    parallel commute and whichever comes last opens the gate.
    """
    key = lease.key
    completed = NewEvent(type=EventType.STAGE_COMPLETED, key=key, data={"attempt": lease.attempt})
    step = Step(events=(*left.events, completed))
    arrivals: list[Arrival] = []
    for gate in definition.gates_behind[key.stage_id]:
        opening = open_gate(gate, definition=definition, header=lease.run, generation=key.generation, keep=keep)
        if len(gate.sources) == 1:
            step = _joined(step, opening)
        else:
            arrivals.append(Arrival(gate=gate.id, generation=key.generation, arity=len(gate.sources), step=opening))
    return Change(
        run_id=key.run_id,
        fence=Fence(key=key, epoch=lease.epoch),
        settle=Finish(status=StageStatus.COMPLETED, output=output, metrics=left.metrics),
        step=step,
        arrivals=tuple(arrivals),
        artifacts=left.artifacts,
        annotations=left.annotations,
        logs=left.logs,
    )


def _joined(first: Step, second: Step) -> Step:
    return Step(
        run=second.run or first.run,
        jobs=first.jobs + second.jobs,
        timers=first.timers + second.timers,
        events=first.events + second.events,
    )
