"""The port that holds queues back: their limits, changed while everything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from holdfast.entities.queue import QueueLimits, QueueState


class Queues(Protocol):
    """Keeps the limits of queues; `Work.lease` and `Journal.commit` heed them.

    A queue needs no entry: without one it has no limits. What counts against a limit is a lease that has not ended by
    the store's clock, whenever it was granted: leases past their end never do, so that nothing has to be taken back
    before others may begin. A limit that is lowered takes no lease away.
    """

    async def set_queue(self, limits: QueueLimits) -> None:
        """Give the queue these limits instead of those it had; heeded by every grant that begins after it returns.

        Limits that hold nothing back take the entry away. The bucket of a rate that was not there before, or that has
        other numbers, is full.
        """
        ...

    async def list_queues(self) -> Sequence[QueueState]:
        """Return every queue that has limits, and every other one that has live jobs, in order of name."""
        ...
