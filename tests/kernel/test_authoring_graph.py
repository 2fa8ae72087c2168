"""Graphs: what they compile into, and how the engine follows them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from holdfast.authoring.context import Context
from holdfast.authoring.flow import line, workflow
from holdfast.authoring.graph import Graph
from holdfast.authoring.registry import Registry
from holdfast.authoring.seen import Seen
from holdfast.authoring.stage import stage
from holdfast.entities.definition import Act, Definition, Join, Shape
from holdfast.entities.graph import END, START, EdgeOn


@stage
def draw(number: int) -> int:
    return number


@stage
def double(number: int) -> int:
    return 2 * number


@stage
def square(number: int) -> int:
    return number * number


@stage
def text(number: int) -> str:
    return str(number)


@stage
def total(parts: dict[str, int]) -> int:
    return sum(parts.values())


@stage
def done(number: int) -> str:
    return f"done {number}"


def ways(definition: Definition) -> list[tuple[str, tuple[str, ...], int]]:
    return [(edge.source, edge.targets, edge.priority) for edge in definition.edges]


def test_graph_of_conditions() -> None:
    """Edges keep their conditions and priorities; the one without a condition stands below all others."""
    graph = (
        Graph("g", int, str, version="2.0.0", description="For tests.", timeout="7d", step_limit=50)
        .entry(draw)
        .edge(draw, double, when=lambda n: n > 3, priority=5)
        .edge(draw, square, when=lambda n: n < 0, priority=-7)
        .edge(draw, done)
        .edge(double, done)
        .edge(square, done)
        .end(done)
    )
    definition = graph.definition()
    assert ways(definition) == [
        (START, ("draw",), 0),
        ("draw", ("double",), 5),
        ("draw", ("square",), -7),
        ("draw", ("done",), -8),
        ("double", ("done",), 0),
        ("square", ("done",), 0),
        ("done", (END,), 0),
    ]
    assert definition.edges[1].condition is not None
    assert definition.edges[1].condition.label == "n > 3"
    spec = definition.stages["done"]
    assert (spec.shape, spec.sources) == (Shape.ONE, ("draw", "double", "square"))
    assert (definition.name, definition.description, definition.step_limit) == ("g@2.0.0", "For tests.", 50)
    assert (definition.input.name, definition.output.name) == ("int", "str")
    assert (graph.id, graph.version, graph.is_line) == ("g", "2.0.0", False)
    assert repr(graph) == "<graph g@2.0.0: draw, double, square, done>"


def test_node_that_ways_meet_at_takes_an_object() -> None:
    """A node that a fork's ways meet at takes the outputs of those that led there by their ids."""
    graph = Graph("g", int).entry(draw).edge(draw, (double, square)).edge(double, total).edge(square, total).end(total)
    definition = graph.definition()
    spec = definition.stages["total"]
    assert (spec.shape, spec.sources) == (Shape.NAMED, ("double", "square"))
    assert definition.output.name == "int"
    assert definition.edges[1].targets == ("double", "square")


def test_several_sources_in_a_tuple_get_an_edge_each() -> None:
    """A tuple of sources is short for several edges."""
    begun = Graph("g", int).entry(draw).edge(draw, (double, square))
    short = begun.edge((double, square), total).end(total).definition()
    long = begun.edge(double, total).edge(square, total).end(total).definition()
    assert ways(short) == ways(long)


class Both(BaseModel):
    double: int
    text: str


class Parts(TypedDict):
    double: int
    text: str


@pytest.mark.parametrize("kind", [Both, Parts, dict[str, int | str], Any], ids=lambda one: str(one)[-9:])
def test_object_can_be_a_model_or_a_typed_dict(kind: Any) -> None:
    """What ways meet at may take a model or TypedDict with a field for each of them, or any dict that fits."""

    def both(parts: Any) -> str:
        return str(parts)

    both.__annotations__["parts"] = kind
    meeting = stage(both)
    graph = Graph("g", int).entry(draw).edge(draw, (double, text)).edge((double, text), meeting).end(meeting)
    assert graph.definition().stages["both"].shape is Shape.NAMED


