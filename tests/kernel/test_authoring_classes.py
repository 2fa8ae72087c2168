"""Flow classes: what is collected from their decorators, and the definition that is made of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from pydantic import BaseModel

from holdfast.authoring.classes import ClassFlow, definition_of, flow
from holdfast.authoring.context import Context
from holdfast.authoring.nodes import edge, entry, node
from holdfast.authoring.registry import Registry
from holdfast.authoring.results import Fail, Ok, Wait
from holdfast.entities.definition import Calling, Definition, Shape
from holdfast.entities.graph import END, START, Edge
from holdfast.entities.retry import Retry


class Order(BaseModel):
    id: str
    amount: int


class Decision(BaseModel):
    approved: bool


class Config(BaseModel):
    limit: int = 1_000


@flow("order", "2.1.0", input=Order, output=str, description="Fulfils orders.", timeout="7d")
class OrderFlow:
    """Orders, from reservation to receipt."""

    LIMIT = 5

    def __init__(self, name: str = "Ada") -> None:
        self.name = name

    @entry
    @node
    @edge("approve", when=lambda held: held > 100, priority=10)
    @edge("charge-card")
    async def reserve(self, ctx: Context[Config]) -> Ok[int] | Fail:
        return Ok(ctx.input.amount)

    @node(waits={"approval": Decision}, needs=[reserve])
    @edge("charge-card", when=lambda _, run: run.state["approved"])
    @edge(END)
    def approve(self, ctx: Context) -> Ok[str] | Wait:
        return Wait("approval", until="2h")

    @node("charge-card", retry=Retry(5), timeout="30s", queue="slow", needs=["reserve"])
    @edge(END)
    async def charge(self, ctx: Context) -> str:
        return self.name


def edges_from(definition: Definition, source: str) -> list[Edge]:
    return [one for one in definition.edges if one.source == source]


def test_parity_212_decorators_are_collected() -> None:
    """Id, version, entry, nodes and edges of a flow class become the workflow's, in the order of the methods."""
    definition = definition_of(OrderFlow)
    assert (definition.id, definition.version, definition.description) == ("order", "2.1.0", "Fulfils orders.")
    assert (definition.timeout, definition.input.name, definition.output.name) == (timedelta(days=7), "Order", "str")
    assert list(definition.stages) == ["reserve", "approve", "charge-card"]
    assert definition.entry == ("reserve",)
    assert definition.edges[0].source == START
    ways = [(one.targets, None if one.condition is None else one.condition.label) for one in definition.edges[1:]]
    assert ways == [
        (("approve",), "held > 100"),
        (("charge-card",), None),
        (("charge-card",), 'run.state["approved"]'),
        ((END,), None),
        ((END,), None),
    ]
    assert edges_from(definition, "reserve")[0].priority == 10
    assert [one.condition is not None and one.condition.takes_run for one in edges_from(definition, "approve")] == [
        True,
        False,
    ]


def test_parity_212_options_without_id_keep_the_name_of_the_method() -> None:
    """A node whose decorator has options only, or none, is called like its method; options reach the stage."""
    stages = definition_of(OrderFlow).stages
    charge = stages["charge-card"]
    assert (charge.retry, charge.timeout, charge.queue) == (Retry(5), timedelta(seconds=30), "slow")
    assert (charge.needs, stages["approve"].needs) == (("reserve",), ("reserve",))
    assert stages["approve"].waits["approval"].name == "Decision"
    assert (stages["reserve"].retry, stages["reserve"].timeout) == (Retry(), None)
    config = stages["reserve"].config
    assert config is not None
    assert config.name == "Config"


def test_output_of_a_node_is_what_its_result_holds() -> None:
    """Ok, Fail and Wait are no part of the output's type, and how a method is called follows from its form."""
    stages = definition_of(OrderFlow).stages
    assert [spec.output.name for spec in stages.values()] == ["int", "str", "str"]
    bodies = [spec.body for spec in stages.values() if spec.body is not None]
    assert [body.calling for body in bodies] == [Calling.ASYNC, Calling.SYNC, Calling.ASYNC]
    assert all(body.takes_context and not body.takes_input for body in bodies)
    assert {spec.shape for spec in stages.values()} == {Shape.NOTHING}


