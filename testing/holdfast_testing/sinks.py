"""A sink that keeps what it is given and fails when it is told to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from holdfast.errors import SinkFailed
from holdfast.events import Event, EventType


class CollectingSink:
    """Collects events for a test to look at; a batch that it is told to fail leaves no trace but in `failed`."""

    def __init__(self, name: str = "collecting") -> None:
        self._name = name
        self._failures_left: float = 0
        #: The events that were taken, in order of delivery, repeats included.
        self.events: list[Event] = []
        #: How many batches were refused.
        self.failed = 0

    @property
    def name(self) -> str:
        """The name under which the store remembers how far this sink has read."""
        return self._name

    async def deliver(self, events: Sequence[Event]) -> None:
        """Take the batch, or refuse it as a whole.

        Raises:
            SinkFailed: If the sink was told to fail.
        """
        if self._failures_left:
            self._failures_left -= 1
            self.failed += 1
            raise SinkFailed(f"sink {self._name!r} was told to fail")
        self.events.extend(events)

    def fail(self, times: int | None = None) -> None:
        """Refuse the next *times* batches, or all until `heal` when it is left out."""
        self._failures_left = math.inf if times is None else times

    def heal(self) -> None:
        """Take batches again."""
        self._failures_left = 0

    def by_type(self, type: EventType) -> list[Event]:
        """Return the collected events of one type, in order of delivery."""
        return [event for event in self.events if event.type is type]

    def of_run(self, run_id: str) -> list[Event]:
        """Return the collected events of one run, in order of delivery."""
        return [event for event in self.events if event.run_id == run_id]

    def clear(self) -> None:
        """Forget what was collected so far."""
        self.events.clear()
