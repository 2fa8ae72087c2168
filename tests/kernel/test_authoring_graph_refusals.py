"""Mistakes in graphs: found where they are written, at the latest when the definition is built, with the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from holdfast.authoring.flow import Flow, line
from holdfast.authoring.graph import Graph
from holdfast.authoring.stage import Stage, stage
from holdfast.entities.graph import END
from holdfast.errors import DefinitionError


def step(name: str) -> Stage[int, int]:
    """Return a stage that takes a number and gives one."""

    def body(number: int) -> int:
        return number

    return stage(name=name)(body)


def meeting(name: str) -> Stage[dict[str, int], int]:
    """Return a stage that several ways can meet at."""

    def body(parts: dict[str, int]) -> int:
        return 1

    return stage(name=name)(body)


a, b, c, d, e = (step(name) for name in "abcde")
m = meeting("m")


@stage
def text(number: int) -> str:
    return str(number)


@stage
def words(text: str) -> list[str]:
    return text.split()


def begun() -> Any:
    return Graph("g", int).entry(a)


def yes(number: int) -> bool:
    return True


def mistake(build: Callable[[], object], *, code: str, says: str, fix: str) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        build()
    error = caught.value
    assert error.code == code
    assert says in str(error)
    assert fix in error.fix
    assert "test_authoring_graph_refusals.py:" in error.where[0]
    return error


def refused(graph: Flow[Any, Any], *, code: str, says: str, fix: str) -> DefinitionError:
    """Check that the graph cannot be compiled."""
    return mistake(graph.definition, code=code, says=says, fix=fix)


def test_graph_without_stages_is_refused() -> None:
    """A graph has at least one stage."""
    refused(Graph("g", int), code="E2045", says='Workflow "g" has no stages', fix="Give it at least one")


def test_graph_without_entry_is_refused() -> None:
    """A graph says where it begins."""
    refused(
        Graph("g", int).edge(a, b).end(b),
        code="E2059",
        says='Workflow "g" does not say where it begins',
        fix=".entry(first)",
    )


def test_unreachable_stages_are_refused() -> None:
    """Every node can be reached, those of a loop nobody enters included."""
    graph = begun().end(a).edge(b, c).edge(c, b, when=yes).end(c)
    error = refused(graph, code="E2059", says='No way leads from the beginning to "b" and "c"', fix="Add an edge")
    assert ".edge(b, c)" in error.where[0]


def test_stage_that_leads_nowhere_is_refused() -> None:
    """Every node leads on or to the end."""
    error = refused(begun().edge(a, b), code="E2059", says='No edge leads away from "b"', fix=".end(stage)")
    assert ".edge(a, b)" in error.where[0]


def test_missing_default_edge_is_refused() -> None:
    """Of the edges of a node one has no condition."""
    graph = begun().edge(a, b, when=yes).end(b)
    refused(
        graph, code="E2058", says='No edge away from "a" is taken if no condition is true', fix=".edge(stage, other)"
    )


def test_loop_without_a_way_out_is_refused() -> None:
    """A loop whose ways all lead back would never end, which is a missing way out."""
    refused(
        begun().edge(a, b).edge(b, a),
        code="E2059",
        says='No way leads from "a" and "b" to the end',
        fix="out of the loop",
    )


def test_two_edges_without_condition_are_refused() -> None:
    """Only one edge of a node can be taken otherwise; both at once are one edge with two targets."""
    error = refused(
        begun().edge(a, b).edge(a, c).end(b, c),
        code="E2056",
        says='Two edges that lead away from "a" have no condition',
        fix=".edge(stage, (first, second))",
    )
    assert len(error.where) == 2


def test_edge_behind_one_that_is_always_taken_is_refused() -> None:
    """An edge without a condition, given a priority, cannot stand above or beside one with a condition."""
    for priority in (5, 6):
        graph = begun().edge(a, b, when=yes, priority=5).edge(a, c, priority=priority).end(b, c)
        refused(graph, code="E2057", says="if yes, of priority 5, could never be taken", fix="Give it none")
    below = begun().edge(a, b, when=yes, priority=5).edge(a, c, priority=4).end(b, c)
    assert [edge.priority for edge in below.definition().edges[1:3]] == [5, 4]


def test_same_condition_twice_is_refused() -> None:
    """Two edges that are always true together tie in every run; others of equal priority may."""
    graph = begun().edge(a, b, when=yes).edge(a, c, when=yes).end(a, b, c)
    refused(graph, code="E2057", says="have the same condition, yes, and the same priority", fix="higher priority")
    apart = begun().edge(a, b, when=yes).edge(a, c, when=lambda n: n > 1).end(a, b, c)
    assert [edge.priority for edge in apart.definition().edges[1:4]] == [0, 0, -1]


def test_duplicate_ids_are_refused() -> None:
    """Two different stages cannot share an id."""
    error = mistake(lambda: begun().edge(a, step("a")), code="E2043", says='two stages "a"', fix="another name")
    assert 'step("a")' in error.where[0]
    wait = Graph.wait("a", int)
    mistake(lambda: begun().edge(a, wait), code="E2043", says='two stages "a"', fix="another name")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param(len, "The function len is no stage", id="function"),
        pytest.param("b", "A str is no stage", id="text"),
        pytest.param((b, END), "A str is no stage", id="end-in-a-fork"),
    ],
)
def test_only_stages_can_be_nodes(value: Any, says: str) -> None:
    """An edge leads to stages, or to the end alone."""
    mistake(lambda: begun().edge(a, value), code="E2052", says=says, fix="")


def test_line_as_a_node_is_refused() -> None:
    """A graph is made of stages; a line's stages can be its nodes."""
    mistake(lambda: begun().edge(a, line(int).pipe(b)), code="E2066", says="A line is no node", fix="In .map(")


