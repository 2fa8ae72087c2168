"""Fire timers that are due."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.change import Change, Committed
from holdfast.command import Command, Ports
from holdfast.decide.fire import drop, expire, follow_parent, hear_of_child, is_put_off, let_go, put_off, run_out
from holdfast.entities.run import Run, RunStatus
from holdfast.entities.timer import CHILD_PREFIX, Timer, TimerKind
from holdfast.entities.wait import WaitStatus
from holdfast.errors import CommitUnknown, PayloadTooLarge, SingletonTaken, StaleVersion, StoreUnavailable, Unavailable
from holdfast.naming import check_number
from holdfast.payloads import child_result, inline, keep, unreadable_result
from holdfast.settling import announce


@attrs.frozen(kw_only=True)
class TimerFireDueResult:
    """How many timers acted."""

    fired: int


@attrs.frozen(kw_only=True)
class TimerFireDue(Command[TimerFireDueResult]):
    """Fire at most *limit* due timers; each acts once, whoever fires it."""

    type: ClassVar[str] = "timer.fireDue"

    limit: int = 100


async def handle(command: TimerFireDue, ports: Ports) -> TimerFireDueResult:
    """Act on every due timer; one that another host fired first is left alone, one that cannot be decided put off."""
    check_number("limit", command.limit)
    timers = await ports.persistence.list_due_timers(limit=command.limit)
    if not timers:
        return TimerFireDueResult(fired=0)
    changes = [await _decided(timer, ports) for timer in timers]
    fired = 0
    obsolete: list[Change] = []
    outcomes = await ports.persistence.commit(changes)
    for timer, change, outcome in zip(timers, changes, outcomes, strict=True):
        if isinstance(outcome, Committed):
            await announce(change, outcome, ports)
            fired += not is_put_off(change)
        elif isinstance(outcome, SingletonTaken):
            # Not dropped: the run that has the key may have ended since, and nobody would come back to this one.
            obsolete.append(put_off(timer))
        elif isinstance(outcome, StaleVersion) and timer.kind is TimerKind.WAIT_LIMIT:
            obsolete.append(drop(timer))
    if obsolete:
        # The waits that these limit are over; left there they would be looked at for ever.
        outcomes = await ports.persistence.commit(obsolete)
        for change, outcome in zip(obsolete, outcomes, strict=True):
            fired += isinstance(outcome, Committed) and not is_put_off(change)
    return TimerFireDueResult(fired=fired)


async def _decided(timer: Timer, ports: Ports) -> Change:
    """Return the change-set for the timer, which sets it anew if something that it needs cannot be read now.

    Left as it is it would stand in front of all others, and none would ever fire again.
    """
    try:
        return await _what_follows(timer, ports)
    except (StoreUnavailable, CommitUnknown):
        raise
    except Unavailable:
        return put_off(timer)


async def _what_follows(timer: Timer, ports: Ports) -> Change:
    if timer.kind is TimerKind.WAIT_LIMIT:
        return expire(timer)
    if timer.kind is TimerKind.RUN_START:
        return let_go(timer)
    if timer.kind is TimerKind.CHILD_ENDED:
        return await _child_ended(timer, ports)
    run = await ports.persistence.find_run(timer.run_id)
    if run is None or run.status is RunStatus.COMPENSATING:
        return drop(timer)
    if timer.kind is TimerKind.PARENT_ENDED:
        return follow_parent(timer, run) if await _is_left_alone(run, ports) else drop(timer)
    return run_out(timer, run)


async def _is_left_alone(run: Run, ports: Ports) -> bool:
    """Return whether the parent has ended otherwise than well: a retry may have brought it back meanwhile."""
    parent_id = run.header.parent_id
    assert parent_id is not None, "only children are told of their parents"
    parent = await ports.persistence.find_run(parent_id)
    return parent is None or parent.status in {RunStatus.FAILED, RunStatus.CANCELLED}


async def _child_ended(timer: Timer, ports: Ports) -> Change:
    child = await ports.persistence.find_run(timer.id.removeprefix(CHILD_PREFIX))
    waits = await ports.persistence.list_named_waits(timer.run_id, timer.id)
    message = await ports.persistence.find_message(timer.run_id, timer.id)
    wait = next((one for one in waits if one.status is WaitStatus.OPEN), None)
    is_told = message is not None or any(one.status is WaitStatus.RESOLVED for one in waits)
    if child is None or not child.status.is_terminal or (is_told and wait is None):
        return drop(timer)
    try:
        result = await keep(
            await child_result(child, persistence=ports.persistence, blob_store=ports.blob_store),
            prefix=f"{timer.run_id}/child/{child.id}",
            what=f"result of child run {child.id}",
            blob_store=ports.blob_store,
            settings=ports.settings,
        )
    except PayloadTooLarge as error:
        result = inline(unreadable_result("RESULT_TOO_LARGE", str(error)))
    return hear_of_child(timer, child, wait=wait, result=result)
