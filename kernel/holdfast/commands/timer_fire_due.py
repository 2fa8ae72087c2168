"""Fire timers that are due."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.change import Committed
from holdfast.command import Command, Ports
from holdfast.decide.fire import fire
from holdfast.naming import check_number
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
    """Act on every due timer; one that another host fired first is left alone."""
    check_number("limit", command.limit)
    timers = await ports.persistence.list_due_timers(limit=command.limit)
    if not timers:
        return TimerFireDueResult(fired=0)
    changes = [fire(timer) for timer in timers]
    fired = 0
    for change, outcome in zip(changes, await ports.persistence.commit(changes), strict=True):
        if isinstance(outcome, Committed):
            await announce(change, outcome, ports)
            fired += 1
    return TimerFireDueResult(fired=fired)
