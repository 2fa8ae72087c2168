"""A shop's order: reserved, paid when the bank says so, labelled in the carrier's next batch; undone when it fails.

    holdfast run docs/examples/order_fulfilment.py:order --input '{"id": "A-17", "sku": "kelp", "cents": 4200}' --wait

It stops where it waits for the bank's webhook and tells how to resume it. A real shop calls `run.resume` in the
handler of that webhook, with the token that `ask_for_payment` has given to the bank.
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


class Payment(BaseModel):
    """What the bank's webhook says."""

    reference: str
    cents: int


class Label(BaseModel):
    tracking: str


class Terms(BaseModel):
    """The config of `ask_for_payment`; a run can override each field."""

    currency: str = "EUR"
    limit_cents: int = 100_000


class Shop(Protocol):
    """What the shop needs of the world around it."""

    def reserve(self, sku: str, *, key: str) -> str: ...
    def release(self, shelf: str) -> None: ...
    def ask_for_payment(self, order: Order, *, currency: str, answer_with: str) -> None: ...
    def refund(self, reference: str, *, key: str) -> None: ...
    def hand_in(self, parcel: str, *, key: str) -> str: ...
    def label(self, ticket: str) -> str | None: ...


class DemoShop:
    """Stands for the real one: a label is there one second after its parcel was handed in."""

    def reserve(self, sku: str, *, key: str) -> str:
        return f"one {sku} on shelf {len(sku)}"

    def release(self, shelf: str) -> None:
        print(f"released {shelf}")

    def ask_for_payment(self, order: Order, *, currency: str, answer_with: str) -> None:
        """Ask the bank, which calls back with the token."""

    def refund(self, reference: str, *, key: str) -> None:
        print(f"refunded {reference}")

    def hand_in(self, parcel: str, *, key: str) -> str:
        return f"{time.time() + 1}"

    def label(self, ticket: str) -> str | None:
        return None if time.time() < float(ticket) else f"HF-{round(float(ticket)) % 10_000:04}"


#: A test puts another one here.
shop: Shop = DemoShop()


def release(shelf: str) -> None:
    """Undo `reserve`."""
    shop.release(shelf)


@stage(compensate=release, retry=Retry(5, base="200ms", cap="10s"))
def reserve(order: Order, ctx: Context) -> str:
    if order.cents <= 0:
        raise NeverRetry(f"order {order.id} costs nothing")
    if ctx.attempt == 1:
        raise ConnectionError("the warehouse does not answer")
    return shop.reserve(order.sku, key=ctx.idempotency_key)


def refund(payment: Payment, ctx: Context) -> None:
    """Undo `pay`; the key is the same however often this is tried, so the bank refunds once."""
    shop.refund(payment.reference, key=ctx.idempotency_key)


@stage(compensate=refund, waits={"payment": Payment})
async def pay(order: Order, ctx: Context[Terms]) -> Payment:
    if order.cents > ctx.config.limit_cents:
        raise NeverRetry(f"{order.cents} cents are above the limit of {ctx.config.limit_cents}")

    async def ask() -> None:
        token = await ctx.token("payment", lifetime="1h")
        shop.ask_for_payment(order, currency=ctx.config.currency, answer_with=token)

    await ctx.once("asked", ask)
    return await ctx.wait_for("payment", Payment, timeout="1h", reason=f"the bank, for order {order.id}")


class Ship(BatchStage[tuple[str, Payment], str, Label]):
    """Hands the parcel in, and asks for its label until there is one; between two polls nothing waits."""

    name = "ship"
    poll_every = "500ms"
    give_up_after = "2d"

    async def submit(self, done: tuple[str, Payment], ctx: Context) -> str:
        shelf, _ = done
        return shop.hand_in(shelf, key=ctx.idempotency_key)

    async def poll(self, ticket: str, ctx: Context) -> Label | Pending:
        tracking = shop.label(ticket)
        return Pending() if tracking is None else Label(tracking=tracking)


@stage(needs=[pay])
def confirm(label: Label, ctx: Context) -> str:
    paid = ctx.output(pay)
    return f"You paid {paid.cents / 100:.2f} ({paid.reference}); your parcel is {label.tracking}."


order: Flow[Order, str] = (
    workflow("order-fulfilment", input=Order, version="1.0.0", timeout="7d", compensate=True)
    .parallel(reserve, pay)
    .pipe(Ship())
    .pipe(confirm)
)
