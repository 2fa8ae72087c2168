"""The sample workflow: validate an order, reserve stock while the card is charged, ship it, write the receipt.

The card network fails now and then, decided by the order's id, so that every start shows the same retries. The carrier
prints labels in batches: `ship` hands the parcel in, is suspended, and is polled until the label is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field

from holdfast.authoring.batch import BatchStage, Pending
from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.stage import stage
from holdfast.entities.retry import NeverRetry, Retry
from holdfast_hosts.cli.demo.ledger import Ledger

#: Id of the workflow.
WORKFLOW: Final = "demo-order"
#: The effect that must never happen twice.
CHARGED: Final = "charged"


class Line(BaseModel):
    """A line of an order."""

    sku: str
    name: str
    quantity: int = Field(ge=1)
    cents: int = Field(ge=0)


class Order(BaseModel):
    """What a customer ordered."""

    id: str = Field(min_length=1, max_length=40)
    customer: str
    country: str
    lines: list[Line] = Field(min_length=1)
    total_cents: int


class Reservation(BaseModel):
    """Goods that wait on the shelf for this order."""

    order: str
    customer: str
    shelf: str
    parcels: int


class Charge(BaseModel):
    """Money that was taken from a card."""

    order: str
    cents: int
    reference: str


class LabelBatch(BaseModel):
    """A parcel that was handed in for the carrier's next batch of labels."""

    manifest: str
    order: str
    customer: str
    printed_at: float


class Shipment(BaseModel):
    """A parcel with its label."""

    order: str
    customer: str
    tracking: str


class Receipt(BaseModel):
    """What the customer is sent in the end."""

    order: str
    text: str


class Shop(BaseModel):
    """Where effects are written down, and how fast the shop works."""

    ledger: str = "holdfast-demo.jsonl"
    pace: float = Field(default=1.0, ge=0, le=10)


class CardNetworkTimeout(Exception):
    """Raise when the card network does not answer."""


@stage
def validate(order: Order) -> Order:
    """Refuse an order whose total is not the sum of its lines."""
    total = sum(line.quantity * line.cents for line in order.lines)
    if total != order.total_cents:
        raise NeverRetry(f"the lines come to {money(total)}, the order says {money(order.total_cents)}")
    return order


@stage
async def reserve_stock(order: Order, ctx: Context[Shop]) -> Reservation:
    """Put the goods aside."""
    await _work(ctx.config, 0.25 + 0.35 * _chance(order.id, "stock"))
    _do("reserved", order.id, ctx)
    shelf = f"{'ABCDEF'[int(6 * _chance(order.id, 'shelf'))]}{1 + int(40 * _chance(order.id, 'place'))}"
    return Reservation(order=order.id, customer=order.customer, shelf=shelf, parcels=len(order.lines))


@stage(retry=Retry(6, base="700ms", cap="2s", jitter=0.0), timeout="10s")
async def charge_card(order: Order, ctx: Context[Shop]) -> Charge:
    """Charge the card; the key makes sure that it is charged once, however often this is tried."""
    await _work(ctx.config, 0.35 + 0.25 * _chance(order.id, f"card {ctx.attempt}"))
    if ctx.attempt <= _timeouts(order.id):
        raise CardNetworkTimeout("card network timed out")
    _do(CHARGED, order.id, ctx)
    return Charge(order=order.id, cents=order.total_cents, reference=f"ch_{_digest(ctx.idempotency_key)[:10]}")


class Ship(BatchStage[tuple[Reservation, Charge], LabelBatch, Shipment]):
    """Hand the parcel in for the carrier's next batch of labels and wait until its label is printed."""

    name = "ship"
    poll_every = "700ms"
    give_up_after = "10m"

    async def submit(self, input: tuple[Reservation, Charge], ctx: Context[Shop]) -> LabelBatch:
        """Hand the parcel in."""
        reservation, _ = input
        await _work(ctx.config, 0.2)
        _do("handed to carrier", reservation.order, ctx)
        seconds = (2.5 + 2.5 * _chance(reservation.order, "carrier")) * ctx.config.pace
        return LabelBatch(
            manifest=f"mf_{_digest(ctx.idempotency_key)[:8]}",
            order=reservation.order,
            customer=reservation.customer,
            printed_at=time.time() + seconds,
        )

    async def poll(self, ref: LabelBatch, ctx: Context[Shop]) -> Shipment | Pending:
        """Ask whether the label is printed."""
        if time.time() < ref.printed_at:
            return Pending()
        return Shipment(order=ref.order, customer=ref.customer, tracking=f"HF{_digest(ref.manifest)[:9].upper()}")


@stage(needs=[charge_card])
async def receipt(shipment: Shipment, ctx: Context[Shop]) -> Receipt:
    """Write the receipt."""
    charge = ctx.output(charge_card)
    await _work(ctx.config, 0.15)
    _do("receipt sent", shipment.order, ctx)
    text = f"{shipment.customer}, we charged {money(charge.cents)} and your parcel is {shipment.tracking}."
    return Receipt(order=shipment.order, text=text)


order = (
    workflow(WORKFLOW, input=Order, version="1.0.0", description="A shop's order, from validation to the receipt.")
    .pipe(validate)
    .parallel(reserve_stock, charge_card)
    .pipe(Ship())
    .pipe(receipt)
)


def money(cents: int) -> str:
    """Return an amount as a customer reads it."""
    return f"€{cents / 100:,.2f}"


async def _work(shop: Shop, seconds: float) -> None:
    await asyncio.sleep(seconds * shop.pace)


def _do(effect: str, order_id: str, ctx: Context[Shop]) -> None:
    done = Ledger(Path(ctx.config.ledger)).once(
        effect, order=order_id, run_id=ctx.run_id, key=ctx.idempotency_key, attempt=ctx.attempt
    )
    if not done:
        ctx.log(f"{effect} before: the key was recognised and nothing was done again")


def _timeouts(order_id: str) -> int:
    """Return how many times the card network fails this order: none for most, one or two for some."""
    return (0, 0, 0, 1, 2)[int(5 * _chance(order_id, "network"))]


def _chance(order_id: str, what: str) -> float:
    return int(_digest(f"{order_id} {what}")[:8], 16) / 2**32


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
