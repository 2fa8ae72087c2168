"""A wait: what a stage instance needs from outside before it can go on, with an identity of its own."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import attrs

from holdfast.entities.payload import Payload
from holdfast.entities.stage import StageKey


class WaitKind(enum.Enum):
    """What a wait is for."""

    #: A typed payload from a person or another system.
    PAYLOAD = "PAYLOAD"
    #: The passing of time.
    SLEEP = "SLEEP"
    #: The end of a child run.
    CHILD = "CHILD"


class WaitStatus(enum.Enum):
    """Where a wait stands."""

    OPEN = "OPEN"
    #: The payload is there, the child has ended.
    RESOLVED = "RESOLVED"
    #: Its limit was reached first; the way in which a sleep ends.
    EXPIRED = "EXPIRED"
    #: Its stage instance ended without it.
    CLOSED = "CLOSED"


#: Every legal move of a wait.
WAIT_TRANSITIONS: Final[Mapping[WaitStatus, frozenset[WaitStatus]]] = {
    WaitStatus.OPEN: frozenset({WaitStatus.RESOLVED, WaitStatus.EXPIRED, WaitStatus.CLOSED}),
    WaitStatus.RESOLVED: frozenset(),
    WaitStatus.EXPIRED: frozenset(),
    WaitStatus.CLOSED: frozenset(),
}


@attrs.frozen(kw_only=True)
class Wait:
    """A wait of one stage instance."""

    key: StageKey
    #: Unique within the stage instance. Payloads from outside are addressed by (run, name).
    name: str
    kind: WaitKind
    status: WaitStatus
    #: What it was answered with; None unless RESOLVED.
    payload: Payload | None
    #: For people: what is waited for.
    reason: str
    #: Who answered; None if nobody said.
    actor: str | None
    opened_at: datetime
    #: Its limit by the store's clock; None without one.
    due_at: datetime | None


def limit_timer(key: StageKey, name: str) -> str:
    """Return the id of the timer that ends the wait *name* of the stage instance."""
    return f"wait:{key.stage_id}:{key.generation}:{key.turn}:{key.item}:{name}"


@attrs.frozen(kw_only=True)
class Token:
    """The right to answer one wait, known to the store by its hash only."""

    run_id: str
    #: Name of the wait.
    name: str
    #: By the store's clock; whether it is past is for the store to say.
    expired: bool


@attrs.frozen(kw_only=True)
class Message:
    """A payload that arrived before its wait was opened; the first of a name stands."""

    run_id: str
    name: str
    payload: Payload
    actor: str | None
    at: datetime
