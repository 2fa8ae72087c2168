"""Flow classes, their decorators and nodes that are refused: what is wrong, where, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from holdfast.authoring.classes import definition_of, flow
from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.nodes import edge, entry, node
from holdfast.authoring.results import Fail, Ok
from holdfast.authoring.stage import stage
from holdfast.entities.graph import END
from holdfast.errors import DefinitionError


def mistake(build: Callable[[], object], code: str, *lines: str) -> None:
    """Check that *build* raises the error of that code, and that its text has each of the *lines*."""
    with pytest.raises(DefinitionError) as caught:
        build()
    assert caught.value.code == code
    assert "test_authoring_classes_refusals.py" in caught.value.where[0]
    for line in lines:
        assert line in str(caught.value)


class Nobody:
    pass


def test_definition_of_every_kind_of_workflow() -> None:
    """A workflow of any style, or a definition, gives a definition; what else there is does not."""

    @stage
    def double(x: int) -> int:
        return 2 * x

    piped = workflow("w", input=int).pipe(double)
    assert definition_of(piped) is piped.definition()
    assert definition_of(piped.definition()) is piped.definition()
    for wrong in (int, Nobody, "order", double):
        with pytest.raises(DefinitionError) as caught:
            definition_of(cast("Any", wrong))
        assert caught.value.code == "E2068"


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
    mistake(lambda: edge(END, when=cast("Any", method)), "E2070", "takes self")
    mistake(lambda: edge(END, when=cast("Any", lambda: True)), "E2054")
    mistake(lambda: edge(END, when=cast("Any", "yes")), "E2054")
    mistake(lambda: edge(END, priority=cast("Any", "high")), "E2047", "priority of an edge")


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


def test_nothing_is_put_behind_a_class() -> None:
    """A flow class is complete: a step behind it is refused instead of forgetting the class."""

    @stage
    def double(x: int) -> int:
        return 2 * x

    class One:
        @entry
        @node
        @edge(END)
        def only(self, ctx: Context) -> int:
            return 1

    made = flow("w")(One)
    mistake(lambda: made.pipe(double), "E2068", "is written as a class", "made.pipe(double)")
