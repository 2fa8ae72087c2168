"""The decision to let a pending run begin."""

from __future__ import annotations

from holdfast.change import PENDING, Change, NewTimer, RunPatch
from holdfast.decide.open import Keep, Opened, ready
from holdfast.entities.definition import Definition
from holdfast.entities.run import Run, RunStatus
from holdfast.entities.timer import TimerKind
from holdfast.events import EventType, NewEvent

#: Id of the timer that ends a run which takes too long.
DEADLINE = "deadline"


def admit(run: Run, *, definition: Definition, keep: Keep | None = None) -> Change:
    """Return the change-set that makes *run* RUNNING and its entry stages live."""
    opened = Opened(
        run=RunPatch(status=RunStatus.RUNNING),
        events=[NewEvent(type=EventType.RUN_STARTED, data={"generation": run.generation})],
    )
    ready(definition.entry, opened, definition=definition, header=run.header, generation=run.generation, keep=keep)
    return Change(run_id=run.id, require=PENDING, step=opened.step(timers=deadline(definition)))


def deadline(definition: Definition) -> tuple[NewTimer, ...]:
    """Return the timer that bounds a run of *definition*, if it has a limit."""
    if definition.timeout is None:
        return ()
    return (NewTimer(id=DEADLINE, kind=TimerKind.RUN_DEADLINE, delay=definition.timeout),)
