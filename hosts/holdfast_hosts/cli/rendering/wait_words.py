"""What a run waits for, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from holdfast.entities.run import Run
from holdfast.entities.stage import StageKey
from holdfast.entities.timer import CHILD_PREFIX
from holdfast.entities.wait import Wait, WaitKind, WaitStatus
from holdfast_hosts.cli.rendering.times import date_time, took
from holdfast_hosts.cli.spelling import one_line

SLEEP_PREFIX: Final = "sleep:"
#: Waits that are named where there is room for a line.
NAMED: Final = 3


def awaited(name: str, kind: str) -> str:
    """Return what a wait of that name and kind is for."""
    if kind == WaitKind.SLEEP.value:
        return f'sleep "{name.removeprefix(SLEEP_PREFIX)}"'
    if kind == WaitKind.CHILD.value:
        return f"child run {name.removeprefix(CHILD_PREFIX)}"
    return f'"{name}"'


def kind_of(name: str) -> str:
    """Return the kind of a wait by its name, for events that tell no more."""
    if name.startswith(SLEEP_PREFIX):
        return WaitKind.SLEEP.value
    return WaitKind.CHILD.value if name.startswith(CHILD_PREFIX) else WaitKind.PAYLOAD.value


def told_waits(told: Iterable[Mapping[str, Any]]) -> str:
    """Return what an event says is waited for, with why and how long."""
    return ", ".join(_told(one) for one in told)


def _told(one: Mapping[str, Any]) -> str:
    name, kind = str(one.get("name", "")), str(one.get("kind", WaitKind.PAYLOAD.value))
    limit = timedelta(seconds=float(one["limitSeconds"])) if "limitSeconds" in one else None
    reason = f" ({one_line(str(one['reason']))})" if one.get("reason") else ""
    if kind == WaitKind.SLEEP.value:
        return awaited(name, kind) + (f" for {took(limit)}" if limit is not None else "")
    return f"{awaited(name, kind)}{reason}" + (f", at most {took(limit)}" if limit is not None else "")


def wait_words(wait: Wait, *, now: datetime) -> str:
    """Return what an open wait is for, and how long until its limit."""
    words = awaited(wait.name, wait.kind.value)
    if wait.reason:
        words += f" ({one_line(wait.reason)})"
    if wait.due_at is None:
        return words
    left = wait.due_at - now
    if left < timedelta():
        return f"{words}, its limit passed {took(-left)} ago"
    return f"{words}, {'over in' if wait.kind is WaitKind.SLEEP else 'at most'} {took(left)}"


def open_waits(waits: Iterable[Wait]) -> list[Wait]:
    """Return the waits that are not answered yet."""
    return [wait for wait in waits if wait.status is WaitStatus.OPEN]


def by_instance(waits: Iterable[Wait]) -> Mapping[StageKey, list[Wait]]:
    """Return the open waits of each stage instance."""
    found: dict[StageKey, list[Wait]] = {}
    for wait in open_waits(waits):
        found.setdefault(wait.key, []).append(wait)
    return found


def waits_line(waits: Iterable[Wait], *, now: datetime) -> str:
    """Return what a run waits for and since when, in one line."""
    there = open_waits(waits)
    if not there:
        return ""
    named = ", ".join(wait_words(wait, now=now) for wait in there[:NAMED])
    more = f" and {len(there) - NAMED:,} more" if len(there) > NAMED else ""
    since = took(now - min(wait.opened_at for wait in there))
    return f"waits for {named}{more}; since {since}"


def held_words(run: Run, begins: datetime | None, *, utc: bool) -> str:
    """Return until when a run is held that was created to start later."""
    if not run.held:
        return ""
    return "held back" if begins is None else f"held until {date_time(begins, utc=utc)}"