def test_graph_is_no_pipeline() -> None:
    """A graph grows by edges only."""
    mistake(lambda: begun().end(a).pipe(b), code="E2066", says='Graph "g" is no pipeline', fix=".edge(first, second)")


def test_edge_from_or_to_nothing_is_refused() -> None:
    """An edge has a node on either side."""
    for build in (
        lambda: begun().edge(a, ()),
        lambda: begun().edge((), a),
        lambda: Graph("g", int).entry(),
        lambda: begun().end(),
    ):
        mistake(build, code="E2059", says="leads from or to nothing", fix="at least one stage")


def test_output_that_does_not_fit_is_refused_at_the_edge() -> None:
    """Two ends of an edge that can never fit are refused where it is written."""
    error = mistake(
        lambda: begun().edge(a, words),
        code="E2041",
        says='Stage "words" cannot follow "a"',
        fix="Change one of the types",
    )
    assert ".edge(a, words)" in error.where[0]
    mistake(
        lambda: cast("Any", Graph("g", int).entry(text)).edge(text, (words, a)),
        code="E2041",
        says='Stage "a" cannot follow "text"',
        fix="Change one of the types",
    )


def test_input_that_does_not_fit_the_entry_is_refused() -> None:
    """Entries take the run's input, also when a loop leads back to them."""
    refused(
        Graph("g", cast("Any", list[int])).entry(a).end(a),
        code="E2041",
        says='"a" cannot follow the input of workflow "g"',
        fix="Change one of the types",
    )


def test_source_that_does_not_fit_where_no_ways_meet_is_refused() -> None:
    """A node that takes an object cannot follow a stage that gives none, unless ways meet there."""
    error = refused(
        begun().edge(a, m).end(m), code="E2041", says='"m" cannot follow "a"', fix="Change one of the types"
    )
    assert ".edge(a, m)" in error.where[0]


class Wrong(BaseModel):
    b: int
    other: int


class Few(TypedDict):
    b: int


class Text(BaseModel):
    b: int
    c: list[str]


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        pytest.param(Wrong, 'has no field "c"', id="field"),
        pytest.param(Few, 'has no field "c"', id="typed-dict"),
        pytest.param(Text, 'takes another type for "c"', id="type"),
        pytest.param(dict[str, str], 'takes another type for "b"', id="dict"),
        pytest.param(int, "takes no object", id="number"),
    ],
)
def test_object_that_does_not_fit_is_refused(kind: Any, problem: str) -> None:
    """What ways meet at has to take an object of their outputs."""

    def both(parts: Any) -> str:
        return ""

    both.__annotations__["parts"] = kind
    last = stage(both)
    graph = Graph("g", int).entry(b, c).edge((b, c), last).end(last)
    error = refused(
        graph, code="E2065", says=f'Several stages lead to "both" at once, and its input {problem}', fix="by stage id"
    )
    assert len(error.where) == 4


def test_object_that_lacks_a_needed_field_is_refused() -> None:
    """A field that no stage is called after cannot be required."""

    class More(BaseModel):
        b: int
        c: int
        d: int

    def both(parts: More) -> str:
        return ""

    both.__annotations__["parts"] = More
    last = stage(both)
    graph = Graph("g", int).entry(b, c).edge((b, c), last).end(last)
    refused(graph, code="E2065", says='needs "d", which none of them is called', fix="by stage id")


def test_declared_output_that_an_end_does_not_give_is_refused() -> None:
    """Every end gives what the graph is declared to give."""
    error = mistake(
        lambda: Graph("g", int, list[str]).entry(a).end(cast("Any", a)).definition(),
        code="E2041",
        says='the end of workflow "g" cannot follow "a"',
        fix="Change one of the types",
    )
    assert error.where[1].endswith('"a" returns int')


def test_loop_with_two_entries_is_refused() -> None:
    """A loop is entered at one node."""
    graph = begun().edge(a, b, when=yes).edge(a, c).edge(b, c).edge(c, b, when=yes).end(c)
    refused(graph, code="E2060", says="A loop is entered at more than one stage", fix="its head")


