"""The port that takes committed events out of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from holdfast.events import Event


class EventSink(Protocol):
    """Receives events at least once, in order per run; repeats only ever begin at a number already seen."""

    @property
    def name(self) -> str:
        """The name under which the store remembers how far this sink has read; stable across restarts."""
        ...

    async def deliver(self, events: Sequence[Event]) -> None:
        """Take a batch of events of one run, in order; all of them are taken when the call returns.

        Raises:
            Exception: Any error means that none is taken for certain; the batch comes again later.
        """
        ...
