"""The end of the demo: the count of effects, the timeline of the most eventful run, and what to try next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from holdfast.entities.run import RunStatus
from holdfast.events import Event, EventType
from holdfast.ports.persistence import Persistence
from holdfast_hosts.cli.demo.batches import Batch
from holdfast_hosts.cli.demo.ledger import Ledger
from holdfast_hosts.cli.demo.progress import PAGE, Look, OrderState
from holdfast_hosts.cli.demo.workflow import CHARGED
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, show
from holdfast_hosts.cli.rendering.times import took
from holdfast_hosts.cli.shapes import event_shape
from holdfast_hosts.cli.spelling import counted

MODULE = "holdfast_hosts.cli.demo.workflow"

#: How much each kind of event makes a timeline worth looking at.
_INTEREST: Mapping[EventType, int] = {
    EventType.STAGE_LEASE_EXPIRED: 100,
    EventType.STAGE_RETRYING: 10,
    EventType.STAGE_SUSPENDED: 1,
}


@attrs.frozen(kw_only=True)
class Tally:
    """What the ledger says about a batch."""

    orders: int
    completed: int
    charges: int
    #: Charges beyond the first of an order; none, whatever was killed and when.
    duplicates: int
    #: Requests that came again and were recognised by their idempotency keys.
    recognised: int

    def as_text(self) -> str:
        """Return the tally in one line."""
        counts = ((self.orders, "order"), (self.charges, "charge"), (self.duplicates, "duplicate"))
        words = ", ".join(counted(number, noun) for number, noun in counts)
        if self.recognised:
            words += f" ({counted(self.recognised, 'request')} sent again after a kill, recognised by key)"
        return words

    def as_json(self) -> dict[str, Any]:
        """Return the tally as JSON values."""
        return attrs.asdict(self)


def tally(look: Look, ledger: Ledger) -> Tally:
    """Return what the ledger says about the runs of *look*."""
    run_ids = frozenset(order.run.id for order in look.orders)
    charges = ledger.done(CHARGED, run_ids=run_ids)
    return Tally(
        orders=len(look.orders),
        completed=sum(order.run.status is RunStatus.COMPLETED for order in look.orders),
        charges=charges.total(),
        duplicates=sum(count - 1 for count in charges.values()),
        recognised=ledger.recognised(run_ids=run_ids),
    )


def most_eventful(orders: Sequence[OrderState], events: Mapping[str, Sequence[Event]]) -> OrderState:
    """Return the order whose timeline shows most: a lost worker, retries, a suspension."""

    def interest(order: OrderState) -> int:
        kinds = Counter(event.type for event in events[order.run.id])
        return sum(_INTEREST.get(kind, 0) * count for kind, count in kinds.items())

    return max(orders, key=interest)


def next_steps(order: OrderState, batch: Batch, common: Common) -> list[tuple[str, str]]:
    """Return commands to try next, each with what it shows, true for this store."""
    key = order.run.idempotency_key or order.run.id
    return [
        (common.command("runs", "list"), f"all {len(batch.run_ids)} runs"),
        (common.command("runs", "show", key), "one run with its stages and its receipt"),
        (common.command("runs", "rerun", key, "--from", "ship", "--module", MODULE), "ship that order again"),
        (common.command("worker", MODULE), "… and this executes it; Ctrl-C stops"),
        (common.command("doctor"), "check the store"),
        (common.command("demo"), "the next batch; kill it half-way and start it again"),
    ]


@attrs.frozen(kw_only=True)
class Ending:
    """What there is to tell at the end."""

    batch: Batch
    look: Look
    tally: Tally
    #: The order whose timeline shows most, and the timeline.
    order: OrderState
    events: Sequence[Event]
    length: timedelta

    @classmethod
    async def read(
        cls, batch: Batch, look: Look, *, ledger: Ledger, persistence: Persistence, started: datetime
    ) -> Ending:
        """Return the ending of *batch*, whose last look was *look*."""
        events = {one.run.id: await persistence.list_events(one.run.id, limit=PAGE) for one in look.orders}
        order = most_eventful(look.orders, events)
        return cls(
            batch=batch,
            look=look,
            tally=tally(look, ledger),
            order=order,
            events=events[order.run.id],
            length=look.at - started,
        )


def tell_ending(ending: Ending, *, common: Common) -> None:
    """Print the ending, for a person or for a script."""
    if common.json:
        answer(_shape(ending))
        return
    from holdfast_hosts.cli.rendering.event_words import Teller
    from holdfast_hosts.cli.rendering.run_page import headline
    from holdfast_hosts.cli.rendering.timeline import timeline_table

    order = ending.order
    icon = "✓" if ending.tally.completed == ending.tally.orders and not ending.tally.duplicates else "✕"
    show("", f"{icon} {ending.tally.as_text()} · {took(ending.length)}", "")
    show(
        f"What happened to {order.order_id}, the most eventful of them:",
        headline(order.run, list(order.stages.values()), now=ending.look.at),
        timeline_table(map(Teller().tell, ending.events), utc=common.utc),
        "",
        "Next",
    )
    for command, purpose in next_steps(order, ending.batch, common):
        show(f"  # {purpose}", f"  {command}")


def _shape(ending: Ending) -> dict[str, Any]:
    batch = ending.batch
    return {
        "batch": batch.number,
        "resumed": batch.resumed,
        "complete": batch.complete,
        "stagesNotRepeated": batch.stages_done,
        "seconds": ending.length.total_seconds(),
        "tally": ending.tally.as_json(),
        "orders": [
            {"order": one.order_id, "runId": one.run.id, "key": one.run.idempotency_key, "status": one.run.status.value}
            for one in ending.look.orders
        ],
        "timeline": [event_shape(event) for event in ending.events],
    }
