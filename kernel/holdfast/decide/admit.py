"""The decision to let a pending run begin."""

from __future__ import annotations

import attrs

from holdfast.change import PENDING, Change, NewTimer, RunPatch
from holdfast.decide.route import Keep, Routing
from holdfast.entities.definition import Definition
from holdfast.entities.run import Run, RunStatus
from holdfast.entities.timer import DEADLINE, TimerKind
from holdfast.events import EventType, NewEvent


def admit(run: Run, *, definition: Definition, keep: Keep | None = None) -> Change:
    """Return the change-set that makes *run* RUNNING and its entry stages live."""
    routing = Routing(definition, run.header, generation=run.generation, keep=keep)
    routing.begin()
    started = NewEvent(type=EventType.RUN_STARTED, data={"generation": run.generation})
    step = routing.parts.step(before=(started,))
    step = attrs.evolve(step, run=RunPatch(status=RunStatus.RUNNING), timers=(*deadline(definition), *step.timers))
    return Change(run_id=run.id, require=PENDING, step=step, rules=routing.rules)


def deadline(definition: Definition) -> tuple[NewTimer, ...]:
    """Return the timer that bounds a run of *definition*, if it has a limit."""
    if definition.timeout is None:
        return ()
    return (NewTimer(id=DEADLINE, kind=TimerKind.RUN_DEADLINE, delay=definition.timeout),)