def test_entries_begin_beside_each_other() -> None:
    """Several entries are targets of the one edge from the start, and what they lead to together is a meeting."""
    graph = Graph("g", int).entry(double, square).edge((double, square), total).end(total)
    definition = graph.definition()
    assert definition.entry == ("double", "square")
    assert definition.stages["total"].shape is Shape.NAMED
    apart = Graph("g", int).entry(double).entry(square).edge((double, square), total).end(total)
    assert apart.definition().entry == ("double", "square")


def test_cases_that_exclude_each_other_do_not_meet() -> None:
    """Where only one of several ways is ever taken, the node takes the output of whichever it was."""
    graph = (
        Graph("g", int, str)
        .entry(draw)
        .edge(draw, (double, text))
        .edge(double, square, when=lambda n: n > 3)
        .edge(double, done)
        .edge(square, done)
        .end(done, text)
    )
    with pytest.raises(Exception, match="Several ends can be reached in one run"):
        graph.definition()
    open_ended = (
        Graph("g", int)
        .entry(draw)
        .edge(draw, (double, text))
        .edge(double, square, when=lambda n: n > 3)
        .edge(double, done)
        .edge(square, done)
        .end(done, text)
    )
    definition = open_ended.definition()
    assert definition.stages["done"].shape is Shape.ONE
    assert definition.output.name == "list[str]"


def test_node_is_known_by_the_stage_it_is() -> None:
    """The same stage is the same node wherever it is named; under another name it is another one."""
    again = draw.using(name="again")
    graph = Graph("g", int).entry(draw).edge(draw, again).edge(again, done).end(done)
    assert list(graph.definition().stages) == ["draw", "again", "done"]


def test_loop_leads_back_to_its_head() -> None:
    """A stage may lead back to one before it; the head takes the run's input first and what led back later."""
    graph = Graph("g", int, int).entry(draw).edge(draw, double).edge(double, draw, when=lambda n: n < 9).end(double)
    definition = graph.definition()
    assert set(definition.graph.loops) == {"draw"}
    spec = definition.stages["draw"]
    assert (spec.shape, spec.sources) == (Shape.ONE, ("double",))
    alone = Graph("g", int, int).entry(draw).edge(draw, draw, when=lambda n: n < 9).end(draw)
    assert alone.definition().graph.loops["draw"].members == frozenset({"draw"})


def test_fork_inside_a_loop_meets_before_the_next_turn() -> None:
    """A loop may fork, as long as its ways meet before it goes on or ends."""
    graph = (
        Graph("g", int, int)
        .entry(draw)
        .edge(draw, (double, square))
        .edge((double, square), total)
        .edge(total, draw, when=lambda n: n < 100)
        .end(total)
    )
    definition = graph.definition()
    assert definition.stages["total"].shape is Shape.NAMED
    assert definition.graph.loops["draw"].members == frozenset({"draw", "double", "square", "total"})


def test_wait_in_a_graph() -> None:
    """A wait is a node; its answer leads one way and its timeout another, with what the wait was given."""

    @stage
    def answered(both: tuple[int, bool]) -> str:
        return str(both)

    wait = Graph.wait("approval", bool, timeout="1h", reason="Sure?")
    graph = (
        Graph("g", int, str)
        .entry(draw)
        .edge(draw, wait)
        .edge(wait, answered)
        .edge(wait, text, on="timeout")
        .end(answered, text)
    )
    definition = graph.definition()
    spec = definition.stages["approval"]
    assert spec.wait is not None
    assert (spec.act, spec.shape, spec.sources, spec.output.name) == (
        Act.WAIT,
        Shape.ONE,
        ("draw",),
        "tuple[int, bool]",
    )
    assert (spec.wait.reason, wait.id) == ("Sure?", "approval")
    assert definition.edges[3].on is EdgeOn.TIMEOUT
    assert definition.stages["text"].sources == ("approval",)


