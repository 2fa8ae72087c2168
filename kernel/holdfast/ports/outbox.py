"""The port that hands out committed events for delivery to a sink, in order per run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import attrs

from holdfast.events import Event


@attrs.frozen(kw_only=True)
class Stream:
    """The undelivered events of one run, leased for delivery to one sink."""

    run_id: str
    sink: str
    #: Fencing token of this delivery; rises with every grant.
    epoch: int
    #: Number of the last event that the sink took; 0 for none.
    position: int
    #: Failed deliveries of the present head event in a row.
    failures: int
    #: The next events in order, from position + 1.
    events: tuple[Event, ...]


@attrs.frozen(kw_only=True)
class Delivery:
    """What became of a leased stream."""

    run_id: str
    sink: str
    epoch: int
    #: Number of the last event that the sink has taken now.
    position: int
    #: Failures of the head event in a row; 0 after a success.
    failures: int = 0
    #: How long to wait before the next try.
    delay: timedelta = timedelta()
    #: Whether the stream stops until somebody replays or skips its head: the dead-letter state.
    parked: bool = False
    #: Why the last delivery failed, if it did.
    error: str | None = None


class Outbox(Protocol):
    """Hands out streams of undelivered events; one holder for each (run, sink) at a time."""

    async def lease_streams(self, *, sink: str, limit: int, events: int, ttl: timedelta) -> Sequence[Stream]:
        """Lease at most *limit* streams that have undelivered events for *sink* and are due, longest waiting first.

        At most *events* events are returned in all, at least one for each stream, each stream's from its position
        on and without gaps; a stream that would get none is not leased. A stream that is parked, waits for its
        delay, or is leased to somebody else is not eligible. A lease that is past its end may be taken over, and
        its epoch rises.
        """
        ...

    async def settle_streams(self, deliveries: Sequence[Delivery]) -> Sequence[bool]:
        """Store each delivery's position and release its lease; return for each whether its lease still held.

        A delivery whose epoch is no longer the stream's changes nothing.
        """
        ...

    async def replay_parked(self, *, sink: str, limit: int) -> int:
        """Make at most *limit* parked streams of *sink* due again from their heads; return how many."""
        ...
