"""The port that lets go of what is over: runs that ended long ago, and the records that outlive them for a while."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import attrs


@attrs.frozen(kw_only=True)
class Terms:
    """How long what is over is kept, by the store's clock."""

    #: A run goes once it ended at least so long ago.
    runs: timedelta
    #: A run that made results under keys goes once it ended at least so long ago, if that is later; they go with it.
    results: timedelta
    #: Operation records, those of idempotency keys included, go so long after their run has gone.
    operations: timedelta


@attrs.frozen(kw_only=True)
class Place:
    """A place in the order in which runs ended; those that ended at one instant stand in order of id."""

    #: When the run ended.
    finished_at: datetime
    run_id: str


@attrs.frozen(kw_only=True)
class Pruned:
    """What one batch came to."""

    #: The runs that went, in the order in which they ended; in a trial those that would go.
    run_ids: tuple[str, ...]
    #: How many runs were looked at.
    looked_at: int
    #: Where to go on; None when there is nothing behind it.
    next: Place | None


class Retention(Protocol):
    """Removes what is over, batch by batch: it may be stopped and begun again at any time, and by several at once."""

    async def prune(self, terms: Terms, *, limit: int, after: Place | None = None, trial: bool = False) -> Pruned:
        """Look at the next *limit* runs that ended long enough ago, longest ago first, and remove those that may go.

        Looked at is a run that is terminal and ended at least `Terms.runs` ago, and of those only the ones behind
        *after*. It may go unless something still refers to it:

        1. its parent is live, or ended less than `Terms.runs` ago;
        2. a run that it started is live;
        3. a sink that has ever asked for events has not taken all of its own: they are undelivered, delayed, leased
           or parked;
        4. it keeps a result under a key and ended less than `Terms.results` ago.

        A run that somebody else is writing just now is passed over. In one transaction everything of the runs that
        may go is removed: stage instances, events and the streams that lead to sinks, gates, items, timers, waits,
        messages, tokens, state, results under keys, artifacts, checkpoints, annotations and logs. Their operation
        records stay, and are noted to go `Terms.operations` later. Blobs are not the store's: whoever prunes removes
        those of the runs that went afterwards, so that a crash in between leaves bytes that nobody names, never a
        name without bytes.

        With *trial* nothing is removed or noted.
        """
        ...

    async def forget_operations(self, *, limit: int) -> int:
        """Remove at most *limit* operation records whose time has come, longest due first; return how many."""
        ...

    async def forget_sink(self, name: str) -> bool:
        """Forget that the sink has ever asked for events, with its streams; return whether it had.

        Nothing waits for it any more. If it asks again it is new, and is given all events there are.
        """
        ...

    async def list_missing(self, run_ids: Sequence[str]) -> Sequence[str]:
        """Return those of *run_ids* of which there is no run, in the order given."""
        ...
