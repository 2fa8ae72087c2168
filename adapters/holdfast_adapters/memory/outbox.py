"""Hands out undelivered events from the memory store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from holdfast.ports.outbox import Delivery, Stream
from holdfast_adapters.memory.store import Store
from holdfast_adapters.memory.streams import SinkStreams, StreamRow


class MemoryOutbox:
    """The Outbox port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def lease_streams(self, *, sink: str, limit: int, events: int, ttl: timedelta) -> Sequence[Stream]:
        """Lease streams with undelivered events, longest waiting first."""
        with self._store.lock:
            now = self._store.now()
            streams = self._sink(sink)
            streams.ripen(now)
            leased: list[Stream] = []
            left = events
            while streams.waiting and len(leased) < limit and left > 0:
                run_id = next(iter(streams.waiting))
                del streams.waiting[run_id]
                row = streams.streams.setdefault(run_id, StreamRow())
                run = self._store.runs[run_id]
                numbers = range(row.position + 1, min(row.position + left, len(run.events)) + 1)
                if not numbers:
                    continue
                row.epoch += 1
                row.lease_until = now + ttl
                streams.leased[run_id] = row
                left -= len(numbers)
                leased.append(
                    Stream(
                        run_id=run_id,
                        sink=sink,
                        epoch=row.epoch,
                        position=row.position,
                        failures=row.failures,
                        events=tuple(run.event(number) for number in numbers),
                    )
                )
            return leased

    def _sink(self, name: str) -> SinkStreams:
        if name not in self._store.sinks:
            streams = self._store.sinks[name] = SinkStreams()
            for run_id in self._store.runs:
                streams.tell(run_id)
        return self._store.sinks[name]

    async def settle_streams(self, deliveries: Sequence[Delivery]) -> Sequence[bool]:
        """Store positions and release leases."""
        with self._store.lock:
            now = self._store.now()
            return [self._settle(delivery, now) for delivery in deliveries]

    def _settle(self, delivery: Delivery, now: datetime) -> bool:
        streams = self._sink(delivery.sink)
        row = streams.streams.get(delivery.run_id)
        if row is None or row.epoch != delivery.epoch or row.lease_until is None:
            return False
        row.position = delivery.position
        row.failures = delivery.failures
        row.error = delivery.error
        row.lease_until = None
        streams.leased.pop(delivery.run_id, None)
        streams.waiting.pop(delivery.run_id, None)
        row.parked = delivery.parked
        if delivery.parked:
            streams.parked[delivery.run_id] = row
        elif delivery.delay:
            streams.delay(delivery.run_id, row, now + delivery.delay)
        elif row.position < len(self._store.runs[delivery.run_id].events):
            streams.tell(delivery.run_id)
        return True

    async def replay_parked(self, *, sink: str, limit: int) -> int:
        """Make parked streams due again."""
        with self._store.lock:
            self._store.now()
            streams = self._sink(sink)
            replayed = list(streams.parked)[:limit]
            for run_id in replayed:
                row = streams.parked.pop(run_id)
                row.parked = False
                row.failures = 0
                streams.tell(run_id)
            return len(replayed)