def test_timeout_can_have_conditions_of_its_own() -> None:
    """The edges for a timeout are chosen among themselves."""
    wait = Graph.wait("approval", bool, timeout="1h")
    graph = (
        Graph("g", int)
        .entry(draw)
        .edge(draw, wait)
        .end(wait)
        .edge(wait, text, on="timeout", when=lambda n: n > 3)
        .edge(wait, double, on="timeout")
        .end(text, double)
    )
    late = [edge for edge in graph.definition().edges if edge.on is EdgeOn.TIMEOUT]
    assert [(edge.targets, edge.priority) for edge in late] == [(("text",), 0), (("double",), -1)]


def test_map_in_a_graph() -> None:
    """A map is a node: ways lead to what splits the list and away from what collects the outputs."""

    @stage
    def count(number: int) -> list[int]:
        return list(range(number))

    @stage
    def add(numbers: list[str]) -> str:
        return "".join(numbers)

    each = Graph.map(line(int).pipe(double).pipe(text), limit=4)
    graph = Graph("g", int, str).entry(count).edge(count, each).edge(each, add).end(add)
    definition = graph.definition()
    assert list(definition.stages) == ["count", "double~split", "double", "text", "double~join", "add"]
    spec = definition.stages["double~split"]
    assert spec.mapped is not None
    assert (spec.mapped.body, spec.mapped.limit, spec.sources) == (("double", "text"), 4, ("count",))
    assert definition.stages["add"].sources == ("double~join",)
    assert each.id == "double"


def test_join_of_a_graph_has_a_rule() -> None:
    """A node that ways meet at may need some of them only."""
    graph = Graph("g", int).entry(double, square).edge((double, square), total).join(total, need=1).end(total)
    assert graph.definition().stages["total"].join == Join(need=1)
    lenient = Graph("g", int).entry(double, square).edge((double, square), total).join(total, tolerate=1).end(total)
    assert lenient.definition().absorbs("double")


def test_graph_is_immutable_and_compiles_once() -> None:
    """Each call gives a new graph and leaves the old one as it was; a graph compiles into one definition."""
    begun = Graph("g", int).entry(draw)
    one, other = begun.edge(draw, double).end(double), begun.edge(draw, square).end(square)
    assert list(one.definition().stages) == ["draw", "double"]
    assert list(other.definition().stages) == ["draw", "square"]
    assert one.definition() is one.definition()


def test_graph_is_a_flow() -> None:
    """A graph can be registered as any other workflow."""
    graph = Graph("g", int).entry(draw).end(draw)
    assert Registry([graph]).get("g") is graph.definition()


def test_condition_that_takes_the_run_makes_the_graph_stateful() -> None:
    """A condition with a second parameter gives the workflow a state; so does the option."""

    def known(number: int, run: Seen) -> bool:
        return bool(run.state)

    graph = Graph("g", int).entry(draw).edge(draw, double, when=known).end(draw, double)
    assert graph.definition().stateful
    assert Graph("g", int, state=True).entry(draw).end(draw).definition().stateful
    assert not Graph("g", int).entry(draw).end(draw).definition().stateful


def test_graph_of_no_input() -> None:
    """A graph whose runs take nothing begins with a stage that takes nothing."""

    @stage
    def tick(ctx: Context) -> int:
        return 1

    definition = Graph("g", type(None)).entry(tick).end(tick).definition()
    assert definition.input.encode(None, what="x") == "null"


def test_needs_of_a_graph_are_those_that_lead_there() -> None:
    """A node may need any node that a way leads from, around a loop as well."""

    @stage(needs=[draw])
    def wanting(number: int) -> int:
        return 1

    graph = Graph("g", int).entry(draw).edge(draw, double).edge(double, wanting).end(wanting)
    assert graph.definition().stages["wanting"].needs == ("draw",)


def test_both_styles_compile_alike() -> None:
    """The same workflow gives the same stages and edges, whether written as a pipeline or as a graph."""

    @stage
    def pair(both: tuple[int, int]) -> int:
        return 1

    piped = workflow("w", input=int).pipe(draw).pipe(double).pipe(text).definition()
    drawn = Graph("w", int).entry(draw).edge(draw, double).edge(double, text).end(text).definition()
    assert ways(piped) == ways(drawn)
    assert [(one.shape, one.sources) for one in piped.stages.values()] == [
        (one.shape, one.sources) for one in drawn.stages.values()
    ]
