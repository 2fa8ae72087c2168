"""A shop's order: checked, reserved and charged in parallel, labelled in the carrier's next batch, confirmed.

Run it from the folder that you are in, without anything else running:

    holdfast run docs/examples/order_fulfilment.py:order --input '{"id": "A-17", "sku": "kelp", "cents": 4200}' --wait

The card network fails at the first attempt, so that there is a retry to see.
"""

from __future__ import annotations

import time
from typing import Protocol

from pydantic import BaseModel, Field

from holdfast import BatchStage, Context, Flow, NeverRetry, Pending, Retry, stage, workflow


class Order(BaseModel):
    id: str = Field(min_length=1)
    sku: str
    cents: int


class Charge(BaseModel):
    cents: int
    currency: str
    reference: str


class Label(BaseModel):
    tracking: str


class Terms(BaseModel):
    """The config of `charge`; a run can override each field."""

    currency: str = "EUR"
    limit_cents: int = 100_000


class Carrier(Protocol):
    """What the shop needs of a carrier, which prints labels in batches."""

    def hand_in(self, parcel: str, *, key: str) -> str: ...
    def label(self, ticket: str) -> str | None: ...


@stage
def check(order: Order) -> Order:
    if order.cents <= 0:
        raise NeverRetry(f"order {order.id} costs nothing")
    return order


@stage
def reserve(order: Order) -> str:
    return f"one {order.sku} on shelf {len(order.sku)}"


@stage(retry=Retry(5, base="200ms", cap="10s"), timeout="30s")
async def charge(order: Order, ctx: Context[Terms]) -> Charge:
    if order.cents > ctx.config.limit_cents:
        raise NeverRetry(f"{order.cents} cents are above the limit of {ctx.config.limit_cents}")
    if ctx.attempt == 1:
        raise ConnectionError("the card network does not answer")
    # A real one hands the key to the payment API, which then charges once however often this is tried.
    return Charge(cents=order.cents, currency=ctx.config.currency, reference=f"charge for {ctx.idempotency_key}")


class Ship(BatchStage[tuple[str, Charge], str, Label]):
    """Hands the parcel in, and asks for its label until there is one; between two polls nothing waits."""

    name = "ship"
    poll_every = "500ms"
    give_up_after = "2d"

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    async def submit(self, done: tuple[str, Charge], ctx: Context) -> str:
        reserved, _ = done
        return self._carrier.hand_in(reserved, key=ctx.idempotency_key)

    async def poll(self, ticket: str, ctx: Context) -> Label | Pending:
        tracking = self._carrier.label(ticket)
        return Pending() if tracking is None else Label(tracking=tracking)


@stage(needs=[charge])
def confirm(label: Label, ctx: Context) -> str:
    paid = ctx.output(charge)
    return f"We charged {paid.cents / 100:.2f} {paid.currency}; your parcel is {label.tracking}."


class SlowCarrier:
    """Stands for the real one: a label is there one second after its parcel was handed in."""

    def hand_in(self, parcel: str, *, key: str) -> str:
        return f"{time.time() + 1}"

    def label(self, ticket: str) -> str | None:
        return None if time.time() < float(ticket) else f"HF-{round(float(ticket)) % 10_000:04}"


def fulfilment(carrier: Carrier) -> Flow[Order, str]:
    """Return the workflow on *carrier*, so that a test can give it another one."""
    return (
        workflow("order-fulfilment", input=Order, version="1.0.0", timeout="7d")
        .pipe(check)
        .parallel(reserve, charge)
        .pipe(Ship(carrier))
        .pipe(confirm)
    )


order = fulfilment(SlowCarrier())
