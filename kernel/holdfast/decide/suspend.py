"""The decisions about a batch stage that waits for outside work: suspend it, and poll it again."""

from __future__ import annotations

from datetime import timedelta

from holdfast.change import Change, Requeue, Step, Suspend
from holdfast.decide.outcome import NOTHING_LEFT, Left, outcome
from holdfast.entities.definition import Polling
from holdfast.entities.payload import Payload
from holdfast.entities.stage import Lease
from holdfast.events import EventType, NewEvent


def suspend(lease: Lease, *, polling: Polling, state: Payload, left: Left = NOTHING_LEFT) -> Change:
    """Return the change-set that parks the stage with *state* until its first poll."""
    delay = min(polling.every, polling.give_up_after)
    event = NewEvent(
        type=EventType.STAGE_SUSPENDED,
        key=lease.key,
        data={
            "attempt": lease.attempt,
            "pollInSeconds": delay.total_seconds(),
            "giveUpInSeconds": polling.give_up_after.total_seconds(),
        },
    )
    return outcome(
        lease,
        settle=Suspend(state=state, delay=delay, give_up_after=polling.give_up_after),
        left=left,
        step=Step(events=(*left.events, event)),
    )


def poll_again(lease: Lease, *, delay: timedelta, left: Left = NOTHING_LEFT) -> Change:
    """Return the change-set that polls the stage again after *delay*; it went well, so attempts start again."""
    return outcome(lease, settle=Requeue(delay=delay, attempt=0), left=left, step=Step(events=left.events))
