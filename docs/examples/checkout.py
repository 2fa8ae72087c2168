"""A checkout written as one function: steps, a wait, a sleep and a child run, in the order in which they happen.

    holdfast run docs/examples/checkout.py:checkout --input '{"cart": ["kelp", "dulse"], "cents": 900}' --wait

Every `ctx` call has a name. When the function is called again, after a wait or a crash, what was done under a name is
not done again; so whatever must not happen twice stands in a `ctx.once`.
"""

from __future__ import annotations

from pydantic import BaseModel

from holdfast import Context, stage, workflow


class Cart(BaseModel):
    cart: list[str]
    cents: int


class Confirmation(BaseModel):
    code: str


@stage
def pack(item: str) -> str:
    return f"box of {item}"


packing = workflow("packing", input=list[str], version="1.0.0").map(pack, limit=4)


async def charge(cents: int, key: str) -> str:
    """Stands for the payment API, which charges once for a key."""
    return f"charged {cents}"


@workflow("checkout", version="1.0.0", waits={"confirmation": Confirmation})
async def checkout(cart: Cart, ctx: Context) -> str:
    paid = await ctx.once("charge", charge, cart.cents, ctx.idempotency_key)
    confirmation = await ctx.wait_for("confirmation", Confirmation, timeout="1h", reason="the customer's code")
    await ctx.sleep("cooling off", "100ms")
    boxes = await ctx.call("packing", packing, cart.cart)
    return f"{paid} ({confirmation.code}): {', '.join(boxes)}"
