"""What stands beside the waits of a stage instance when they are opened: their limits, and the event that tells."""

from __future__ import annotations

from holdfast.change import NewTimer, NewWait
from holdfast.entities.stage import StageKey
from holdfast.entities.timer import TimerKind
from holdfast.entities.wait import limit_timer
from holdfast.events import EventType, NewEvent


def opening(key: StageKey, waits: tuple[NewWait, ...]) -> tuple[list[NewTimer], NewEvent]:
    """Return the timers that limit the waits of a stage instance, and the event that tells of them."""
    timers = [
        NewTimer(id=limit_timer(key, wait.name), kind=TimerKind.WAIT_LIMIT, delay=wait.timeout)
        for wait in waits
        if wait.timeout is not None
    ]
    told = [
        {
            "name": wait.name,
            "kind": wait.kind.value,
            **({} if wait.timeout is None else {"limitSeconds": wait.timeout.total_seconds()}),
            **({"reason": wait.reason} if wait.reason else {}),
        }
        for wait in waits
    ]
    return timers, NewEvent(type=EventType.STAGE_WAITING, key=key, data={"waits": told})
