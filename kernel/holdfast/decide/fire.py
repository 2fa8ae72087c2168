"""The decisions about a timer whose instant has come."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs

from holdfast.change import Change, NewTimer, Require, RunPatch, Step
from holdfast.decide.cancel import cancel
from holdfast.decide.ending import failing
from holdfast.entities.payload import Payload
from holdfast.entities.run import LIVE_RUN, Failure, Run, RunStatus
from holdfast.entities.stage import StageKey
from holdfast.entities.timer import Timer
from holdfast.entities.wait import Wait, WaitStatus
from holdfast.events import EventType, NewEvent
from holdfast.traces import Answer, NewMessage

#: How long a timer rests about which nothing can be decided now.
REST: Final = timedelta(seconds=10)


def drop(timer: Timer) -> Change:
    """Return the change-set that consumes a timer with which nothing is left to do."""
    return Change(run_id=timer.run_id, require=Require(statuses=frozenset(RunStatus)), fired=timer.id)


def put_off(timer: Timer) -> Change:
    """Return the change-set that sets the timer anew for later, because nothing can be decided about it now."""
    again = NewTimer(id=timer.id, kind=timer.kind, delay=REST)
    return Change(run_id=timer.run_id, require=Require(statuses=LIVE_RUN), fired=timer.id, step=Step(timers=(again,)))


def is_put_off(change: Change) -> bool:
    """Return whether the change-set sets the timer anew that it consumes."""
    return any(timer.id == change.fired for timer in change.step.timers)


def run_out(timer: Timer, run: Run) -> Change:
    """Return the change-set that acts on the run's deadline: the run fails and its live instances are cancelled."""
    failure = Failure(code="RUN_TIMEOUT", message="The run took longer than its workflow's timeout.")
    return Change(
        run_id=timer.run_id,
        require=Require(statuses=LIVE_RUN - {RunStatus.COMPENSATING}),
        fired=timer.id,
        step=failing(failure, header=run.header, generation=run.generation),
    )


def let_go(timer: Timer) -> Change:
    """Return the change-set that lets a run be admitted that was created to start later."""
    return Change(
        run_id=timer.run_id,
        require=Require(statuses=frozenset({RunStatus.PENDING})),
        fired=timer.id,
        step=Step(run=RunPatch(status=RunStatus.PENDING), events=(NewEvent(type=EventType.RUN_DUE),)),
    )


def expire(timer: Timer) -> Change:
    """Return the change-set that ends the wait which has reached its limit."""
    _, stage_id, generation, turn, item, name = timer.id.split(":", 5)
    key = StageKey(run_id=timer.run_id, stage_id=stage_id, generation=int(generation), turn=int(turn), item=int(item))
    return Change(
        run_id=timer.run_id,
        fired=timer.id,
        answers=(Answer(key=key, name=name, status=WaitStatus.EXPIRED),),
        step=Step(events=(NewEvent(type=EventType.STAGE_WAIT_EXPIRED, key=key, data={"name": name}),)),
    )


def hear_of_child(timer: Timer, child: Run, *, wait: Wait | None, result: Payload) -> Change:
    """Return the change-set that hands the result of *child* to the wait for it, or keeps it until there is one."""
    if wait is None:
        kept = NewMessage(name=timer.id, payload=result)
        return Change(run_id=timer.run_id, fired=timer.id, messages=(kept,))
    told = {"name": wait.name, "child": child.id, "status": child.status.value}
    return Change(
        run_id=timer.run_id,
        fired=timer.id,
        answers=(Answer(key=wait.key, name=wait.name, status=WaitStatus.RESOLVED, payload=result),),
        step=Step(events=(NewEvent(type=EventType.STAGE_RESUMED, key=wait.key, data=told),)),
    )


def follow_parent(timer: Timer, run: Run) -> Change:
    """Return the change-set that cancels a run because its parent failed or was cancelled."""
    return attrs.evolve(cancel(run, reason=f"Its parent, run {run.header.parent_id}, has ended."), fired=timer.id)
