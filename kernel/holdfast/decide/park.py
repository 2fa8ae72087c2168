"""The decisions about waits: park a stage instance until something happens, and tell it that it has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

import attrs

from holdfast.change import Change, NewWait, Park, Requeue, Require, Step
from holdfast.decide.opening import opening
from holdfast.decide.outcome import NOTHING_LEFT, Left, outcome
from holdfast.entities.keyed import KeyedResult
from holdfast.entities.payload import Payload
from holdfast.entities.run import FORWARD_RUN, RunStatus
from holdfast.entities.stage import Lease
from holdfast.entities.wait import Wait, WaitStatus, limit_timer
from holdfast.events import EventType, NewEvent
from holdfast.traces import Answer, NewMessage


def park(
    lease: Lease,
    *,
    waits: tuple[NewWait, ...],
    open_already: Collection[str],
    left: Left = NOTHING_LEFT,
    patch: Mapping[str, Any] | None = None,
) -> Change:
    """Return the change-set that gives the worker back until one of *waits* is answered or reaches its limit.

    Args:
        lease: The attempt that cannot go on.
        waits: What it waits for.
        open_already: Names of those that were opened before; their limits stand.
        left: What the attempt leaves behind.
        patch: What it changes in the run's state.
    """
    new = tuple(wait for wait in waits if wait.name not in open_already)
    timers, _ = opening(lease.key, new)
    _, told = opening(lease.key, waits)
    change = outcome(
        lease,
        settle=Park(waits=waits),
        left=left,
        step=Step(timers=tuple(timers), events=(*left.events, told)),
    )
    return attrs.evolve(change, patch=patch) if patch else change


def answer(wait: Wait, *, payload: Payload, actor: str | None) -> Change:
    """Return the change-set that hands *payload* to an open wait."""
    told = {"name": wait.name} if actor is None else {"name": wait.name, "by": actor}
    return Change(
        run_id=wait.key.run_id,
        require=Require(statuses=FORWARD_RUN),
        answers=(Answer(key=wait.key, name=wait.name, status=WaitStatus.RESOLVED, payload=payload, actor=actor),),
        step=Step(
            cancels=() if wait.due_at is None else (limit_timer(wait.key, wait.name),),
            events=(NewEvent(type=EventType.STAGE_RESUMED, key=wait.key, data=told),),
        ),
    )


def keep_message(run_id: str, *, name: str, payload: Payload, actor: str | None) -> Change:
    """Return the change-set that keeps *payload* until a wait of that name is opened."""
    told = {"name": name} if actor is None else {"name": name, "by": actor}
    return Change(
        run_id=run_id,
        require=Require(statuses=FORWARD_RUN | {RunStatus.PENDING}),
        messages=(NewMessage(name=name, payload=payload, actor=actor),),
        step=Step(events=(NewEvent(type=EventType.RUN_MESSAGE_KEPT, data=told),)),
    )


#: How long a job waits before it looks again whether a key is free; doubles with each look.
_FIRST_LOOK = timedelta(seconds=1)
_LAST_LOOK = timedelta(seconds=60)
_MOST_DOUBLINGS = 6


def await_key(lease: Lease, *, held: KeyedResult) -> Change:
    """Return the change-set that lets the job look again later whether the key is free; its attempt is given back."""
    # The epoch rises twice with each look: when the lease is given and when it is settled.
    looks = (lease.epoch - 1) // 2
    delay = min(_FIRST_LOOK * 2 ** min(looks, _MOST_DOUBLINGS), _LAST_LOOK)
    told = {
        "holder": held.holder.run_id,
        "delaySeconds": delay.total_seconds(),
    }
    return outcome(
        lease,
        settle=Requeue(delay=delay, attempt=max(lease.attempt - 1, 0)),
        step=Step(events=(NewEvent(type=EventType.STAGE_KEY_AWAITED, key=lease.key, data=told),)),
    )
