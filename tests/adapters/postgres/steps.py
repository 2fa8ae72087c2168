"""Plain steps of runs that stores of Postgres commit in one round trip."""

from __future__ import annotations

from typing import Final

from holdfast.change import Change, Fence, Finish, Grant, Step
from holdfast.entities.stage import StageStatus
from holdfast.events import EventType, NewEvent
from holdfast_testing.contracts.samples import (
    TTL,
    created,
    job,
    key,
    run_id,
    started,
)

GRANT: Final = Grant(worker="w1", ttl=TTL)


def begun(number: int = 1) -> list[Change]:
    """Return what makes a run whose first stage is granted at once."""
    return [created(number), started(number, jobs=[job(key("s0", run=number), grant=GRANT)])]


def step(at: int, *, number: int = 1, queue: str = "default", beside: bool = False) -> Change:
    """Return the plain step that completes a stage and is granted the next.

    Args:
        at: Which stage.
        number: Of which run.
        queue: Where the next one belongs.
        beside: Whether it makes another one, which nobody is granted.
    """
    this, following = key(f"s{at}", run=number), key(f"s{at + 1}", run=number)
    jobs = [job(following, queue=queue, grant=GRANT), *([job(key("z", run=number))] if beside else [])]
    events = [NewEvent(type=EventType.STAGE_COMPLETED, key=this), NewEvent(type=EventType.STAGE_STARTED, key=following)]
    return Change(
        run_id=run_id(number),
        fence=Fence(key=this, epoch=1),
        settle=Finish(status=StageStatus.COMPLETED),
        step=Step(jobs=tuple(jobs), events=tuple(events)),
    )