def test_loops_too_deep_are_refused() -> None:
    """Three loops stand one within the other at most."""
    graph = begun().edge(a, b).edge(b, c).edge(c, d).edge(d, e)
    for source, target in ((e, d), (e, c), (e, b), (e, a)):
        graph = graph.edge(source, target, when=lambda n, target=target.id: n == target)
    refused(graph.end(e), code="E2060", says="loops stand one within the other", fix="child run")


def test_loop_that_begins_again_while_others_are_under_way_is_refused() -> None:
    """Ways of a fork inside a loop have to meet before the next turn."""
    graph = begun().edge(a, (b, c)).edge(b, a, when=yes).edge((b, c), m).edge(m, a, when=yes).end(m)
    error = refused(
        graph, code="E2060", says='The way from "b" to "a" can be taken while others', fix="meet in one stage"
    )
    assert ".edge(b, a, when=yes)" in error.where[0]


def test_loop_that_is_left_while_others_are_under_way_is_refused() -> None:
    """Ways of a fork inside a loop have to meet before it is left."""
    graph = begun().edge(a, (b, c)).edge(b, END, when=yes).edge(b, m).edge(c, m).edge(m, a, when=yes).end(m)
    refused(graph, code="E2060", says='The way from "b" to the end can be taken while others', fix="meet in one stage")


def test_edge_that_begins_a_loop_again_and_leads_elsewhere_is_refused() -> None:
    """An edge that leads back leads nowhere else."""
    graph = begun().edge(a, b).edge(b, (a, c), when=yes).end(b).end(c)
    refused(graph, code="E2060", says="begins a loop again and leads elsewhere", fix="lead back alone")


def test_edge_that_leaves_a_loop_partly_is_refused() -> None:
    """All targets of an edge stand inside the loop, or all behind it."""
    graph = begun().edge(a, (b, c), when=yes).end(a).edge(b, a).end(c)
    refused(graph, code="E2060", says="leaves a loop and stays in it", fix="all behind it")


def test_rule_of_a_join_inside_a_loop_is_refused() -> None:
    """How many ways were taken cannot be counted across turns."""
    graph = begun().edge(a, (b, c)).edge((b, c), m).join(m, need=1).edge(m, a, when=yes).end(m)
    refused(graph, code="E2061", says="stands in a loop", fix="child run")


def test_join_that_needs_more_than_lead_there_is_refused() -> None:
    """A join cannot need more ways than there are."""
    graph = Graph("g", int).entry(b, c).edge((b, c), m).join(m, need=3).end(m)
    refused(graph, code="E2061", says='The join before "m" needs 3 ways, and 2 lead to it', fix="need=2 or less")
    lenient = Graph("g", int).entry(b, c).edge((b, c), m).join(m, tolerate=3).end(m)
    refused(lenient, code="E2061", says="tolerates 3 failures, and 2 ways", fix="tolerate=2 or less")


def test_edge_for_a_timeout_that_never_comes_is_refused() -> None:
    """Only a wait with a limit times out."""
    wait = Graph.wait("go", int)
    graph = begun().edge(a, wait).end(wait).edge(wait, b, on="timeout").end(b)
    refused(graph, code="E2067", says='away from "go" is for a timeout', fix='timeout="7d"')
    plain = begun().end(a).edge(a, b, on="timeout").end(b)
    refused(plain, code="E2067", says='away from "a" is for a timeout', fix="Only waits time out")
    mistake(lambda: begun().edge(wait, b, on="late"), code="E2047", says="outcome that an edge is for", fix="timeout")


def test_wait_without_a_way_for_its_answer_is_refused() -> None:
    """A wait leads on when it is answered, whatever follows a timeout; and a timeout has a default of its own."""
    wait = Graph.wait("go", int, timeout="1h")
    graph = begun().edge(a, wait).edge(wait, b, on="timeout").end(b)
    refused(graph, code="E2058", says='No edge away from "go"', fix=".edge(stage, other)")
    half = begun().edge(a, wait).end(wait).edge(wait, b, on="timeout", when=yes).end(b)
    refused(half, code="E2058", says="if it times out and no condition is true", fix='on="timeout"')


def test_map_over_something_that_is_no_list_is_refused() -> None:
    """A map in a graph takes a list, too, and one that ways meet at gets none."""
    each = Graph.map(b)
    refused(begun().edge(a, each).end(each), code="E2062", says="A map takes a list, not int", fix="return a list")


def test_need_of_a_stage_that_does_not_lead_there_is_refused() -> None:
    """A node can need those only from which a way leads to it."""

    @stage(needs=[c])
    def wanting(number: int) -> int:
        return 1

    graph = begun().edge(a, c, when=yes).edge(a, wanting).end(c, wanting)
    refused(graph, code="E2044", says="which stands beside it, not before it", fix="Before this one stand: a.")
