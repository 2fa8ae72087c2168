"""Flow classes: what is collected from their decorators, and the definition that is made of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from pydantic import BaseModel

from holdfast.authoring.classes import ClassFlow, definition_of, flow
from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.nodes import edge, entry, node
from holdfast.authoring.registry import Registry
from holdfast.authoring.results import Fail, Ok, Wait
from holdfast.authoring.stage import stage
from holdfast.entities.definition import Calling, Definition, Shape
from holdfast.entities.graph import END, START, Edge
from holdfast.entities.retry import Retry
from holdfast.errors import DefinitionError


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


def test_nothing_is_put_behind_a_class() -> None:
    """A flow class is complete: a step behind it is refused instead of forgetting the class."""

    @stage
    def double(x: int) -> int:
        return 2 * x

    order: Any = OrderFlow
    mistake(lambda: order.pipe(double), "E2068", "is written as a class", "order.pipe(double)")


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


def test_definition_of_every_kind_of_workflow() -> None:
    """A workflow of any style, or a definition, gives a definition; what else there is does not."""

    @stage
    def double(x: int) -> int:
        return 2 * x

    piped = workflow("w", input=int).pipe(double)
    assert definition_of(piped) is piped.definition()
    assert definition_of(piped.definition()) is piped.definition()
    for wrong in (int, Order, "order", double):
        with pytest.raises(DefinitionError) as caught:
            definition_of(cast("Any", wrong))
        assert caught.value.code == "E2068"


def mistake(build: Callable[[], object], code: str, *lines: str) -> None:
    """Check that *build* raises the error of that code, and that its text has each of the *lines*."""
    with pytest.raises(DefinitionError) as caught:
        build()
    assert caught.value.code == code
    assert "test_authoring_classes.py" in caught.value.where[0]
    for line in lines:
        assert line in str(caught.value)


def test_parity_212_class_without_flow_is_refused() -> None:
    """A class with nodes that lacks @flow is no workflow, and the error says how it becomes one."""

    class Forgotten:
        @entry
        @node
        @edge(END)
        def only(self, ctx: Context) -> int:
            return 1

    mistake(lambda: definition_of(Forgotten), "E2068", "Forgotten is no workflow", '@flow("order", "1.0.0")')


def test_parity_212_class_without_entry_is_refused() -> None:
    """A flow class without an entry is refused when it is decorated, and so are one without nodes and two entries."""

    class NoEntry:
        @node
        @edge(END)
        def first(self, ctx: Context) -> int:
            return 1

    class NoNodes:
        def first(self, ctx: Context) -> int:
            return 1

    class TwoEntries(NoEntry):
        @entry
        @node
        @edge(END)
        def second(self, ctx: Context) -> int:
            return 1

        @entry
        @node
        @edge(END)
        def third(self, ctx: Context) -> int:
            return 1

    mistake(lambda: flow("w")(NoEntry), "E2069", "has no entry", "one of: first")
    mistake(lambda: flow("w")(NoNodes), "E2045", "has no nodes")
    mistake(lambda: flow("w")(TwoEntries), "E2069", "has 2 entries", "def second", "def third")


def test_two_nodes_of_one_id_are_refused() -> None:
    """Two nodes of a class with the same id are refused, with the lines of both."""

    class Twice:
        @entry
        @node("same")
        @edge(END)
        def first(self, ctx: Context) -> int:
            return 1

        @node("same")
        @edge(END)
        def second(self, ctx: Context) -> int:
            return 1

    mistake(lambda: flow("w")(Twice), "E2043", 'two nodes "same"', "def first", "def second", '@node("same-again")')


def test_edges_to_nowhere_are_refused() -> None:
    """An edge to what is no node is refused with the ids there are; the name of a method leads to its node's id."""

    class Unknown:
        @entry
        @node
        @edge("secnod")
        def first(self, ctx: Context) -> int:
            return 1

    class ByMethod:
        @entry
        @node
        @edge("second")
        def first(self, ctx: Context) -> int:
            return 1

        @node("second-one")
        @edge(END)
        def second(self, ctx: Context) -> int:
            return 1

    mistake(lambda: flow("w")(Unknown), "E2070", 'from "first" to "secnod"', "There are: first;", "def first")
    mistake(lambda: flow("w")(ByMethod), "E2070", 'The method second is the node "second-one".')
    mistake(lambda: edge(cast("Any", 5)), "E2047", "target of an edge")
    mistake(lambda: edge(len), "E2047", "has to stand above")
    mistake(lambda: edge(()), "E2047", "target of an edge")


