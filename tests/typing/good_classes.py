"""What both type checkers must infer of flow classes and of workflows that are one function.

mypy does not look at what the decorator of a class returns: for it a class under ``@flow`` is still that class. Where
the types of its runs count, `flow` is called with the class.
"""

from __future__ import annotations

from typing import Any, assert_type

from pydantic import BaseModel

from holdfast import Context, Flow, Retry, stage, workflow
from holdfast.authoring.classes import ClassFlow, definition_of, flow
from holdfast.authoring.nodes import edge, entry, node
from holdfast.authoring.results import Fail, Ok, Wait
from holdfast.entities.definition import Definition
from holdfast.entities.graph import END


class Order(BaseModel):
    amount: int


class Rush(Order):
    fee: int


class Decision(BaseModel):
    approved: bool


class Config(BaseModel):
    limit: int = 1_000


class Nodes:
    def __init__(self, name: str = "Ada") -> None:
        self.name = name

    @entry
    @node
    @edge("approve", when=lambda held: held > 100, priority=10)
    @edge("charge-card")
    async def reserve(self, ctx: Context[Config]) -> Ok[int] | Fail:
        assert_type(ctx.config, Config)
        return Ok(ctx.config.limit, patch={"held": True})

    @node(waits={"approval": Decision}, needs=[reserve])
    @edge(("charge-card", "tell"), when=lambda _, run: run.state["approved"])
    @edge(END)
    def approve(self, ctx: Context) -> Ok[str] | Wait:
        return Wait("approval", until="2h")

    @node("charge-card", retry=Retry(5), timeout="30s", key=lambda order: order.id)
    @edge(approve)
    async def charge(self, ctx: Context, order: Order) -> str:
        return self.name

    @node()
    @edge(END)
    def tell(self, ctx: Context) -> None: ...


@flow("decorated", "2.0.0", input=Order)
class Decorated(Nodes):
    """Under the decorator a class is still made like one."""


async def methods(ctx: Context[Config], plain: Context) -> None:
    """Leave the methods as they are."""
    assert_type(await Nodes().reserve(ctx), Ok[int] | Fail)
    assert_type(Nodes("Bea").approve(plain), Ok[str] | Wait)
    assert_type(Nodes.approve(Nodes(), plain), Ok[str] | Wait)


def classes() -> None:
    """Infer what runs of a flow class take and give from what `flow` is told."""
    assert_type(flow("w", "1.0.0", input=Order, output=str)(Nodes), ClassFlow[Order, str, Nodes])
    assert_type(flow("w", input=Order)(Nodes), ClassFlow[Order, Any, Nodes])
    assert_type(flow("w", input=None, output=str)(Nodes), ClassFlow[None, str, Nodes])
    assert_type(flow("w", output=str)(Nodes), ClassFlow[Any, Any, Nodes])
    assert_type(flow("w")(Nodes), ClassFlow[Any, Any, Nodes])
    made = flow("w", "1.0.0", input=Order, output=str, timeout="7d", compensate=True)(Nodes)
    assert_type(made("Bea"), Nodes)
    assert_type(made.definition(), Definition)
    assert_type(definition_of(made), Definition)
    assert_type(definition_of(Decorated), Definition)
    assert_type(Decorated("Cy").name, str)
    wide: Flow[Rush, object] = made
    print(wide.id)


begun = workflow("checkout", version="1.0.0", retry=Retry(5), waits={"approval": Decision})


@begun
async def plain(order: Order, ctx: Context[Config]) -> str:
    return str(order.amount)


@begun
async def result(order: Order, ctx: Context) -> Ok[int | None] | Fail | Wait:
    return Ok(order.amount)


@begun
async def mixed(order: Order) -> int | Fail:
    return order.amount


@workflow("nightly", timeout="1d", state=True)
async def nightly(ctx: Context) -> Ok[int]:
    return Ok(1)


@workflow("tick")
async def tick() -> None: ...


@stage
def shout(text: str) -> str:
    return text.upper()


def functions() -> None:
    """Infer what runs of a function take and give from its annotations, results unwrapped."""
    assert_type(plain, Flow[Order, str])
    assert_type(result, Flow[Order, int | None])
    assert_type(mixed, Flow[Order, int])
    assert_type(nightly, Flow[None, int])
    assert_type(tick, Flow[None, None])
    assert_type(plain.pipe(shout), Flow[Order, str])
