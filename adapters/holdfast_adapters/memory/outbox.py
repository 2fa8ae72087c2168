"""Hands out undelivered events from the memory store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

from holdfast.ports.outbox import Delivery, Stream
from holdfast_adapters.memory.store import Store
from holdfast_adapters.memory.streams import SinkStreams, StreamRow
from holdfast_adapters.memory.undo import Undo


class MemoryOutbox:
    """The Outbox port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def lease_streams(self, *, sink: str, limit: int, events: int, ttl: timedelta) -> Sequence[Stream]:
        """Lease streams with undelivered events, longest waiting first."""
        with self._store.transaction as undo:
            now = self._store.now()
            streams = self._registered(sink, undo)
            leased: list[tuple[StreamRow, Stream]] = []
            left = events
            while len(leased) < limit and left > 0:
                first = streams.agenda.first()
                if first is None or first[0] > now:
                    break
                stream = self._hand_out(streams, first[1], sink=sink, limit=left, undo=undo)
                left -= len(stream.events)
                leased.append((first[1], stream))
            # Only now: with no time to live at all, a stream would come up again in the same call.
            for row, _ in leased:
                streams.wait(row, now + ttl)
            return [stream for _, stream in leased]

    def _registered(self, sink: str, undo: Undo) -> SinkStreams:
        """Return the streams of a sink; all runs there are wait for one that asks for the first time."""
        sinks = self._store.sinks
        if sink not in sinks:
            undo.append((sinks.pop, (sink, None)))
            sinks[sink] = SinkStreams(self._store.runs.values(), overgrown=self._store.overgrown)
        return sinks[sink]

    def _hand_out(self, streams: SinkStreams, row: StreamRow, *, sink: str, limit: int, undo: Undo) -> Stream:
        assert row.due_at is not None, "a stream in the agenda is due at an instant"
        assert row.has_more, "a stream without undelivered events is not in the agenda"
        undo.append((streams.agenda.add, (row.due_at, row)))
        undo.append((row.restore, row.saved()))
        streams.rest(row)
        row.epoch += 1
        row.leased = True
        return Stream(
            run_id=row.run.header.id,
            sink=sink,
            epoch=row.epoch,
            position=row.position,
            failures=row.failures,
            events=tuple(row.run.events_after(row.position, limit=limit)),
        )

    async def settle_streams(self, deliveries: Sequence[Delivery]) -> Sequence[bool]:
        """Store positions and release leases."""
        with self._store.transaction as undo:
            now = self._store.now()
            return [self._deliver(delivery, now, undo) for delivery in deliveries]

    def _deliver(self, delivery: Delivery, now: datetime, undo: Undo) -> bool:
        streams = self._store.sinks.get(delivery.sink)
        row = None if streams is None else streams.streams.get(delivery.run_id)
        if streams is None or row is None or not row.leased or row.epoch != delivery.epoch:
            return False
        undo.append((row.restore, row.saved()))
        row.leased = False
        row.position = delivery.position
        row.failures = delivery.failures
        row.error = delivery.error
        if delivery.parked:
            undo.append((streams.parked.pop, (delivery.run_id, None)))
            streams.parked[delivery.run_id] = row
            row.parked = True
            streams.rest(row)
            return True
        due_at = now + delivery.delay
        row.not_before = due_at if delivery.delay else None
        if row.has_more:
            streams.wait(row, due_at)
        else:
            streams.rest(row)
        return True

    async def replay_parked(self, *, sink: str, limit: int) -> int:
        """Make parked streams due again, those parked first before the others."""
        with self._store.transaction as undo:
            now = self._store.now()
            streams = self._store.sinks.get(sink)
            if streams is None:
                return 0
            parked = list(islice(streams.parked.items(), limit))
            for run_id, row in parked:
                undo.append((streams.parked.__setitem__, (run_id, row)))
                undo.append((row.restore, row.saved()))
                del streams.parked[run_id]
                row.parked = False
                row.failures = 0
                row.not_before = None
                if row.has_more:
                    streams.wait(row, now)
            return len(parked)