def test_edges_and_entries_of_what_is_no_node_are_refused() -> None:
    """A method with an edge or an entry that is no node is refused, with its line."""

    class EdgeOnly:
        @entry
        @node
        @edge(END)
        def first(self, ctx: Context) -> int:
            return 1

        @edge(END)
        def second(self, ctx: Context) -> int:
            return 1

    class EntryOnly:
        @entry
        def first(self, ctx: Context) -> int:
            return 1

    mistake(lambda: flow("w")(EdgeOnly), "E2070", '"second" has @edge, but is no node', "Write @node above it")
    mistake(lambda: flow("w")(EntryOnly), "E2070", '"first" has @entry, but is no node')


def test_class_that_cannot_be_made_is_refused() -> None:
    """A class that needs arguments, or fails when it is made, is refused when its definition is asked for."""

    class One:
        @entry
        @node
        @edge(END)
        def only(self, ctx: Context) -> int:
            return 1

    class Needy(One):
        def __init__(self, name: str) -> None:
            self.name = name

    class Broken(One):
        def __init__(self) -> None:
            raise RuntimeError("no database")

    mistake(flow("w")(Needy).definition, "E2068", "cannot be made without arguments", "name", "ctx.services")
    mistake(flow("w")(Broken).definition, "E2068", "RuntimeError: no database")


def test_methods_that_cannot_be_nodes_are_refused() -> None:
    """Decorators of methods refuse classes and values, unfit options, and keys without an input to make them of."""

    class Blind:
        @entry
        @node(key=lambda order: f"{order}")
        @edge(END)
        def only(self, ctx: Context) -> int:
            return 1

    class Untyped:
        @entry
        @node
        @edge(END)
        def only(self, ctx):  # type: ignore[no-untyped-def]  # what this is about
            return 1

    mistake(lambda: node(cast("Any", Blind)), "E2047", "method of @node")
    mistake(lambda: entry(cast("Any", 3)), "E2047", "method of @entry")
    mistake(lambda: edge(END)(cast("Any", Blind)), "E2047", "method of @edge")
    mistake(lambda: node("~x")(Blind.only), "E2048", "id of a stage")
    mistake(lambda: node(timeout=cast("Any", 5))(Blind.only), "E2049", 'timeout of stage "only"')
    mistake(lambda: node(needs="first")(Blind.only), "E2047", 'needs of stage "only"')
    mistake(lambda: flow("w")(cast("Any", Blind.only)), "E2068", "is no class")
    mistake(flow("w")(Blind).definition, "E2047", "takes no input to make it of")
    mistake(flow("w")(Untyped).definition, "E2046", 'has no annotation for "ctx"')


def test_conditions_are_functions_of_the_output() -> None:
    """A condition that is async, takes self, or takes nothing is refused where it is written."""

    async def late(output: int) -> bool:
        return True

    def method(self: object, output: int) -> bool:
        return True

    mistake(lambda: edge(END, when=cast("Any", late)), "E2054", "late")
    mistake(lambda: edge(END, when=method), "E2070", "takes self")
    mistake(lambda: edge(END, when=cast("Any", lambda: True)), "E2054")
    mistake(lambda: edge(END, when=cast("Any", "yes")), "E2054")


def test_weak_086_ambiguous_edges_and_gaps_are_refused_before_any_run() -> None:
    """Two unconditional edges, a node whose conditions may all be false, and one that leads nowhere are refused."""

    class Two:
        @entry
        @node
        @edge("second")
        @edge(END)
        def first(self, ctx: Context) -> int:
            return 1

        @node
        @edge(END)
        def second(self, ctx: Context) -> int:
            return 1

    class Gap:
        @entry
        @node
        @edge(END, when=lambda out: out > 1)
        def first(self, ctx: Context) -> int:
            return 1

    class DeadEnd:
        @entry
        @node
        def first(self, ctx: Context) -> int:
            return 1

    mistake(flow("w")(Two).definition, "E2056")
    mistake(flow("w")(Gap).definition, "E2058")
    mistake(flow("w")(DeadEnd).definition, "E2059")


def test_types_that_do_not_fit_are_refused() -> None:
    """A node that takes what the node before it does not give is refused, and so is another output than declared."""

    class Unfit:
        @entry
        @node
        @edge("second")
        def first(self, ctx: Context) -> Ok[int] | Fail:
            return Ok(1)

        @node
        @edge(END)
        def second(self, ctx: Context, given: str) -> str:
            return given

    class Other:
        @entry
        @node
        @edge(END)
        def first(self, ctx: Context) -> int:
            return 1

    mistake(flow("w")(Unfit).definition, "E2041", '"first" returns int', '"second" takes str')
    mistake(flow("w", output=str)(Other).definition, "E2041", "returns int", "str")
