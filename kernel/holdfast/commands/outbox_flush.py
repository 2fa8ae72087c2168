"""Deliver committed events to the sinks, in order per run."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.command import Command, Ports, Settings
from holdfast.naming import check_number
from holdfast.ports.event_sink import EventSink
from holdfast.ports.outbox import Delivery, Stream

#: Error texts of sinks are cut to this many characters before they are stored.
MAX_ERROR = 1_000


@attrs.frozen(kw_only=True)
class OutboxFlushResult:
    """What was delivered."""

    #: Events that a sink took.
    published: int
    #: Streams whose delivery failed and comes again after a delay.
    failed: int
    #: Streams that stopped, because their head failed too often.
    parked: int


@attrs.frozen(kw_only=True)
class OutboxFlush(Command[OutboxFlushResult]):
    """Deliver at most *max_events* events to each sink.

    A stream whose head fails is tried again after a delay that doubles, and stops when it has failed too often; its
    later events never overtake it. Other runs and other sinks are not affected.
    """

    type: ClassVar[str] = "outbox.flush"

    max_events: int = 100


async def handle(command: OutboxFlush, ports: Ports) -> OutboxFlushResult:
    """Deliver to each sink in turn; a stream is leased while it is delivered, so order holds across hosts."""
    check_number("max_events", command.max_events)
    published = failed = parked = 0
    for sink in ports.event_sinks:
        streams = await ports.persistence.lease_streams(
            sink=sink.name, limit=command.max_events, events=command.max_events, ttl=ports.settings.delivery_ttl
        )
        if not streams:
            continue
        deliveries = [await _deliver(stream, sink, settings=ports.settings) for stream in streams]
        held = await ports.persistence.settle_streams(deliveries)
        for stream, delivery, stands in zip(streams, deliveries, held, strict=True):
            published += delivery.position - stream.position
            failed += delivery.error is not None
            parked += delivery.parked and stands
            if delivery.delay:
                ports.scheduler.wake_in(delivery.delay, local=True)
    return OutboxFlushResult(published=published, failed=failed, parked=parked)


async def _deliver(stream: Stream, sink: EventSink, *, settings: Settings) -> Delivery:
    try:
        await sink.deliver(stream.events)
    except Exception as error:  # noqa: BLE001 - whatever a sink raises is a failed delivery
        failures = stream.failures + 1
        delay = min(settings.delivery_base * 2.0 ** min(failures - 1, 30), settings.delivery_cap)
        return Delivery(
            run_id=stream.run_id,
            sink=stream.sink,
            epoch=stream.epoch,
            position=stream.position,
            failures=failures,
            delay=delay,
            parked=failures >= settings.delivery_attempts,
            error=f"{type(error).__qualname__}: {error}"[:MAX_ERROR],
        )
    return Delivery(run_id=stream.run_id, sink=stream.sink, epoch=stream.epoch, position=stream.events[-1].number)
