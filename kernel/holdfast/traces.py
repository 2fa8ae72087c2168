"""What a change-set writes beside the state of runs and jobs: notes, kept results, answers, keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from holdfast.entities.keyed import KeyScope
from holdfast.entities.payload import Payload
from holdfast.entities.stage import StageKey
from holdfast.entities.wait import WaitStatus


@attrs.frozen(kw_only=True)
class NewAnnotation:
    """A note of who and why on a run, or on a stage instance when *key* is given."""

    name: str
    value: Any
    key: StageKey | None = None
    attempt: int | None = None
    actor: str | None = None


@attrs.frozen(kw_only=True)
class NewCheckpoint:
    """The result of one step inside a stage instance, kept so that a later attempt need not do the step again."""

    key: StageKey
    #: Unique within the stage instance; the first result of a name stands.
    name: str
    result: Payload


@attrs.frozen(kw_only=True)
class Answer:
    """An end of an OPEN wait; a WAITING job it belongs to becomes READY and due at once.

    The store appends nothing of its own: the event stands in the step.
    """

    key: StageKey
    name: str
    #: RESOLVED or EXPIRED.
    status: WaitStatus
    payload: Payload | None = None
    actor: str | None = None


@attrs.frozen(kw_only=True)
class NewMessage:
    """A payload whose wait is not open yet; the wait of that name that is opened first takes it."""

    name: str
    payload: Payload
    actor: str | None = None


@attrs.frozen(kw_only=True)
class NewToken:
    """The right to answer a wait of the run."""

    #: SHA-256 of the token, as lower-case hex; the token itself is never stored.
    hash: str
    #: Name of the wait.
    name: str
    lifetime: timedelta


@attrs.frozen(kw_only=True)
class Reservation:
    """The fenced job wants to execute under a key, or to keep its result under it."""

    scope: KeyScope
    fingerprint: str
    #: None to take the key, the result to keep it.
    output: Payload | None = None


@attrs.frozen
class Statement:
    """One statement on tables of the application's own, in the SQL of the store's database."""

    sql: str
    #: What stands for its placeholders, as the driver of the store takes it; None for a statement without any.
    parameters: Sequence[Any] | Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Supersede:
    """Records of a stage that a rerun or retry makes invisible to the run: those of the turn and of later ones."""

    stage_id: str
    from_turn: int = 0
    #: Whether COMPLETED and SKIPPED records are meant as well, and the answers of their waits forgotten.
    completed: bool = True


@attrs.frozen(kw_only=True)
class NewLog:
    """One log line of a stage instance."""

    key: StageKey
    attempt: int
    level: str
    message: str
    data: Mapping[str, Any]
    #: By the host's clock: log lines are told apart, never ordered against the store.
    at: datetime