def test_weak_087_edge_leads_away_from_the_node_not_the_method() -> None:
    """The edges of a node whose id is not its method's name are those of the node."""

    @flow("ids", "1.0.0")
    class Ids:
        @entry
        @node("begin")
        @edge("finish")
        def first(self, ctx: Context) -> int:
            return 1

        @node("finish")
        @edge(END)
        def second(self, ctx: Context) -> int:
            return 2

    definition = definition_of(Ids)
    assert list(definition.stages) == ["begin", "finish"]
    assert [(one.source, one.targets) for one in definition.edges] == [
        (START, ("begin",)),
        ("begin", ("finish",)),
        ("finish", (END,)),
    ]


def test_methods_that_stand_above_are_targets_and_needs() -> None:
    """An edge names the method that it leads to, if that stands above, and so do needs; loops are made so."""

    @flow("loop", "1.0.0")
    class Looping:
        @entry
        @node("look-up")
        @edge("judge")
        def look(self, ctx: Context) -> int:
            return 1

        @node(needs=[look])
        @edge(look, when=lambda found: found < 3)
        @edge(END)
        def judge(self, ctx: Context) -> int:
            return int(ctx.require("look-up")) + 1

    definition = definition_of(Looping)
    assert [one.targets for one in edges_from(definition, "judge")] == [("look-up",), (END,)]
    assert definition.stages["judge"].needs == ("look-up",)
    assert set(definition.graph.loops) == {"look-up"}


def test_second_parameter_takes_the_output_of_the_node_before() -> None:
    """A node with a second parameter, on either side of the context, is called with what the node before it gave."""

    @flow("taking", "1.0.0", input=Order, output=int)
    class Taking:
        @entry
        @node(key=lambda order: order.id)
        @edge("double")
        async def amount(self, ctx: Context, order: Order) -> int:
            return order.amount

        @node
        @edge("add")
        def double(self, number: int, ctx: Context[Config]) -> Ok[int]:
            return Ok(number * 2 + ctx.config.limit)

        @node
        @edge(END)
        def add(self, number: int) -> int:
            return number + 1

    taking: Any = Taking
    stages = Registry([taking]).get("taking").stages
    assert [spec.input.name for spec in stages.values()] == ["Order", "int", "int"]
    assert [spec.shape for spec in stages.values()] == [Shape.ONE] * 3
    assert stages["amount"].key is not None
    body = stages["amount"].body
    assert body is not None
    assert (body.calling, body.takes_input, body.takes_context) == (Calling.ASYNC, True, True)
    assert body.source.partition(":")[0].endswith("test_authoring_classes.py")


def test_compensation_is_a_method_or_a_function() -> None:
    """What undoes a node is a method of the same instance, with the context on either side, or any function."""
    undone: list[object] = []

    def forget(output: int) -> None:
        undone.append(output)

    @flow("undoing", "1.0.0", compensate=True)
    class Undoing:
        def release(self, ctx: Context, held: int) -> None:
            undone.extend([self, ctx, held])

        @entry
        @node(compensate=release)
        @edge("send")
        def hold(self, ctx: Context) -> Ok[int]:
            return Ok(1)

        @node(compensate=forget)
        @edge(END)
        def send(self, ctx: Context) -> int:
            return 2

    definition = definition_of(Undoing)
    assert definition.compensates
    hold, send = definition.stages["hold"].compensate, definition.stages["send"].compensate
    assert hold is not None
    assert send is not None
    assert (hold.takes_input, hold.takes_context) == (True, True)
    hold.function(7, "context")
    send.function(8)
    assert undone[1:] == ["context", 7, 8]
    assert isinstance(undone[0], cast("type", Undoing))


def test_flow_class_has_a_state() -> None:
    """Runs of a flow class have a state, whether its conditions look at it or not."""
    assert definition_of(OrderFlow).stateful


def test_input_and_output_that_are_not_declared() -> None:
    """Without a declared input any JSON will do, and the output is what the last nodes give."""

    @flow("open")
    class Open:
        @entry
        @node
        @edge("left", when=lambda out: out == 1)
        @edge("right")
        def choose(self, ctx: Context) -> int:
            return 1

        @node
        @edge(END)
        def left(self, ctx: Context) -> Ok[int] | Wait:
            return Ok(1)

        @node
        @edge(END)
        def right(self, ctx: Context) -> str | Fail:
            return ""

    definition = definition_of(Open)
    assert (definition.version, definition.output.name) == ("1.0.0", "int | str")
    assert definition.input.decode('{"any": [1]}', what="input") == {"any": [1]}

    @flow("nothing", input=None)
    class Nothing(cast("Any", Open)):  # type: ignore[misc]  # a base that is known at run time only
        pass

    assert definition_of(Nothing).input.name == "None"


