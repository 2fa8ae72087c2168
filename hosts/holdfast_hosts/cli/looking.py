"""What there is to know of a run beside its row: what it waits for, its children, why it is held back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from holdfast.entities.run import TERMINAL_RUN, Run, RunStatus
from holdfast.entities.wait import Wait, WaitStatus
from holdfast.events import Event, EventType
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter

#: Waits of one run that are read; those beyond are the oldest.
MOST_WAITS: Final = 1_000
#: Children that are shown.
MOST_CHILDREN: Final = 20


@attrs.frozen(kw_only=True)
class Family:
    """The children of a run."""

    #: Newest first.
    children: Sequence[Run] = ()
    #: Whether there are others.
    has_more: bool = False


@attrs.frozen(kw_only=True)
class Listed:
    """A run with what it waits for."""

    run: Run
    #: Open ones, of a WAITING run.
    waits: Sequence[Wait] = ()
    #: When a run begins that was created to start later.
    begins: datetime | None = None


async def open_waits_of(run: Run, persistence: Persistence) -> list[Wait]:
    """Return what the run waits for; nothing once it has ended."""
    if run.status in TERMINAL_RUN or run.status is RunStatus.PENDING:
        return []
    waits = await persistence.list_run_waits(run.id, limit=MOST_WAITS)
    return [wait for wait in waits if wait.status is WaitStatus.OPEN]


async def family_of(run: Run, persistence: Persistence) -> Family:
    """Return the children of the run."""
    found = await persistence.list_runs(RunFilter(parent_id=run.id), limit=MOST_CHILDREN + 1)
    return Family(children=found[:MOST_CHILDREN], has_more=len(found) > MOST_CHILDREN)


async def begins_at(run: Run, persistence: Persistence) -> datetime | None:
    """Return when a run begins that was created to start later, None if it is not held."""
    if not run.held:
        return None
    (created,) = await persistence.list_events(run.id, limit=1)
    return created.at + timedelta(seconds=float(created.data.get("startInSeconds", 0)))


def paused_words(run: Run, events: Iterable[Event]) -> str | None:
    """Return since when and why the run is PAUSED, as far as *events* tell; None if it is not."""
    if run.status is not RunStatus.PAUSED:
        return None
    last = [event for event in events if event.type is EventType.RUN_PAUSED]
    return str(last[-1].data.get("reason") or "without a reason") if last else "by a person"
