"""What a handler may return instead of its plain output: an output with a patch of the state, a failure, a wait."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import attrs

from holdfast.entities.retry import Span, span

T_co = TypeVar("T_co", covariant=True)


def _limit(until: Span | datetime | None) -> timedelta | datetime | None:
    if until is None or isinstance(until, datetime):
        return until
    return span(until)


@attrs.frozen
class Ok(Generic[T_co]):
    """The output of a stage, with what it changes in the run's state."""

    output: T_co
    #: Merged into the state as a JSON merge patch (RFC 7396): objects merge, None deletes, all else replaces.
    patch: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)


@attrs.frozen
class Fail:
    """A failure that is returned, not raised."""

    #: Stable word for machines, such as ``CARD_DECLINED``.
    code: str
    message: str = ""
    #: Whether the stage's retry policy applies; otherwise this was the last attempt.
    retryable: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Wait:
    """A wish to be called again once somebody resumed the run; ``ctx.resume`` then has the payload.

    The wait is addressed by (run, name); its payload type is declared in the stage's ``waits``.
    """

    #: For people: what is waited for.
    reason: str = ""
    #: How long, or until which aware instant by the host's clock; then the stage is called with ``ctx.timed_out``.
    until: timedelta | datetime | None = attrs.field(default=None, converter=_limit, kw_only=True)
    #: The wait's name; the only one in the stage's ``waits``, else the stage's id, if not given.
    name: str | None = attrs.field(default=None, kw_only=True)
    patch: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
