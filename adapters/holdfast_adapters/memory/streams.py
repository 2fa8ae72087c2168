"""How far each sink has read each run's events, and which runs it has yet to read."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime


class StreamRow:
    """One run's events on their way to one sink."""

    __slots__ = ("delayed_until", "epoch", "error", "failures", "lease_until", "parked", "position")

    def __init__(self) -> None:
        self.position = 0
        self.failures = 0
        self.epoch = 0
        self.lease_until: datetime | None = None
        self.delayed_until: datetime | None = None
        self.parked = False
        self.error: str | None = None


class SinkStreams:
    """The streams of one sink; a stream is in exactly one of waiting, leased, delayed, parked and idle."""

    def __init__(self) -> None:
        self.streams: dict[str, StreamRow] = {}
        #: Runs with undelivered events that may be delivered now, longest waiting first.
        self.waiting: dict[str, None] = {}
        self.leased: dict[str, StreamRow] = {}
        self.parked: dict[str, StreamRow] = {}
        self._delayed: list[tuple[datetime, str]] = []

    def tell(self, run_id: str) -> None:
        """Note that the run has new events."""
        row = self.streams.get(run_id)
        if row is None or (row.lease_until is None and row.delayed_until is None and not row.parked):
            self.waiting.setdefault(run_id)

    def delay(self, run_id: str, row: StreamRow, until: datetime) -> None:
        """Keep the stream back until an instant."""
        row.delayed_until = until
        heapq.heappush(self._delayed, (until, run_id))

    def ripen(self, now: datetime) -> None:
        """Let streams wait whose delay is over or whose lease is past its end."""
        while self._delayed and self._delayed[0][0] <= now:
            until, run_id = heapq.heappop(self._delayed)
            row = self.streams[run_id]
            if row.delayed_until == until:
                row.delayed_until = None
                self.waiting.setdefault(run_id)
        ended = [run_id for run_id, row in self.leased.items() if row.lease_until is None or row.lease_until <= now]
        for run_id in ended:
            self.leased.pop(run_id).lease_until = None
            self.waiting.setdefault(run_id)

    def next_due(self, now: datetime) -> Iterator[datetime]:
        """Yield instants at which the sink has something to deliver."""
        if self.waiting:
            yield now
        if self._delayed:
            yield self._delayed[0][0]
        yield from (row.lease_until for row in self.leased.values() if row.lease_until is not None)
