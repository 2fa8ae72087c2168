"""Mistakes in flow classes and workflow functions that both type checkers must find: every line with an ignore."""

from __future__ import annotations

from pydantic import BaseModel

from holdfast import Context, Flow, stage, workflow
from holdfast.authoring.classes import definition_of, flow
from holdfast.authoring.nodes import edge, entry, node
from holdfast.authoring.results import Fail, Ok
from holdfast.entities.graph import END


class Order(BaseModel):
    amount: int


class Config(BaseModel):
    limit: int = 1_000


class Nodes:
    @entry
    @node
    @edge(END)
    async def reserve(self, ctx: Context[Config]) -> Ok[int] | Fail:
        print(ctx.config.nothing)  # type: ignore[attr-defined]  # an unknown field of the config
        return Ok("text")  # type: ignore[arg-type]  # another output than annotated


@stage
def double(x: int) -> int:
    return 2 * x


edge(5)  # type: ignore[arg-type]  # a number is no node
edge(END, when=True)  # type: ignore[arg-type]  # a value is no condition
edge(END, priority="high")  # type: ignore[arg-type]  # text is no priority
entry("reserve")  # type: ignore[type-var]  # a name instead of the method
node(5)  # type: ignore[call-overload]  # a number is no id
node(timeout=30)  # type: ignore[call-overload]  # a number is no duration
node(needs=[5])  # type: ignore[list-item]  # a number is no node
flow("order", timeout=30)  # type: ignore[call-overload]  # a number is no duration
flow(5)  # type: ignore[call-overload]  # a number is no id
flow("order")(Nodes())  # type: ignore[arg-type]  # an instance instead of the class
definition_of("order")  # type: ignore[arg-type]  # a name instead of the workflow

made = flow("order", "1.0.0", input=Order, output=str)(Nodes)
wrong: Flow[Order, int] = made  # type: ignore[assignment]  # another output
wider: Flow[object, str] = made  # type: ignore[assignment]  # it takes orders only

begun = workflow("checkout")


@begun  # type: ignore[arg-type]  # a plain function
def plain(order: Order, ctx: Context) -> int:
    return order.amount


@begun
async def charged(order: Order, ctx: Context) -> Ok[str] | Fail:
    return Ok("done")


charged.pipe(double)  # type: ignore[arg-type]  # text is no number
other: Flow[Order, int] = charged  # type: ignore[assignment]  # another output
workflow("checkout", waits=5)  # type: ignore[call-overload]  # a number instead of the types by name
