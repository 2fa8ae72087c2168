"""A queue and its limits: how many of its jobs are leased at once, and how many begin in a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import attrs

_MICROSECOND: Final = timedelta(microseconds=1)
#: No debt of tokens lasts longer, whatever an attempt weighs.
LONGEST_DEBT: Final = timedelta(days=3_660)


@attrs.frozen(kw_only=True)
class Rate:
    """How fast the jobs of a queue may begin: a token bucket, filled evenly with *tokens* each *period*.

    An attempt takes as many tokens as its stage weighs when it begins. Tokens that nobody takes are saved up to
    *burst*; so within any *period* at most *burst* and *tokens* together are taken. An attempt that weighs more than
    *burst* begins when the bucket is full, and the next ones wait until the debt is paid.
    """

    #: How many become free in each period.
    tokens: int
    #: How long a period is.
    period: timedelta
    #: How many are saved up at most; as many as *tokens* unless it is given.
    burst: int = attrs.field(default=attrs.Factory(lambda self: self.tokens, takes_self=True))

    def span_of(self, tokens: int) -> timedelta:
        """Return how long it takes to fill in so many tokens, rounded up to microseconds, `LONGEST_DEBT` at most."""
        longest = LONGEST_DEBT // _MICROSECOND
        return timedelta(microseconds=min(-((-tokens * (self.period // _MICROSECOND)) // self.tokens), longest))

    def take(self, full_at: datetime | None, *, now: datetime, weight: int) -> datetime | None:
        """Return when the bucket will be full after *weight* tokens are taken now; None if they are not there.

        Args:
            full_at: When the bucket is full if nothing is taken; None for one that is full.
            now: The store's time.
            weight: How many tokens are taken.
        """
        lacking = max(full_at - now, timedelta()) if full_at is not None else timedelta()
        if weight and lacking > self.span_of(self.burst - min(weight, self.burst)):
            return None
        return now + min(lacking + self.span_of(weight), LONGEST_DEBT)


@attrs.frozen(kw_only=True)
class QueueLimits:
    """What holds a queue back; one without limits that is not paused is like one that nobody configured."""

    #: The queue's name, as stages give it.
    name: str
    #: So many of its jobs are leased at once at most; None for any number.
    concurrency: int | None = None
    #: So many of its jobs whose runs have the same tenant and concurrency key are leased at once at most.
    per_key: int | None = None
    #: How fast its jobs may begin.
    rate: Rate | None = None
    #: Whether no job of it is leased at all.
    paused: bool = False

    @property
    def has_any(self) -> bool:
        """Whether anything holds the queue back."""
        return self.paused or not (self.concurrency is None and self.per_key is None and self.rate is None)


@attrs.frozen(kw_only=True)
class QueueState:
    """A queue as it stands, for people."""

    #: What holds it back.
    limits: QueueLimits
    #: Jobs that are READY and due, whether there is room for them or not.
    ready: int
    #: Jobs under leases that have not ended.
    leased: int
    #: How long the first of the due jobs has been due; None if there is none.
    oldest: timedelta | None