def test_edge_leads_to_several_nodes_at_once() -> None:
    """An edge with a tuple of targets is a fork, and the node where its ways meet waits for both."""

    @flow("fork")
    class Fork:
        @entry
        @node
        @edge(("left", "right"))
        def split(self, ctx: Context) -> int:
            return 1

        @node
        @edge("meet")
        def left(self, ctx: Context) -> int:
            return 1

        @node
        @edge("meet")
        def right(self, ctx: Context) -> str:
            return ""

        @node
        @edge(END)
        def meet(self, ctx: Context, both: dict[str, Any]) -> int:
            return len(both)

    definition = definition_of(Fork)
    assert edges_from(definition, "split")[0].targets == ("left", "right")
    assert definition.stages["meet"].shape is Shape.NAMED


def test_class_is_made_once_when_the_definition_is_first_asked_for() -> None:
    """The instance whose methods are the nodes is made late and once, and the definition is always the same one."""
    made: list[object] = []

    @flow("once")
    class Once:
        def __init__(self) -> None:
            made.append(self)

        @entry
        @node
        @edge("last")
        def first(self, ctx: Context) -> int:
            return len(made)

        @node
        @edge(END)
        def last(self, ctx: Context) -> int:
            return 0

    assert made == []
    definition = definition_of(Once)
    assert definition_of(Once) is definition
    assert len(made) == 1
    bodies = [spec.body for spec in definition.stages.values() if spec.body is not None]
    assert [cast("Any", body.function).__self__ for body in bodies] == made * 2


def test_flow_is_still_called_like_its_class() -> None:
    """What the decorator returns makes instances, has the class's attributes and name, and tells its instances."""
    order: Any = OrderFlow
    assert OrderFlow("Bea").name == "Bea"
    kind: Any = type(order)
    assert kind is ClassFlow
    assert isinstance(OrderFlow(), order)
    assert not isinstance(3, order)
    assert (order.LIMIT, order.__name__, order.__doc__) == (5, "OrderFlow", "Orders, from reservation to receipt.")
    assert (order.id, order.version) == ("order", "2.1.0")
    assert repr(order) == "<workflow order@2.1.0 from class OrderFlow>"
    assert not hasattr(order, "nothing")


def test_subclass_keeps_nodes_and_overrides_methods() -> None:
    """A flow class that derives from another has its nodes and edges; a method that overrides a node is that node."""

    @flow("express", "1.0.0", input=Order)
    class Express(cast("Any", OrderFlow)):  # type: ignore[misc]  # a base that is known at run time only
        async def charge(self, ctx: Context) -> str:
            return "express"

        @node
        @edge(END)
        def approve(self, ctx: Context) -> str:
            return "at once"

    definition = definition_of(Express)
    assert issubclass(cast("Any", Express)._made, cast("Any", OrderFlow))
    assert list(definition.stages) == ["reserve", "approve", "charge-card"]
    charge = definition.stages["charge-card"]
    assert charge.retry == Retry(5)
    assert charge.body is not None
    assert "Express.charge" in repr(charge.body.function)
    assert [one.targets for one in edges_from(definition, "approve")] == [(END,)]
    assert definition_of(OrderFlow).stages["charge-card"].body is not charge.body


def test_types_may_be_defined_inside_and_below() -> None:
    """Annotations see the types of the class, of the function around it, and those that are defined further down."""

    @flow("inside")
    class Inside:
        class Inner(BaseModel):
            x: int

        @entry
        @node
        @edge("last")
        def first(self, ctx: Context) -> Inner:
            return self.Inner(x=1)

        @node
        @edge(END)
        def last(self, ctx: Context, one: Inner) -> Ok[Below]:
            return Ok(Below(y=one.x))

    class Below(BaseModel):
        y: int

    assert [spec.output.name for spec in definition_of(Inside).stages.values()] == ["Inner", "Below"]
